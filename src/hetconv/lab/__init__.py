"""Whatever trains, compares and reports: `pip install 'hetconv[lab]'`. It knows the core; the core does not know it."""

from hetconv.lab.models import create_model

__all__ = ["create_model"]
