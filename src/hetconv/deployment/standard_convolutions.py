"""The standard convolutions of a network as they will run deployed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from hetconv.deployment.against_original import trials
from hetconv.deployment.choose import AllNative, Work
from hetconv.deployment.find_parts import Finder


def works_of(model: nn.Module, args: tuple[Any, ...]) -> dict[str, list[Work]]:
    """What each call of a standard convolution is when it is deployed, by its module's name.

    Convolutions that the native kernels cannot run are not among them.
    """
    with torch.inference_mode(False), torch.no_grad():
        work = copy.deepcopy(model).eval()
        trial = trials(work, copy.deepcopy(args))[0]
        parts = Finder(work, trial.args, AllNative(), {}, trial.right, measured=False).parts()
    found: dict[str, list[Work]] = {}
    for part in parts.found:
        for site in part.prepared.sites:
            if site.work is not None:
                found.setdefault(f"{part.names[0]}.{site.name}".strip("."), []).append(site.work)
    return found
