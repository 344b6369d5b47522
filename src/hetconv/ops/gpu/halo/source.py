"""The text of the halo kernel for one configuration."""

from __future__ import annotations

from pathlib import Path

from hetconv.ops.gpu.halo.tile import HaloConfiguration

FOLDER = Path(__file__).parent
ARCHITECTURE = "sm_90a"


def source_of(configuration: HaloConfiguration, half: bool) -> str:
    """CUDA C++ without any header, for NVRTC.

    Args:
        half: float16, else bfloat16
    """
    kind = "f16" if half else "bf16"
    sizes = sorted({configuration.filters, configuration.ring_filters})
    products = ["// d += A·B: 64 positions × N filters.\ntemplate <int N>\nstruct Product;\n"]
    products += [_product(size, kind) for size in sizes]
    primitives, kernel = ((FOLDER / name).read_text(encoding="utf-8") for name in ("primitives.cuh", "halo.cu"))
    return "\n".join([definitions(configuration, half), primitives, *products, kernel])


def definitions(configuration: HaloConfiguration, half: bool) -> str:
    """What halo.cu wants to be defined."""
    values = {
        "PIXELS": configuration.positions,
        "TILE_FILTERS": configuration.filters,
        "RING_FILTERS": configuration.ring_filters,
        "BLOCK": configuration.block,
        "MOST_POSITIONS": configuration.most_positions,
        "STAGES": configuration.stages,
        "RESIDENT": configuration.resident,
        "HALF": int(half),
    }
    return "".join(f"#define {name} {value}\n" for name, value in values.items())


def _product(filters: int, kind: str) -> str:
    """The matrix instruction, whose text lists every register."""
    count = filters // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    sums = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    return f"""template <>
struct Product<{filters}> {{
  static DEVICE void add(float (&d)[{count}], Descriptor a, Descriptor b) {{
    asm volatile("wgmma.mma_async.sync.aligned.m64n{filters}k16.f32.{kind}.{kind} {{{registers}}}, %{count}, "
                 "%{count + 1}, 1, 1, 1, 0, 0;" : {sums} : "l"(a), "l"(b));
  }}
}};
"""
