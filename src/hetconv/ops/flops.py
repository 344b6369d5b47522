"""FLOP formulas of operators, for PyTorch's FLOP counter whenever somebody imports it.

The counter imports triton where that is installed: 75 MB and some tenths of a second, which no inference needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COUNTER = "torch.utils.flop_counter"

_formulas: dict[Any, Callable[..., int]] = {}


def register_flops(formulas: Mapping[Any, Callable[..., int]]) -> None:
    """Register the formulas of operators: now, or as soon as the counter is imported; again if it is reloaded."""
    _formulas.update(formulas)
    if COUNTER in sys.modules:
        _register()


def _register() -> None:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    for operator, formula in tuple(_formulas.items()):
        if operator not in flop_registry:
            register_flop_formula(operator)(formula)


class _CounterFinder(MetaPathFinder):
    """Finds the counter's module as Python does, and has the formulas registered whenever it has been executed."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == COUNTER else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _CounterFinder())
