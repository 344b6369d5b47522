"""Methods as words: what stands behind the base network in a variant such as het-p4-l1-50."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from hetconv.errors import UsageError
from hetconv.lab.compress.afp import AutoBalanced
from hetconv.lab.compress.connection import Connection
from hetconv.lab.compress.depgraph import DepGraph
from hetconv.lab.compress.float_onnx import FloatOnnx
from hetconv.lab.compress.int8 import Int8
from hetconv.lab.compress.l1 import L1
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.sbp import Bayesian
from hetconv.lab.settings import Recipe, StageSettings

GRAMMAR = "l1-<%>, l1-a, l1-b, afp-<%>, sbp, sbpa, connection-<%>, depgraph-<%>, depgraph-sparse-<%>, int8 or onnx"
BY_SHARE: dict[str, Callable[[float], Method]] = {
    "l1": L1,
    "afp": AutoBalanced,
    "connection": Connection,
    "depgraph": DepGraph,
    "depgraph-sparse": lambda share: DepGraph(share, sparse=True),
}
WHOLE: dict[str, Callable[[], Method]] = {
    "l1-a": lambda: L1(setting="a"),
    "l1-b": lambda: L1(setting="b"),
    "afp": AutoBalanced,
    "sbp": Bayesian,
    "sbpa": lambda: Bayesian(accelerated=True),
    "int8": Int8,
    "onnx": FloatOnnx,
}


def parse_method(text: str) -> Method:
    """Settings of a method by its word; a number is the percentage that is removed: filters, for connection weights;
    x3 behind it, that it is removed in three rounds.

    Raises:
        UsageError: there is no such method, or its percentage is not between 0 and 100.
    """
    if text in WHOLE:
        return WHOLE[text]()
    match = re.fullmatch(r"([a-z0-9]+(?:-sparse)?)-(\d+(?:\.\d+)?)(?:x(\d+))?", text)
    if match is None or match[1] not in BY_SHARE:
        raise UsageError(f"unknown method {text!r}; it must be {GRAMMAR}")
    try:
        method = BY_SHARE[match[1]](float(match[2]) / 100)
        if match[3] is None:
            return method
        if not isinstance(method, AutoBalanced | Connection):
            raise UsageError("only afp and connection go in rounds, such as afp-50x3")
        return replace(method, times=int(match[3]))
    except UsageError as error:
        raise UsageError(f"{text}: {error}") from error


def preparation(method: Method, recipe: Recipe, stages: StageSettings) -> Recipe | None:
    """How the method's own training is done after one by `recipe`; None if it has none."""
    return _changed(method.preparation(recipe), recipe, stages.prepare_epochs, stages.prepare_lr)


def retraining(method: Method, recipe: Recipe, stages: StageSettings) -> Recipe | None:
    """How the pruned network is trained again; None if it is not."""
    return _changed(method.retraining(recipe), recipe, stages.retrain_epochs, stages.retrain_lr)


def _changed(own: Recipe | None, recipe: Recipe, epochs: int | None, learning_rate: float | None) -> Recipe | None:
    if own is None:
        return None
    if epochs is not None:
        own = replace(own, epochs=epochs)
    if learning_rate is not None:
        own = replace(own, learning_rate=learning_rate, schedule=recipe.schedule, step_epochs=recipe.step_epochs)
    return own
