"""Builds the native CPU kernels, for PyTorch and for ONNX Runtime, with a C++20 compiler and nothing else.

PyTorch need not be there. Where there is no compiler the package still installs, and why the kernels are missing is
kept in `hetconv/native_not_built.txt`, for `hetconv.explain` and for the warning of the first layer. CXX names the
compiler; the platform is Python's, or the one that _PYTHON_HOST_PLATFORM names to a cross compiler.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

REASON = "native_not_built.txt"
AGAIN = (
    "install a C++20 compiler (such as g++ 11 or newer), "
    "then hetconv again with pip's --force-reinstall --no-deps --no-cache-dir"
)

FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-g0", "-Wall", "-Wextra"]
# GCC 12's own AVX-512 headers read variables before they are set, on purpose.
QUIET = ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]
ALIKE = ["-ffp-contract=off"]
"""No fused products: rounding is the same on every instruction set."""
KERNEL_FLAGS = {"portable": QUIET}
INT8_FLAGS = {"portable": QUIET}
BFLOAT16_FLAGS: dict[str, list[str]] = {}
if sysconfig.get_platform().endswith(("aarch64", "arm64")):
    NEON = ["-DHETCONV_NEON", *QUIET]
    KERNEL_FLAGS = {"neon": NEON, **KERNEL_FLAGS}
    INT8_FLAGS |= {"neon_i8mm": [*NEON, "-march=armv8.2-a+dotprod+i8mm"]}
    INT8_FLAGS |= {"neon_dotprod": [*NEON, "-march=armv8.2-a+dotprod"], "neon": NEON}
if sysconfig.get_platform().endswith("x86_64"):
    AVX512 = [*(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl")), "-mfma", *QUIET]
    AVX2 = ["-mavx2", "-mfma", *QUIET]
    KERNEL_FLAGS = {"avx512": AVX512, "avx2": AVX2, **KERNEL_FLAGS}  # AVX-512 takes longest to compile: first
    VNNI = [*AVX512, "-mavx512vnni"]
    AMX = [*VNNI, "-mavx512vbmi", "-mavx512bf16", *(f"-mamx-{part}" for part in ("tile", "int8", "bf16"))]
    BFLOAT16_FLAGS = {"avx512_amx": AMX}
    INT8_FLAGS |= {"avx512_amx": AMX, "avx512_vnni": VNNI, "avx512": AVX512}
    INT8_FLAGS |= {"avx2_vnni": [*AVX2, "-mavxvnni"], "avx2": AVX2}

KERNELS = ["dispatch", "algorithm", "plan", "pack", "strip", "tiles", "winograd", "prepared", "convolve", "weight_grad"]
KERNELS += ["fingerprint", "checked", "packed_weights", "older_libstdcxx", "int8/plan", "int8/pack", "int8/amx"]
KERNELS += ["int8/packed_weights", "int8/convolution", "amx/pixels", "bfloat16/amx", "bfloat16/weight_grad"]
NETWORK = (
    "network make_step byte_maps convolutions float_joins grouped joins layer_norm pad_image pools resize "
    "select_channels window"
)
KERNELS += [f"network/{name}" for name in NETWORK.split()]
LIBRARIES = {
    "native": ["register", "entries", "network/api"],
    "libhetconv_onnx": [f"onnx_runtime/{name}" for name in ("kernel", "het_conv", "pool", "network", "register")],
}


class CompilerError(Exception):
    """Why there is no library, in one line."""


def compiler() -> list[str]:
    """The C++ compiler and its first arguments: CXX, or the first that is there."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        return wanted
    found = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)
    if found is None:
        raise CompilerError(f"there was no C++ compiler when hetconv was installed; {AGAIN}")
    return [found]


