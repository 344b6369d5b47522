"""Shifted channels in blocked order."""

import triton
import triton.language as tl


@triton.jit
def to_blocked(x, y, height, width, channels, p, x_batch, x_channel, x_row, x_column, total, BLOCK: tl.constexpr):
    """x (B, C, H, W) in any memory → y, channels-last, its channel b being x's (b mod C/P)·P + b div C/P."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = element < total
    channel, position = element % channels, element // channels
    of_part = channels // p
    source = channel % of_part * p + channel // of_part
    column, row, image = position % width, position // width % height, position // (width * height)
    at = image * x_batch + source * x_channel + row * x_row + column * x_column
    tl.store(y + element, tl.load(x + at, mask=live), mask=live)
