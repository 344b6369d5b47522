"""What the sdist and the wheels hold. A stand-in reads what a compiler would read, and writes
empty files where a compiler would write libraries."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {"hetconv/native.so", "hetconv/libhetconv_onnx.so"}
REASON = "hetconv/native_not_built.txt"
COMPILER = """#!{python}
import pathlib, re, sys
read = [pathlib.Path(name) for name in sys.argv[1:] if name.startswith("csrc/") and name.endswith(".cpp")]
for file in read:  # which grows by what the file includes
    included = re.findall('^ *#include "(.*)"', file.read_text(), flags=re.MULTILINE)
    read.extend({{file.parent / name for name in included}} - set(read))
pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).touch()
"""
BROKEN = """#!/bin/sh
echo "kernels.cpp:7:1: error: there is no such thing" >&2
exit 1
"""


def tracked_files() -> list[str]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("only a checkout knows its files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is tracked, with what an earlier build inside of it would have left."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in (*LIBRARIES, REASON):
        (folder / "src" / name).write_text("left by an earlier build")
    (folder / "csrc/left.o").touch()
    return folder


def setup(checkout: Path, *arguments: str, compiler: Path | None = None) -> None:
    environment = {**os.environ, "CXX": str(compiler or "/nonexistent/g++")}
    command = [sys.executable, "setup.py", "-q", *arguments]
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def wheel(checkout: Path, folder: Path, compiler: Path | None = None) -> tuple[Path, dict[str, bytes]]:
    """The wheel that a checkout gives in which both kinds of earlier builds left something."""
    left = checkout / f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/hetconv"
    left.mkdir(parents=True, exist_ok=True)
    for name in (*LIBRARIES, REASON, "hetconv/removed.py"):
        (left.parent / name).write_text("left by an earlier build")
    setup(checkout, "bdist_wheel", "--dist-dir", str(folder), compiler=compiler)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return path, {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def unpacked(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist of a checkout holds."""
    folder = tmp_path_factory.mktemp("sdist")
    setup(checkout, "sdist", "--dist-dir", str(folder))
    (path,) = folder.glob("hetconv-*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / path.name.removesuffix(".tar.gz")


def test_sdist_holds_all_that_is_tracked_and_nothing_that_was_built(unpacked: Path) -> None:
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    made = {name for name in held if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert held - made == set(tracked_files())


def test_wheel_of_an_sdist_has_the_kernels_and_is_for_every_python(unpacked: Path, tmp_path: Path) -> None:
    """The stand-in fails where a source that is compiled, or a header that one includes, is not in the sdist."""
    compiler = program(tmp_path / "compiler", COMPILER.format(python=sys.executable))
    path, held = wheel(unpacked, tmp_path, compiler)
    assert path.stem.split("-")[2:4] == ["py3", "none"]
    assert path.stem.endswith(sysconfig.get_platform().replace("-", "_").replace(".", "_"))
    assert {name: held.get(name) for name in LIBRARIES} == dict.fromkeys(LIBRARIES, b"")
    assert REASON not in held
    assert "hetconv/removed.py" not in held
    assert "hetconv/py.typed" in held


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        (None, "the C++ compiler /nonexistent/g++ does not run (No such file or directory)"),
        (BROKEN, "did not compile hetconv's kernels (kernels.cpp:7:1: error: there is no such thing)"),
    ],
    ids=["absent", "broken"],
)
def test_wheel_without_kernels_says_why_and_the_way_out(
    checkout: Path, tmp_path: Path, compiler: str | None, why: str
) -> None:
    _, held = wheel(checkout, tmp_path, None if compiler is None else program(tmp_path / "compiler", compiler))
    assert not LIBRARIES & set(held)
    (reason,) = held[REASON].decode().splitlines()
    assert why in reason
    assert "install a C++20 compiler" in reason
    assert "hetconv/removed.py" not in held