def run(*arguments: str) -> None:
    """Run the compiler; what it says is shown, and the first error is raised."""
    command = [*compiler(), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CompilerError(f"the C++ compiler {command[0]} does not run ({error.strerror}); {AGAIN}") from None
    sys.stderr.write(result.stderr)
    if result.returncode:
        lines = result.stderr.splitlines() or ["it said nothing"]
        said = next((line for line in lines if "error" in line), lines[-1])
        raise CompilerError(f"{command[0]} did not compile hetconv's kernels ({said.strip()}); {AGAIN}")


def up_to_date(made: Path) -> bool:
    """Whether an object file is newer than all that the compiler read for it, and than the flags in this file."""
    listed = made.with_suffix(".d")
    if not made.exists() or not listed.exists():
        return False
    read = listed.read_text().replace("\\\n", " ").partition(":")[2].split()
    inputs = [Path(path) for path in (*read, "setup.py")]
    return all(path.exists() and made.stat().st_mtime > path.stat().st_mtime for path in inputs)


class BuildNative(build_ext):
    """One source of kernels, compiled once per instruction set; a failure is a reason, not an error."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def run(self) -> None:
        package = Path("src" if self.inplace else self.build_lib, "hetconv")
        package.mkdir(parents=True, exist_ok=True)
        for left in (REASON, *(f"{library}.so" for library in LIBRARIES)):
            (package / left).unlink(missing_ok=True)
        try:
            self.build(package)
        except CompilerError as error:
            (package / REASON).write_text(f"{error}\n", encoding="utf-8")
            self.warn(f"hetconv is installed without its native kernels, and several times slower: {error}")

    def build(self, package: Path) -> None:
        objects = self.compile_all()
        own = {source for sources in LIBRARIES.values() for source in sources}
        shared = [path for source, path in objects.items() if source not in own]
        made = {library: Path(self.build_temp, f"{library}.so") for library in LIBRARIES}
        for library, path in made.items():
            run(
                "-shared", "-o", str(path), *shared, *(objects[source] for source in LIBRARIES[library]),
                *self.link_flags(torch=library == "native"),
            )  # fmt: skip
        for library, path in made.items():  # both, or none
            shutil.copy(path, package / f"{library}.so")

    def compile_all(self) -> dict[str, str]:
        """Object files by source, the kernels' by instruction set."""
        sources = {name: ("kernels", [*flags, f"-DHETCONV_ISA={name}"]) for name, flags in KERNEL_FLAGS.items()}
        sources |= {
            f"int8/{name}": ("int8/kernels", [*flags, *ALIKE, f"-DHETCONV_ISA={name}"])
            for name, flags in INT8_FLAGS.items()
        }
        sources |= {f"bfloat16/{name}": ("bfloat16/kernels", flags) for name, flags in BFLOAT16_FLAGS.items()}
        sources |= {source: (source, ALIKE) for source in KERNELS}
        sources |= {source: (source, []) for library in LIBRARIES.values() for source in library}
        objects = {name: str(Path(self.build_temp, f"{name}.o")) for name in sources}
        for path in objects.values():
            Path(path).parent.mkdir(parents=True, exist_ok=True)

        def compile_one(name: str) -> None:
            source, flags = sources[name]
            if not up_to_date(Path(objects[name])):
                run(*FLAGS, *flags, "-MMD", "-c", f"csrc/{source}.cpp", "-o", objects[name])

        with ThreadPoolExecutor(os.cpu_count()) as threads:  # each runs a compiler
            list(threads.map(compile_one, sources))
        return objects

    def link_flags(self, torch: bool) -> list[str]:
        if sys.platform == "darwin":
            return ["-undefined", "dynamic_lookup"]
        flags = ["-Wl,--version-script=csrc/exports.map"]
        if torch:  # the one that is loaded then: an empty library with its name stands for it here
            empty, stand_in = Path(self.build_temp, "empty.cpp"), Path(self.build_temp, "libtorch_cpu.so")
            empty.write_text("")
            run("-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{stand_in.name}", str(empty), "-o", str(stand_in))
            flags += ["-Wl,--no-as-needed", f"-L{self.build_temp}", "-ltorch_cpu", "-Wl,--as-needed"]
        return flags


class BuildPython(build_py):
    """Builds from nothing: what an earlier build left must not be in a wheel."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class Wheel(bdist_wheel):
    """One wheel for every Python: the libraries know nothing of it."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(f"hetconv.{library}", [f"csrc/{source}.cpp" for source in sources])
        for library, sources in LIBRARIES.items()
    ],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython, "bdist_wheel": Wheel},
)
