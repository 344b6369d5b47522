"""Whatever code of others raises is one line, which names the place in it."""

import sys
from pathlib import Path

import pytest

from hetconv.errors import DamagedFileError, HetconvError, UsageError
from hetconv.foreign import LONGEST_MESSAGE, describe_error, foreign


def raised(code: str, name: str = "theirs.py") -> BaseException:
    """What a program raises whose file is outside of this package and of installed ones."""
    try:
        exec(compile(code, f"/elsewhere/{name}", "exec"), {})
    except BaseException as error:
        return error
    raise AssertionError("it raises nothing")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("raise ValueError('no such\\n  layer')", "ValueError: no such layer (theirs.py line 1)"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero (theirs.py line 3)"),
        ("raise RuntimeError", "RuntimeError (theirs.py line 1)"),
        ("raise SystemExit(0)", "SystemExit: 0 (theirs.py line 1)"),
        ("raise ValueError('\\x1b[31mred\\u202e')", "ValueError: \ufffd[31mred\ufffd (theirs.py line 1)"),
        ("\nimport json\njson.loads('{')", "JSONDecodeError: Expecting property name enclosed in double quotes"),
    ],
)
def test_an_error_in_one_line(code: str, line: str) -> None:
    assert describe_error(raised(code)).startswith(line)


def test_the_place_is_the_users_line_and_not_pythons() -> None:
    assert describe_error(raised("\nimport json\njson.loads('{')")).endswith("(theirs.py line 3)")


def test_long_messages_are_cut() -> None:
    found = describe_error(raised("raise ValueError('x' * 10_000)"))
    assert found == f"ValueError: {'x' * LONGEST_MESSAGE}… (theirs.py line 1)"


@pytest.mark.parametrize("code", ["raise ValueError('a')", "import sys; sys.exit()", "raise MemoryError", "[][0]",
                                  "class E(BaseException): pass\nraise E"])  # fmt: skip
@pytest.mark.parametrize("kind", [UsageError, HetconvError])
def test_whatever_is_raised_becomes_one_error(code: str, kind: type[Exception]) -> None:
    with (
        pytest.raises(kind, match=r"^the thing failed: .*; mend it$") as caught,
        foreign("the thing failed", kind, "mend it"),
    ):
        exec(code, {})
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [UsageError("a"), DamagedFileError(Path("x"), "b"), KeyboardInterrupt()])
def test_own_errors_and_interruption_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreign("the thing failed"):
        raise error
    assert caught.value is error


def test_an_error_that_cannot_be_printed() -> None:
    """Its own __str__ raises."""
    code = "class E(Exception):\n    def __str__(self): return 1 / 0\nraise E"
    assert describe_error(raised(code)) == "E: it has no message (theirs.py line 3)"


def test_deep_recursion() -> None:
    with pytest.raises(UsageError, match="RecursionError: maximum recursion depth"), foreign("the thing failed"):
        exec("def f(): f()\nf()", {})
    assert sys.getrecursionlimit() > 0
