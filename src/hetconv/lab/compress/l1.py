"""L1 filter pruning (Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.filters import check_share, l1_norms
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.private import keep_by_share, private_groups, remove, shares_by_name
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.results import LayerChange

VGG16_LAYERS = 13
RESNET56_BLOCKS = 27
SETTINGS = ("a", "b")
_RESNET56_KEPT = {"a": (16, 20, 38, 54), "b": (16, 18, 20, 34, 38, 54)}
_RESNET56_SHARES = {"a": (0.1, 0.1, 0.1), "b": (0.6, 0.3, 0.1)}


@dataclass(frozen=True)
class L1(Method):
    """Remove the filters of the smallest Σ|w| from each layer, with their feature maps and what reads them; fine-tune.

    Attributes:
        share: of each layer's filters that goes.
        by_name: layer or pattern to another share, 0 to leave it whole.
        setting: instead of both, the paper's shares: "a" for VGG-16 and ResNet-56, "b" for ResNet-56.

    Where filters of several layers are added (the ends of residual blocks) none are removed, as in the paper.

    Raises:
        UsageError: a share is not between 0 and 1, or the setting is unknown.
    """

    share: float = 0.5
    by_name: Mapping[str, float] = field(default_factory=dict)
    setting: str | None = None

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.setting is not None and self.setting not in SETTINGS:
            raise UsageError(f"setting={self.setting!r} must be one of {', '.join(SETTINGS)}")

    def check(self, model: nn.Module, example: Tensor) -> None:
        self._shares(private_groups(Surgery(model, example)))

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        surgery = Surgery(model, example)
        groups = private_groups(surgery)
        scores = {group.name: l1_norms(model.get_submodule(group.name)) for group in groups}
        return remove(surgery, keep_by_share(groups, scores, self._shares(groups)))

    def _shares(self, groups: list[FilterGroup]) -> dict[str, float]:
        if self.setting is None:
            return shares_by_name(groups, self.share, self.by_name)
        shares = published_shares(self.setting, len(groups))
        return {group.name: share for group, share in zip(groups, shares, strict=True)}


def published_shares(setting: str, layers: int) -> tuple[float, ...]:
    """The paper's share for each layer that can lose filters, in the network's order.

    Raises:
        UsageError: the paper has no such setting for a network of so many layers.
    """
    if setting == "a" and layers == VGG16_LAYERS:
        return tuple(0.5 if layer == 0 or layer >= 7 else 0.0 for layer in range(layers))
    if layers == RESNET56_BLOCKS:
        whole, by_stage = _RESNET56_KEPT[setting], _RESNET56_SHARES[setting]
        return tuple(0.0 if 2 + 2 * block in whole else by_stage[block // 9] for block in range(layers))
    known = "VGG-16 (13 convolutions) and ResNet-56 (27 blocks)" if setting == "a" else "ResNet-56 (27 blocks)"
    raise UsageError(
        f"l1-{setting} is set down for {known}; this network has {layers} layers that can lose filters: give a share, "
        f"such as l1-50"
    )
