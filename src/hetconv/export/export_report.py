"""What an export did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hetconv.deployment import DeployReport
from hetconv.export.fastest_forms import LayerForm
from hetconv.export.native import Rewritten, WholeNetwork
from hetconv.export.verify import Checked
from hetconv.graph.fold_module_graph import Folding
from hetconv.plain_text import visible
from hetconv.table import NOTHING, Table


@dataclass(frozen=True)
class ExportReport:
    """What was written, in which form, and how it was checked.

    Attributes:
        form: of the HetConv layers; None in a network without such.
        timed_ms: median time of the network in each form, if they were timed.
        refused: forms that were tried and not taken, and why.
        layers: names of the HetConv layers.
        gathers: where channels are gathered, and why.
        checked: every comparison with the model.
        unchecked: runtimes it could not be compared on, and why.
        rewritten: what runs on the native kernels, in the native form.
        timed_on: the runtime that forms were timed on.
        layer_forms: distinct layers alone, what each form takes and which is the fastest, if they were timed.
    """

    path: Path
    bytes: int
    opset: int
    ir_version: int
    form: str | None
    timed_ms: dict[str, float]
    refused: dict[str, str]
    layers: tuple[str, ...]
    gathers: tuple[str, ...]
    folding: Folding
    checked: tuple[Checked, ...]
    unchecked: dict[str, str]
    rewritten: Rewritten | WholeNetwork | None = None
    timed_on: str = "onnxruntime"
    layer_forms: tuple[LayerForm, ...] = ()

    def __str__(self) -> str:
        return visible("\n".join([
            f"{self.path}: {self.bytes:,} bytes, opset {self.opset}, IR version {self.ir_version}, any batch size",
            f"HetConv layers: {len(self.layers)}" + ("" if self.form is None else f", {self.form}"),
            *([] if self.rewritten is None else [str(self.rewritten)]),
            _listed(f"timed on {self.timed_on}", [f"{form} {ms:.3g} ms" for form, ms in self.timed_ms.items()]),
            *self._layer_lines(),
            _listed("forms not taken", [f"{form}: {why}" for form, why in self.refused.items()]),
            _listed("channels gathered", list(self.gathers)),
            f"batch norms folded: {len(self.folding.folded)}; " + _listed("left", self._left()),
            _listed("compared with the model", [self._checked(runtime) for runtime in self._runtimes()]),
            _listed("not compared on", [f"{runtime}: {why}" for runtime, why in self.unchecked.items()]),
        ]))  # fmt: skip

    def _layer_lines(self) -> list[str]:
        if not self.layer_forms:
            return []
        forms = list(dict.fromkeys(form for layer in self.layer_forms for form in layer.timed_ms))
        rows = [
            (
                layer.names[0] + f" and {len(layer.names) - 1} more" * (len(layer.names) > 1),
                layer.layer,
                *(f"{layer.timed_ms[form]:.3f}" if form in layer.timed_ms else NOTHING for form in forms),
                layer.form,
            )
            for layer in self.layer_forms
        ]
        head = ("layer", "sizes, input", *(f"{form}, ms" for form in forms), "fastest")
        refused = dict.fromkeys(why for layer in self.layer_forms for why in layer.refused.values())
        notes = [f"not timed: {why}" for why in refused]
        return ["distinct layers, each timed alone:", *Table.of_rows(head, rows, notes).lines()]

    def _left(self) -> list[str]:
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.folding.left:
            by_reason.setdefault(reason, []).append(name)
        return [
            f"{names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)} ({why})" for why, names in by_reason.items()
        ]

    def _runtimes(self) -> list[str]:
        return list(dict.fromkeys(check.runtime for check in self.checked))

    def _checked(self, runtime: str) -> str:
        checks = [check for check in self.checked if check.runtime == runtime]
        batches = ", ".join(str(check.batch_size) for check in checks)
        worst = max(checks, key=lambda check: check.error / check.allowed)
        return (
            f"{runtime}, batches of {batches}: relative error {worst.error:.1e}, PyTorch's own "
            f"{worst.original_error:.1e}, allowed {worst.allowed:.1e}"
        )


@dataclass(frozen=True)
class DeployedExportReport:
    """What was written of a deployed network.

    Attributes:
        batches: sizes with which ONNX Runtime gave the deployed network's numbers bit by bit.
        deployed: the deployed network's own report.
    """

    path: Path
    bytes: int
    opset: int
    ir_version: int
    written: WholeNetwork
    batches: tuple[int, ...]
    deployed: DeployReport

    def __str__(self) -> str:
        return visible("\n".join([
            f"{self.path}: {self.bytes:,} bytes, opset {self.opset}, IR version {self.ir_version}, any batch size",
            str(self.written),
            f"the deployed network's numbers bit by bit, batches of {', '.join(map(str, self.batches))}",
            "",
            str(self.deployed),
        ]))  # fmt: skip


def _listed(title: str, items: list[str], separator: str = "; ") -> str:
    return f"{title}: {separator.join(items) if items else 'none'}"
