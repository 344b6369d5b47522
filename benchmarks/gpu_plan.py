"""What `gpu.py` measures, as data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from shapes import RESNET, SETS, LayerShape


@dataclass(frozen=True)
class Plan:
    """What is measured, on which device, for how long at most."""

    device: torch.device
    dtype: torch.dtype
    batch: int
    training_batch: int
    parts: tuple[int, ...]
    shapes: tuple[LayerShape, ...]
    networks: tuple[tuple[str, int, int], ...]
    rounds: int
    sample_ms: float
    copy_bytes: int
    matrix_size: int
    seconds: float
    compiled: bool


LAYERS = (*SETS["vgg224"][1:7], *RESNET, *SETS["vgg32"][2:7])
NETWORKS = (("vgg16_cifar", 32, 512), ("vgg16_bn", 224, 64), ("resnet34", 224, 64), ("resnet50", 224, 64))
"""(name, image size, batch)"""


def plan(smoke: bool, seconds: float, dtype: torch.dtype) -> Plan:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not smoke:
        return Plan(device, dtype, 64, 512, (4, 8), LAYERS, NETWORKS, 7, 4.0, 2**30, 8192, seconds, True)
    tiny = (LayerShape("smoke", 16, 16, 8), LayerShape("smoke", 16, 32, 8, 2))
    networks = (("resnet20_cifar", 16, 2),)
    return Plan(device, dtype, 2, 2, (4, 8), tiny, networks, 2, 0.1, 2**20, 64, seconds, False)
