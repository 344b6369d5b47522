"""FLOP formulas of operators, for PyTorch's FLOP counter once somebody imports it.

The counter imports triton where that is installed: 75 MB and some tenths of a second, which no inference needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

COUNTER = "torch.utils.flop_counter"


def register_flops(formulas: Mapping[Any, Callable[..., int]]) -> None:
    """Register the formulas of operators: now, or as soon as the counter is imported."""

    def register() -> None:
        from torch.utils.flop_counter import register_flop_formula

        for operator, formula in formulas.items():
            register_flop_formula(operator)(formula)

    if COUNTER in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _Finder(register))


class _Finder(MetaPathFinder):
    """Finds the counter's module as it is found without it, and runs something after it was loaded."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._then)
        return spec


class _Loader(Loader):
    def __init__(self, own: Loader, then: Callable[[], None]) -> None:
        self._own, self._then = own, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._own
        self._own.exec_module(module)
        self._then()
