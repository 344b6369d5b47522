"""Made-up but plausible results, and ways to spoil them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from hetconv.lab.results import Epoch, Results, Run, StudySettings, VariantCost
from hetconv.pattern import HetPattern
from hetconv.records import Circumstances, Complexity, Latency, LayerCost

SIZES = ((16, 16, 8), (16, 32, 8), (32, 32, 8), (32, 64, 4), (64, 64, 4), (64, 128, 2), (128, 128, 2))
VARIANTS = {"dense": 0.983, "het-p4": 0.981, "het-p8": 0.977, "gwc4-pwc": 0.979, "dwc-pwc": 0.962}
SPEEDS = {"dense": 1.0, "het-p4": 1.9, "het-p8": 2.31, "gwc4-pwc": 1.42, "dwc-pwc": 0.93}


def het_layer(index: int, sizes: tuple[int, int, int], p: int, arrangement: str = "shifted") -> LayerCost:
    m, n, d = sizes
    pattern = HetPattern(m, n, 3, p)
    macs = d * d * pattern.macs_per_position
    kind = "het" if p > 1 else "dense"
    return LayerCost(
        name=f"features.{3 * index + 3}",
        kind=kind,
        in_channels=m,
        out_channels=n,
        kernel_size=(3, 3),
        stride=(1, 1),
        output_size=(d, d),
        macs=macs,
        params=pattern.weights + n,
        paper_flops=macs + n * d * d // p,
        p=p if p > 1 else None,
        arrangement=arrangement if p > 1 else None,
        latency_ms=macs / 2.1e7 + 0.01,
    )


def separated(layer: LayerCost, groups: int) -> tuple[LayerCost, LayerCost]:
    """The same layer as a grouped convolution and a 1×1 one."""
    m, n, area = layer.in_channels, layer.out_channels, layer.output_size[0] * layer.output_size[1]
    kind = "depthwise" if groups >= m else "grouped"
    groups = min(groups, m)
    cost = {"p": None, "arrangement": None, "latency_ms": 0.02}
    macs, full = area * m * m * 9 // groups, area * m * n
    first = replace(
        layer,
        **cost,
        name=f"{layer.name}.0",
        kind=kind,
        groups=groups,
        out_channels=m,
        macs=macs,
        paper_flops=macs,
        params=macs // area,
    )
    second = replace(
        layer,
        **cost,
        name=f"{layer.name}.1",
        kind="pointwise",
        kernel_size=(1, 1),
        macs=full,
        paper_flops=full,
        params=m * n,
    )
    return first, second


def complexity(p: int, groups: int | None = None) -> Complexity:
    stem = LayerCost("features.0", "dense", 1, 16, (3, 3), (1, 1), (8, 8), 9216, 160, 10240, latency_ms=0.02)
    classifier = LayerCost("classifier", "linear", 128, 10, (), (), (), 1280, 1290, 1290, latency_ms=0.005)
    middle = [het_layer(i, sizes, p) for i, sizes in enumerate(SIZES)]
    if groups is not None:
        middle = [half for layer in middle for half in separated(layer, groups)]
    layers = (stem, *middle, classifier)
    return Complexity(
        macs=sum(layer.macs for layer in layers),
        params=sum(layer.params for layer in layers),
        paper_flops=sum(layer.paper_flops for layer in layers),
        extra_layers=0 if groups is None else len(SIZES),
        layers=layers,
    )


def run(variant: str, seed: int, epochs: int = 12, state: str = "done") -> Run:
    noise = random.Random(f"{variant} {seed}")
    top = VARIANTS.get(variant, 0.95) + noise.uniform(-0.004, 0.004)
    shown = tuple(
        Epoch(
            epoch=epoch,
            learning_rate=0.1 * (1 - epoch / (epochs + 1)),
            train_loss=2.3 * math.exp(-0.45 * epoch) + noise.uniform(0.02, 0.05),
            validation_loss=2.3 * math.exp(-0.4 * epoch) + 0.08,
            accuracy=top - 0.8 * math.exp(-0.6 * epoch) - noise.uniform(0, 0.01) * (epoch < epochs),
            seconds=1.9,
        )
        for epoch in range(1, epochs + 1)
    )
    return Run(variant, seed, state, shown)  # type: ignore[arg-type]


def cost(variant: str) -> VariantCost:
    p = {"dense": 1, "het-p8": 8, "gwc4-pwc": 1, "dwc-pwc": 1}.get(variant, 4)
    counted = complexity(p, {"gwc4-pwc": 4, "dwc-pwc": 1024}.get(variant))
    median = 2.84 / SPEEDS.get(variant, 1.5)
    theory = complexity(1).macs / counted.macs
    return VariantCost(variant, counted, Latency(median, 0.97 * median, 1.06 * median, 50), theory)


def example(seeds: tuple[int, ...] = (0, 1), epochs: int = 12, variants: tuple[str, ...] = tuple(VARIANTS)) -> Results:
    settings = StudySettings(
        network="vgg16_cifar",
        data="digits",
        num_classes=10,
        input_size=(1, 8, 8),
        train_images=1437,
        test_images=360,
        variants=variants,
        seeds=seeds,
        recipe={"epochs": epochs, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"},
    )
    circumstances = Circumstances(
        date="2026-03-01T12:00:00+00:00",
        processor="AMD EPYC 9R14",
        cores=2,
        threads=1,
        device="cpu",
        dtype="float32",
        memory_format="channels_last",
        batch_size=1,
        versions={"hetconv": "0.1.0", "torch": "2.11.0", "python": "3.11.7"},
    )
    runs = tuple(run(variant, seed, epochs) for variant in variants for seed in seeds)
    return Results(settings, circumstances, runs, tuple(cost(variant) for variant in variants))


def renamed(results: Results, old: str, new: str) -> Results:
    """The same results with another name for one variant."""
    settings = replace(
        results.settings, variants=tuple(new if name == old else name for name in results.settings.variants)
    )
    return replace(
        results,
        settings=settings,
        runs=tuple(replace(one, variant=new) if one.variant == old else one for one in results.runs),
        costs=tuple(replace(one, variant=new) if one.variant == old else one for one in results.costs),
    )
