"""Builds the native CPU kernels, for PyTorch and for ONNX Runtime; without them the package still installs.

Why they were not built is kept in `hetconv/native_not_built.txt`, for `hetconv.explain`.
"""

from __future__ import annotations

import os
import platform
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REASON = "native_not_built.txt"
FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-g0", "-Wall", "-Wextra"]
# GCC 12's own AVX-512 headers read variables before they are set, on purpose.
QUIET = ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]
KERNEL_FLAGS = {"portable": QUIET}
INT8_FLAGS = {"portable": QUIET}
if platform.machine() in ("x86_64", "AMD64"):
    AVX512 = [*(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl")), "-mfma", *QUIET]
    AVX2 = ["-mavx2", "-mfma", *QUIET]
    KERNEL_FLAGS = {"avx512": AVX512, "avx2": AVX2, **KERNEL_FLAGS}  # AVX-512 takes longest to compile: first
    INT8_FLAGS |= {"avx512_vnni": [*AVX512, "-mavx512vnni"], "avx512": AVX512}
    INT8_FLAGS |= {"avx2_vnni": [*AVX2, "-mavxvnni"], "avx2": AVX2}


def torch_folder() -> Path:
    """Where PyTorch is. pip builds in a place of its own, from where torch cannot be imported but can be found."""
    for name in ("platlib", "purelib"):
        torch = Path(sysconfig.get_path(name), "torch")
        if (torch / "include/torch/csrc/stable/library.h").exists():
            return torch
    raise FileNotFoundError(
        "PyTorch was not there when hetconv was installed; now: pip install --force-reinstall --no-deps hetconv"
    )


class BuildNative(build_ext):
    """One source of kernels, compiled once per instruction set; a failure is a reason, not an error."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def run(self) -> None:
        package = Path("src" if self.inplace else self.build_lib, "hetconv")
        package.mkdir(parents=True, exist_ok=True)
        reason = package / REASON
        reason.unlink(missing_ok=True)
        try:
            super().run()
        except Exception as error:  # whatever a compiler or its absence raises: the package works without
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason.write_text(f"{lines[0]}\n", encoding="utf-8")
            print(f"hetconv: native kernels were not built: {lines[0]}")

    def build_extension(self, ext: Extension) -> None:
        knows_torch = ext.name == NATIVE
        torch = torch_folder() if knows_torch else None
        headers = [] if torch is None else [str(torch / "include")]
        objects = [*self.kernels()]
        for source in ext.sources:
            objects += self.compile(source, FLAGS, headers)
        output = self.get_ext_fullpath(ext.name)
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            objects, output, libraries=["torch_cpu"] if knows_torch else [],
            library_dirs=[] if torch is None else [str(torch / "lib")], target_lang="c++",
        )  # fmt: skip

    @cache  # noqa: B019  (one build)
    def kernels(self) -> list[str]:
        """The kernels' objects, which know neither torch nor ONNX Runtime and are in both libraries."""
        sources = [
            ("csrc/kernels.cpp", [*flags, f"-DHETCONV_ISA={name}"], name) for name, flags in KERNEL_FLAGS.items()
        ]
        sources += [
            # no fused products: rounding is the same on all of them
            ("csrc/int8/kernels.cpp", [*flags, "-ffp-contract=off", f"-DHETCONV_ISA={name}"], f"int8_{name}")
            for name, flags in INT8_FLAGS.items()
        ]
        sources += [(f"csrc/{source}.cpp", ["-ffp-contract=off"], "") for source in KERNELS]
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # each runs a compiler
            built = threads.map(lambda one: self.compile(one[0], [*FLAGS, *one[1]], [], one[2]), sources)
            return [path for paths in built for path in paths]

    def compile(self, source: str, flags: list[str], headers: list[str], folder: str = "") -> list[str]:
        built: list[str] = self.compiler.compile(
            [source],
            output_dir=str(Path(self.build_temp, folder)),
            macros=[("TORCH_TARGET_VERSION", "0x020b000000000000")],
            include_dirs=headers,
            extra_postargs=flags,
        )
        return built


KERNELS = ["dispatch", "algorithm", "plan", "pack", "strip", "tiles", "winograd", "prepared", "convolve", "weight_grad"]
KERNELS += ["fingerprint", "int8/plan", "int8/pack", "int8/convolution"]
KERNELS += [f"network/{name}" for name in ("network", "convolutions", "joins", "window", "api")]
NATIVE, ONNX_RUNTIME = "hetconv.native", "hetconv.libhetconv_onnx"

setup(
    ext_modules=[
        Extension(NATIVE, ["csrc/register.cpp"]),
        Extension(
            ONNX_RUNTIME, [f"csrc/onnx_runtime/{name}.cpp" for name in ("kernel", "het_conv", "pool", "register")]
        ),
    ],
    cmdclass={"build_ext": BuildNative},
)
