"""A whole network as the steps of one native call, for another runtime that runs the same kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hetconv.deployment import example_calls
from hetconv.deployment.choose import AllNative
from hetconv.deployment.deployed import Deployed
from hetconv.deployment.deployed_part import DeployedPart
from hetconv.deployment.int8.module import Int8Network
from hetconv.deployment.prepared_graph import captured_values, prepare
from hetconv.deployment.steps import Steps, steps_of
from hetconv.errors import UsageError
from hetconv.graph.tracing import CaptureError
from hetconv.ops import native
from hetconv.wrappers import copied

SHOWN = 3
"""Calls that a message names."""


def steps_of_deployed(deployed: Deployed) -> Steps:
    """What the one native call of a deployed network does.

    Raises:
        UsageError: it is not one call; the message says what stands outside.
    """
    network = deployed.network
    if isinstance(network, Int8Network):
        return Steps(network.in_channels, network.steps, network.flat, False, ())
    if not isinstance(network, DeployedPart):
        left = [(part.name or "the whole", part.reason) for part in deployed.report.left]
        raise UsageError(f"the network is not one native call: {_listed(left)}")
    return _accepted(network.steps())


def native_steps(model: nn.Module, example: Tensor) -> Steps:
    """The one native call of a network in float32, whether or not it is the fastest way to run it.

    Raises:
        UsageError: there is no such call; the message says what stands outside.
    """
    reason = native.why_not_loaded()
    if reason is not None:
        raise UsageError(f"the native kernels are not here: {reason}")
    with torch.inference_mode(False), torch.no_grad():
        work, given = copied(model).eval(), example.detach().clone()
        signature = example_calls.signatures(work, (given,)).get(work)
        if signature is None or isinstance(signature, str):
            raise UsageError(f"the network is not one native call: {signature}")
        try:
            captured = captured_values(work, signature, whole=True)
            prepared = prepare(captured, [given], AllNative(), linear=True)
        except CaptureError as error:
            raise UsageError(f"the network is not one native call: {error}") from error
        return _accepted(steps_of(prepared.captured, given.shape[1]))


def _accepted(steps: Steps) -> Steps:
    if steps.refused:
        raise UsageError(f"the network is not one native call: {_listed(steps.refused)}")
    return steps


def _listed(refused: Sequence[tuple[str, str]]) -> str:
    """In one line."""
    shown = "; ".join(f"{name}: {reason}" for name, reason in refused[:SHOWN])
    return shown + (f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else "")
