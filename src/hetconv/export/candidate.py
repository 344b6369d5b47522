"""A network exported in one way, loaded and compared; and which ways there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from hetconv.export.forms import AnyForm, forms_to_try
from hetconv.export.native import DOMAIN, Rewritten, rewrite_
from hetconv.export.onnx_model import to_onnx
from hetconv.export.prepare import Prepared, prepare
from hetconv.export.verify import Checked, compare
from hetconv.runtimes import open_session


@dataclass(frozen=True)
class Choice:
    """One way to export a network.

    Attributes:
        name: as the report tells it.
        convolutions: in the native form, whether standard convolutions run on the native kernels too.
    """

    name: str
    form: AnyForm
    convolutions: bool = False


EVERY, HET_ONLY = "every convolution", "HetConv layers only"


def choices(model: nn.Module, form: str, has_layers: bool) -> tuple[Choice, ...]:
    """What is tried for a form; "auto" means standard operators."""
    if form == "native":
        every = Choice(f"native, {EVERY}", "native", True)
        return (every, Choice(f"native, {HET_ONLY}", "native")) if has_layers else (every,)
    if form == "auto" or not has_layers:
        return tuple(Choice(name, name) for name in forms_to_try(model))
    return (Choice(form, form),)  # type: ignore[arg-type]  (`prepare` refuses what is no form)


class Candidate:
    """A network in one form, exported, loaded into ONNX Runtime and compared with the model.

    Attributes:
        rewritten: what became of it in the native form.

    Raises:
        UsageError: it cannot be exported so.
        HetconvError: ONNX Runtime computes something else than the model.
    """

    def __init__(
        self, model: nn.Module, choice: Choice, tried: tuple[Tensor, ...], references: list[NDArray[Any]], threads: int
    ) -> None:
        self.prepared: Prepared = prepare(model, choice.form)
        self.rewritten: Rewritten | None = None
        native = choice.form == "native"
        if native:
            self.onnx = to_onnx(self.prepared.network, tried[0], self._rewrite(choice.convolutions), DOMAIN)
        else:
            self.onnx = to_onnx(self.prepared.network, tried[0])
        self.session = open_session("onnxruntime", self.onnx, threads, native)
        self.checked: tuple[Checked, ...] = compare("onnxruntime", self.session, tried, references)

    def _rewrite(self, convolutions: bool) -> Any:
        def rewrite(onnx_ir_model: Any) -> None:
            self.rewritten = rewrite_(onnx_ir_model, convolutions)

        return rewrite
