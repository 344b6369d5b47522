"""Triton's interpreter, made quick enough for tests."""

from triton.runtime.interpreter import InterpretedFunction


def patch_language_once():
    """Device functions patch `triton.language` anew at every call, which takes most of the time: once is enough.

    The launch around them does it too, each time, and undoes it.
    """
    original, known = InterpretedFunction.__call__, set()

    def call(self, *args, **kwargs):
        if self.fn in known:
            return self.rewrite()(*args, **kwargs)
        known.add(self.fn)
        return original(self, *args, **kwargs)

    InterpretedFunction.__call__ = call
