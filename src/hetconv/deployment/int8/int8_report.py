"""The report of a network in 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.cost.circumstances import circumstances
from hetconv.deployment.deploy_report import (
    CheckedPart,
    DeployedConvolution,
    DeployReport,
    Int8Accuracy,
    Int8Report,
    NotCaptured,
)
from hetconv.deployment.int8.build import Built
from hetconv.errors import UsageError
from hetconv.ops import native

IN_FLOAT32 = "the original in float32, on the calibration images"


def compare_accuracy(model: nn.Module, network: nn.Module, test: Iterable[tuple[Tensor, Tensor]]) -> Int8Accuracy:
    """Of both on labelled images.

    Raises:
        UsageError: there are none, or the networks give no classes.
    """
    count, before, after, same = 0, 0, 0, 0
    with torch.no_grad():
        for images, labels in test:
            outputs = [made(images) for made in (model, network)]
            if any(y.dim() != 2 or len(y) != len(labels) for y in outputs):
                raise UsageError("test wants a network that gives classes (B, N), and a label for each image")
            right, got = (y.argmax(1) for y in outputs)
            count += len(labels)
            before += int((right == labels).sum())
            after += int((got == labels).sum())
            same += int((right == got).sum())
    if count == 0:
        raise UsageError("test has no images")
    return Int8Accuracy(count, before / count, after / count, same / count)


def int8_report(built: Built, args: tuple[Any, ...], accuracy: Int8Accuracy | None) -> DeployReport:
    in_float32 = built.in_float32
    convolutions = tuple(
        DeployedConvolution(
            site.name,
            site.layer,
            "native" if site.name in in_float32 else "int8",
            tuple(site.joined),
            in_float32.get(site.name, ""),
        )
        for site in built.sites
    )
    int8 = Int8Report(
        built.images,
        built.choices,
        tuple(NotCaptured(name, reason) for name, reason in in_float32.items()),
        built.notes,
        built.network.native.weight_bytes,
        built.float32_bytes,
        accuracy,
    )
    checked = CheckedPart("", int8.chosen.error, 0.0, built.allowed, IN_FLOAT32)
    return DeployReport(
        convolutions,
        (),
        (checked,),
        (),
        native.instruction_set(),
        circumstances(torch.device("cpu"), "int8", "channels_last", args[0].shape[0], torch.get_num_threads()),
        int8,
    )
