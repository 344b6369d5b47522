"""Which models can be converted in place as a whole."""

from __future__ import annotations

from torch import nn

from hetconv.convert.model_convolutions import describe, is_convolution
from hetconv.errors import UsageError
from hetconv.wrappers import unwrap, wrapped_in

HOLDS_PARAMETERS = "DistributedDataParallel"
"""It keeps parameters of its own account, which a swap would cut off."""


def convertible_network(model: object) -> nn.Module:
    """The network whose layers are swapped: the one inside of its wrappers, which compile afresh at their next call.

    Raises:
        UsageError: as `unwrap`; or it is wrapped in DDP, or is a convolution itself.
    """
    network = unwrap(model)
    for place in wrapped_in(model, HOLDS_PARAMETERS):  # type: ignore[arg-type]
        raise UsageError(
            f"{place} is wrapped in {HOLDS_PARAMETERS}, which keeps the old parameters; convert the model before "
            f"wrapping it"
        )
    if is_convolution(network):
        raise UsageError(
            f"model is itself a convolution ({describe(network)}), which cannot be swapped in place; use "
            f"HetConv2d.from_dense(model, p), or put it into an nn.Sequential"
        )
    return network
