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
        from importlib.util import find_spec

        if find_spec(f"hetconv.{name}") is not None:  # `from hetconv import built`, while public names are loading
            return import_module(f"hetconv.{name}")
        public = import_module("hetconv.public")
        if name not in public.__all__:
            raise AttributeError(f"module 'hetconv' has no attribute {name!r}")
        return getattr(public, name)
