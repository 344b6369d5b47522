"""Whatever trains, compares and reports: `pip install 'hetconv[lab]'`. It knows the core; the core does not know it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hetconv.lab.models import create_model

__all__ = ["create_model"]


def __getattr__(name: str) -> Any:
    """Records and reports need no PyTorch, which networks load."""
    if name != "create_model":
        raise AttributeError(f"module 'hetconv.lab' has no attribute {name!r}")
    from hetconv.lab.models import create_model

    return create_model
