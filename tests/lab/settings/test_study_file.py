import pytest

from hetconv.errors import UsageError, WrongFileError
from hetconv.lab.models import create_model
from hetconv.lab.results import Claim
from hetconv.lab.settings import Recipe, load_definition, parse_definition, shipped
from hetconv.lab.variant import parse_variants

WHOLE = """
name = "mine"
networks = ["resnet20_cifar"]
variants = ["dense", "het-p4"]
seeds = [0, 1]
data = "digits"
recipe = "fast"
width = 1
[recipes.fast]
source = "here"
epochs = 3
learning_rate = 1
[[claims]]
name = "kept"
text = "it is kept"
variant = "het-p4"
relation = "kept"
margin = 1
"""


def test_a_whole_file() -> None:
    study = parse_definition(WHOLE, "mine.toml")
    assert (study.name, study.variants, study.seeds) == ("mine", parse_variants("dense,het-p4"), (0, 1))
    assert study.recipes["fast"] == Recipe(epochs=3, learning_rate=1.0, source="here")
    assert study.claims == (Claim("kept", "it is kept", "het-p4", "kept", margin=1.0),)
    assert study.comparisons()["resnet20_cifar"].recipe.epochs == 3
    assert study.text == WHOLE


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('name = "mine"', "", "name is missing"),
        ('name = "mine"', 'name = "a b"', "name='a b' must be letters, digits"),
        ('name = "mine"', "name = 3", "name=3 must be a valid string"),
        ("seeds = [0, 1]", 'seeds = [0, "x"]', "seeds.1='x' must be a valid integer"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds='0,0' must name at least one, and each only once"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds='-1' must be 0 or more"),
        ('data = "digits"', 'dta = "digits"', "dta is no key of a study; did you mean data?"),
        ('"het-p4"]', '"het-4"]', "variants.1: unknown variant 'het-4' (did you mean het-p4?)"),
        ('recipe = "fast"', 'recipe = "slow"', "recipe='slow' must be one of fast"),
        ("epochs = 3", "epoch = 3", "recipes.fast.epoch is no key of a study; did you mean epochs?"),
        ("epochs = 3", "epochs = 0", "recipes.fast: epochs=0 must be at least 1"),
        ("epochs = 3", 'epochs = "3"', "recipes.fast.epochs='3' must be a valid integer"),
        ('source = "here"', "source = 3", "recipes.fast.source=3 must be a valid string"),
        ("[recipes.fast]", "[recipe2.fast]", "recipes is missing"),
        (
            'relation = "kept"',
            'relation = "is"',
            "claims.0.relation='is' must be 'kept', 'above', 'faster' or 'cheaper'",
        ),
        ('variant = "het-p4"', 'variant = "het-p8"', "claim 'kept': variant='het-p8' is not in this study"),
        ("margin = 1", "margin = -1", "claim 'kept': margin=-1.0 must be 0 or more percentage points"),
        ("width = 1", "workers = 0", "workers=0 must be at least 1"),
        ("width = 1", "width = = 1", "is not TOML"),
        ("width = 1", 'text = "mine"', "text is no key of a study"),
        ("width = 1", "image_size = 4", "image_size=4 must be at least 8 and at most 16384"),
        ("width = 1", "stages = 4", "stages=4 must be a table"),
        ("width = 1", "stages.retrain_epoch = 4", "stages.retrain_epoch is no key of a study; did you mean"),
    ],
)
def test_each_wrong_key_or_value_is_one_clear_line(old: str, new: str, line: str) -> None:
    assert old in WHOLE
    with pytest.raises(WrongFileError) as caught:
        parse_definition(WHOLE.replace(old, new), "mine.toml")
    assert any(said.startswith("mine.toml: ") and line in said for said in caught.value.lines), caught.value.lines
    assert all("\n" not in said for said in caught.value.lines)


def test_all_wrong_lines_are_told_at_once() -> None:
    wrong = WHOLE.replace("epochs = 3", "epoch = 3").replace("seeds = [0, 1]", "seeds = 1").replace("width", "wdth")
    with pytest.raises(WrongFileError) as caught:
        parse_definition(wrong, "mine.toml")
    assert len(caught.value.lines) == 3


def test_a_study_that_is_not_there() -> None:
    with pytest.raises(
        UsageError, match=r"looked for the study nothing; it is not there. Shipped studies: cifar10-94, cifar10-resn"
    ):
        load_definition("nothing")


@pytest.mark.filterwarnings("ignore:airbench_cifar .* does not divide the channels of some layers")  # 24 channels
@pytest.mark.parametrize("name", shipped())
def test_shipped_studies_are_whole(name: str) -> None:
    """Each says where its recipes and claims come from, has recipes to choose from, and builds its networks."""
    study = load_definition(f"{name}.toml")
    assert study.name == name
    assert {"fast"} < set(study.recipes) or name == "cifar10-94"  # it is made for one recipe
    assert all(sourced.source for sourced in study.recipes.values())
    assert study.claims
    assert all(claim.source for claim in study.claims)
    for network in study.networks:
        for variant in study.variants:
            create_model(network, variant, 10, width=study.width)


def test_the_papers_table_is_whole() -> None:
    variants = set(map(str, load_definition("cifar10-table1").variants))
    assert {"dense", *(f"het-p{p}" for p in (2, 4, 8, 16, 32, 64)), "het-pc", "gwc4-pwc", "dwc-pwc"} <= variants
    assert {"het-p4-se", "het-p8-se", "het-p64-se"} <= variants
