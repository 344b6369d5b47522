"""Channel order of whole networks: moving them between the shifted and the blocked arrangement."""

from hetconv.layout.relayout import Relayout, relayout

__all__ = ["Relayout", "relayout"]
