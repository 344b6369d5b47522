"""The kernels on ARM: built by a cross compiler, unoptimised, and run by an emulator of processors with and without
products of 8 bits. Optimised, and with more cases: `make -C csrc aarch64`."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv import HetConv2d, deploy
from hetconv.deployment import load_deployed
from hetconv.deployment.int8.module import Int8Network
from hetconv.ops import native

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "build/csrc-aarch64/quick"
SYSTEM = Path("/usr/aarch64-linux-gnu")
SETS = {
    "cortex-a53": "neon portable",
    "neoverse-n1": "neon_dotprod neon portable",
    "max": "neon_i8mm neon_dotprod neon portable",
}
"""What each processor has, the best first."""
COMPILER = "aarch64-linux-gnu-g++"
MISSING = [name for name in ("make", COMPILER, "qemu-aarch64") if shutil.which(name) is None]
PYTORCH = """
int torch_get_num_threads(unsigned* threads) { *threads = 1; return 0; }
int torch_parallel_for(long begin, long end, long grain, void (*body)(long, long, void*), void* context) {
  if (grain > 0) body(begin, end, context);
  return 0;
}
"""
"""What the library calls of PyTorch where no tensor is; all else returns 0."""

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    command = ["make", "-j2", "-C", str(ROOT / "csrc"), "aarch64-quick"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def emulated(cpu: str, program: str | Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["qemu-aarch64", "-cpu", cpu, "-L", str(SYSTEM), str(PROGRAMS / program), *arguments]
    result = subprocess.run(command, capture_output=True)
    assert result.returncode == 0, (result.stdout + result.stderr).decode()
    return result


@pytest.mark.parametrize("cpu", SETS)
def test_int8_kernels_give_the_integers_of_their_definition(cpu: str) -> None:
    assert emulated(cpu, "int8_test", "6").stdout.decode() == f"6 cases of 8 bits, 0 failures: {SETS[cpu]}\n"


def test_float32_kernels_give_exact_sums() -> None:
    """They are the same on every processor."""
    assert emulated("cortex-a53", "kernels_test", "8").stdout.decode() == "16 layers checked, 0 wrong: neon portable\n"


def test_any_integers_are_refused_or_computed() -> None:
    emulated("max", "any_integers_test", "300")


class Network(nn.Module):
    """In 8 bits, but for its classifier: its sums of fused products are in one order on every instruction set."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.conv1 = HetConv2d(24, 64, 3, padding=1, stride=2, p=4)
        self.conv2 = HetConv2d(64, 64, 3, padding=1, p=8)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.norm(self.stem(x))), 2)
        x = functional.relu(self.conv1(x))
        x = functional.silu(self.conv2(x)) + x
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A network as a file of steps, and its outputs here, from a deployed file."""
    if native.why_not_loaded() is not None:
        pytest.skip(str(native.why_not_loaded()))
    torch.manual_seed(0)
    images = torch.randn(40, 3, 16, 16)
    folder = tmp_path_factory.mktemp("deployed")
    deploy(Network().eval(), images[:2], precision="int8", calibration=images).save(folder / "network.hetconv")
    network = load_deployed(folder / "network.hetconv").network
    assert isinstance(network, Int8Network)
    write_steps(folder / "steps", network, images[:2])
    return folder / "steps", network(images[:2])


def write_steps(path: Path, network: Int8Network, images: torch.Tensor) -> None:
    """As csrc/test/run_steps.cpp reads them."""

    def listed(kind: str, items: Sequence[float]) -> bytes:
        return struct.pack(f"<q{len(items)}{kind}", len(items), *items)

    def text(data: bytes) -> bytes:
        return struct.pack("<q", len(data)) + data

    parts = [struct.pack("<4q", images.shape[1], images.shape[0], *images.shape[2:])]
    parts += [listed("f", images.flatten().tolist()), struct.pack("<q", len(network.steps))]
    for step in network.steps:
        arrays = step.natural_arrays
        parts += [text(step.kind.encode()), listed("q", step.inputs), listed("q", step.numbers)]
        parts += [listed("f", step.reals), struct.pack("<q", len(arrays))]
        parts += [text(array.contiguous().numpy().tobytes()) for array in arrays]
    path.write_bytes(b"".join(parts))


def outputs(program: str | Path, cpu: str, steps: Path) -> list[float]:
    """Of a network, on the best that the processor has."""
    result = emulated(cpu, program, str(steps))
    assert result.stderr.decode().strip() == SETS[cpu].split()[0]
    return list(np.frombuffer(result.stdout, np.float32))


@pytest.mark.parametrize("cpu", SETS)
def test_a_deployed_network_gives_the_same_bits(deployed: tuple[Path, torch.Tensor], cpu: str) -> None:
    steps, expected = deployed
    assert outputs("run_steps", cpu, steps) == expected.flatten().tolist()


@pytest.fixture(scope="module")
def with_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the library of a wheel for ARM in place of its own kernels, and a stand-in for PyTorch's."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {**os.environ, "CXX": COMPILER, "_PYTHON_HOST_PLATFORM": "linux-aarch64"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder)]
    command += ["--build-temp", str(ROOT / "build/temp.linux-aarch64")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    library, torch_library, program = folder / "hetconv/native.so", folder / "libtorch_cpu.so", folder / "run_steps"
    listed = subprocess.run(
        ["aarch64-linux-gnu-nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    others = (name for name in names if "torch_" in name and f" {name}(" not in PYTORCH)
    (folder / "torch.c").write_text(PYTORCH + "".join(f"int {name}(void) {{ return 0; }}\n" for name in others))
    soname = f"-Wl,-soname,{torch_library.name}"
    compiled("-x", "c", str(folder / "torch.c"), "-shared", "-fPIC", soname, "-o", str(torch_library))
    libraries = [str(library), "-Wl,--no-as-needed", str(torch_library), f"-Wl,-rpath,{folder}"]
    compiled("-std=c++20", str(ROOT / "csrc/test/run_steps.cpp"), *libraries, "-o", str(program))
    return program


def compiled(*arguments: str) -> None:
    result = subprocess.run([COMPILER, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("cpu", SETS)
def test_a_wheels_library_gives_the_same_bits(
    deployed: tuple[Path, torch.Tensor], with_library: Path, cpu: str
) -> None:
    steps, expected = deployed
    assert outputs(with_library, cpu, steps) == expected.flatten().tolist()
