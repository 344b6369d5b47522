"""Triton's interpreter, made quick enough for tests."""

from dataclasses import replace

from triton.runtime.interpreter import InterpretedFunction, interpreter_builder


def without_overflow_checks():
    """Every sum and product of whole numbers is made twice otherwise, to see whether 32 bits hold it."""
    interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)


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
