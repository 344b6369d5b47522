"""Published results, with their sources, to be shown beside what is computed and measured here."""

from __future__ import annotations

from dataclasses import dataclass

from hetconv.errors import UsageError


@dataclass(frozen=True)
class PublishedRow:
    """One variant. `paper_flops` are multiply-adds; accuracies are percentages; None was never published."""

    variant: str
    paper_flops: float | None
    accuracy: float | None
    replications: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class PublishedTable:
    """One table of one paper, for one network and data set."""

    title: str
    network: str
    input_size: tuple[int, int, int]
    num_classes: int
    rows: tuple[PublishedRow, ...]
    replications: tuple[str, ...]
    sources: tuple[str, ...]


VGG16_CIFAR10 = PublishedTable(
    title="VGG-16 on CIFAR-10",
    network="vgg16_cifar",
    input_size=(3, 32, 32),
    num_classes=10,
    rows=(
        PublishedRow("dense", 313.74e6, 94.06, (94.1, 93.88)),
        PublishedRow("het-p2", 175.23e6, 93.89, (93.9, 94.09)),
        PublishedRow("het-p4", 105.98e6, 93.93, (93.9, 93.74)),
        PublishedRow("het-p8", 71.35e6, 93.92, (93.9, 93.62)),
        PublishedRow("het-p16", 54.04e6, 93.96, (93.9, 93.53)),
        PublishedRow("het-p32", 45.38e6, 93.73, (93.8, 93.06)),
        PublishedRow("het-p64", 41.05e6, 93.42, (93.4, 92.69)),
        PublishedRow("het-pc", None, None),
        PublishedRow("gwc4-pwc", None, None),
        PublishedRow("dwc-pwc", None, None),
    ),
    replications=("irvinxav", "zhang943"),
    sources=(
        "Singh et al., HetConv, CVPR 2019 (arXiv 1903.04120), as quoted by irvinxav/Efficient-HetConv, README",
        "replications: irvinxav/Efficient-HetConv, README; zhang943/Approximate-HetConv, README "
        "(both report the best test epoch of one seed)",
    ),
)

TABLES = {"vgg16-cifar10": VGG16_CIFAR10}


def published_table(name: str) -> PublishedTable:
    """A published table by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in TABLES:
        raise UsageError(f"unknown table {name!r}; there is {', '.join(TABLES)}")
    return TABLES[name]
