"""The native libraries as files: what they ask for, what they show, and PyTorch's C interface as declared here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from hetconv.built import library

ROOT = Path(__file__).parents[2]
NAMES = ("native.so", "libhetconv_onnx.so")
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 25), "CXXABI": (1, 3, 11), "GCC": (8,)}
"""What manylinux_2_28 allows."""

pytestmark = pytest.mark.skipif(isinstance(library(NAMES[0]), str), reason="the native kernels were not built")


def symbols(name: str) -> list[str]:
    if shutil.which("objdump") is None:
        pytest.skip("there is no objdump")
    command = ["objdump", "--dynamic-syms", str(library(name))]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_runs_where_glibc_is_as_old_as_a_wheel_promises(name: str) -> None:
    asked = re.findall(r"\b([A-Z]+)_([0-9.]+)\)? +(\S+)$", "\n".join(symbols(name)), flags=re.MULTILINE)
    assert asked
    for kind, version, symbol in asked:
        assert tuple(map(int, version.split("."))) <= NEWEST[kind], (kind, version, symbol)


@pytest.mark.parametrize(
    ("name", "shown"), [("native.so", r"hetconv_\w+"), ("libhetconv_onnx.so", "RegisterCustomOps")]
)
def test_shows_its_own_functions_only(name: str, shown: str) -> None:
    defined = [line.split()[-1] for line in symbols(name) if re.search(r" g +D.* \.text\s", line)]
    assert defined
    assert not [symbol for symbol in defined if re.fullmatch(shown, symbol) is None]


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_declares_pytorch_as_pytorch_does(tmp_path: Path) -> None:
    """Two declarations of one C function that differ do not compile."""
    source = tmp_path / "both.cpp"
    source.write_text('#include <torch/csrc/stable/c/shim.h>\n#include "abi.h"\n')
    headers = Path(torch.__file__).parent / "include"
    command = ["g++", "-std=c++20", "-fsyntax-only", f"-I{ROOT / 'csrc/torch'}", "-isystem", str(headers), str(source)]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
