"""`halo.cu` compiled for a CPU: the same text, its instructions replaced by what their documentation says."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch

from hetconv.ops.gpu.halo.source import FOLDER, definitions

HERE = Path(__file__).parent
ENTRY = """
extern "C" void run(int blocks, int bytes, Element* x, Element* packed, Element* bias, Element* residual, Element* y,
                    Layer* layer) {
  run_blocks(blocks, bytes, [=] { halo(x, packed, bias, residual, y, *layer); });
}
"""


def compiler():
    """A C++ compiler, or None."""
    return shutil.which("g++") or shutil.which("clang++")


class OnCpu:
    """Compiles each configuration once, into a folder; launches as on a GPU."""

    def __init__(self, folder):
        self.folder = folder
        self.library = cache(self._library)

    def _library(self, configuration, half):
        text = (
            definitions(configuration, half) + (HERE / "halo_on_cpu.h").read_text() + (FOLDER / "halo.cu").read_text()
        )
        path = self.folder / f"{abs(hash((configuration, half)))}.cpp"
        path.write_text(text + ENTRY)
        output = path.with_suffix(".so")
        command = [compiler(), "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(output), str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return ctypes.CDLL(str(output))

    def __call__(self, configuration, blocks, tensors, layer):
        blocks = min(blocks, 2)  # each of which has several tiles
        half = tensors[0].dtype == torch.float16
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        self.library(configuration, half).run(blocks, configuration.shared_bytes, *pointers, ctypes.byref(layer))
