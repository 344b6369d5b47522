"""HetConv layers for PyTorch: the layer, its exact cost, conversion, and an honest comparison."""

from typing import TYPE_CHECKING, Any

from hetconv.starting import end_quietly_while_loading, is_the_command
from hetconv.version import VERSION

__version__ = VERSION

end_quietly_while_loading()  # before PyTorch is loaded

if TYPE_CHECKING or not is_the_command():
    from hetconv.public import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """The command loads PyTorch where it computes; `hetconv --help` does without."""
        from importlib import import_module

        public = import_module("hetconv.public")
        found = {**globals(), **{name: getattr(public, name) for name in public.__all__}}
        if name not in found:
            raise AttributeError(f"module 'hetconv' has no attribute {name!r}")
        return found[name]
