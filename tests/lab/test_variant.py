import pytest

from hetconv.errors import UsageError
from hetconv.lab.variant import Variant, parse_variant

PARSED = {
    "dense": Variant("dense", "dense"),
    "dense-se": Variant("dense-se", "dense", squeeze_excitation=True),
    "het-p4": Variant("het-p4", "het", p=4),
    "het-p64-se": Variant("het-p64-se", "het", p=64, squeeze_excitation=True),
    "het-p8-blocked": Variant("het-p8-blocked", "het", p=8, arrangement="blocked"),
    "het-p8-blocked-se": Variant("het-p8-blocked-se", "het", p=8, arrangement="blocked", squeeze_excitation=True),
    "het-pc": Variant("het-pc", "het"),
    "gwc4-pwc": Variant("gwc4-pwc", "gwc-pwc", groups=4),
    "dwc-pwc": Variant("dwc-pwc", "dwc-pwc"),
}


@pytest.mark.parametrize("spec", PARSED)
def test_known_specs(spec: str) -> None:
    assert parse_variant(spec) == PARSED[spec]


@pytest.mark.parametrize(
    "spec", ["", "het", "het-p0", "het-p-4", "het-p04", "het-p4-", "gwc-pwc", "dwc", "Dense", "dense "]
)
def test_unknown_specs_are_refused_with_the_grammar(spec: str) -> None:
    with pytest.raises(UsageError, match="a variant is dense, het-p<P>"):
        parse_variant(spec)


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"unknown variant 'het-4' \(did you mean het-p4\?\)"):
        parse_variant("het-4")
