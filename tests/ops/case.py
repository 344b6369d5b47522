"""One call of `het_conv2d`: its sizes, drawn by hypothesis or given, and its tensors of small integers.

Small integers make every sum exact, in any order, so that results are compared with `==`.
"""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from hetconv.pattern import HetPattern

LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "slice": lambda x: torch.stack([x, x + 1], 2).flatten(1, 2)[:, ::2],
    "rows of a larger map": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 0))[:, :, 3:, 1:-2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


@dataclass(frozen=True)
class Case:
    pattern: HetPattern
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] | str = 0
    dilation: int | tuple[int, int] = 1
    batch: int = 2
    height: int = 7
    width: int = 7
    layout: str = "contiguous"
    bias: bool = True

    @property
    def options(self):
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "arrangement": self.pattern.arrangement,
        }

    def tensors(self, dtype=torch.float64):
        """x, weight_spatial, weight_pointwise and, unless there is none, bias: the same small integers in any type."""
        pattern = self.pattern
        torch.manual_seed(0)
        x = integers((self.batch, pattern.in_channels, self.height, self.width), dtype)
        shapes = [pattern.spatial_shape, pattern.pointwise_shape] + [(pattern.out_channels,)] * self.bias
        return [LAYOUTS[self.layout](x), *(integers(shape, dtype) for shape in shapes)]


def integers(shape, dtype=torch.float64):
    return torch.randint(-3, 4, shape).to(dtype)


@st.composite
def cases(draw, *, largest_channels=4, largest_kernel=7):
    p = draw(st.integers(1, 4))
    parts = st.integers(1, max(1, largest_channels // p))
    kernels = st.sampled_from([k for k in (1, 3, 5, 7) if k <= largest_kernel])
    kernel = draw(st.tuples(kernels, kernels))
    arrangement = draw(st.sampled_from(["shifted", "blocked"]))
    pattern = HetPattern(p * draw(parts), p * draw(parts), kernel, p, arrangement)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.sampled_from(["same", "valid"]) | st.tuples(st.integers(0, 9), st.integers(0, 9)))
    stride = (1, 1) if padding == "same" else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = padding if isinstance(padding, tuple) else {"same": (7, 7), "valid": (0, 0)}[padding]
    least = [max(1, d * (k - 1) + 1 - 2 * pad) for d, k, pad in zip(dilation, kernel, pads, strict=True)]
    return Case(
        pattern,
        stride,
        padding,
        dilation,
        batch=draw(st.integers(0, 2)),
        height=least[0] + draw(st.integers(0, 5)),
        width=least[1] + draw(st.integers(0, 5)),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        bias=draw(st.booleans()),
    )
