"""A layer's weights in the order in which `convolve` reads them, and gradients in that order back to the layer's own.

A packed row is one filter's: `columns` 1×1 weights, one for each channel in blocked order and zeros after them, then
for each tap but the centre the weights of the `own` channels of its part. Where parts are too narrow for matrix
instructions, `merge` of them are taken as one, its foreign weights being zeros.
"""

import triton
import triton.language as tl


@triton.jit
def _natural(part, inside, p, of_part, SHIFTED: tl.constexpr):
    """Number of the channel or filter that is `inside`-th of its part."""
    return inside * p + part if SHIFTED else part * of_part + inside


@triton.jit(do_not_specialize=["p", "merge", "in_channels", "out_channels", "columns", "row", "total"])
def pack(
    spatial, pointwise, packed,
    in_channels, out_channels, p, merge, columns, row, total,
    spatial_filter, spatial_channel, spatial_row, spatial_column,
    KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, SHIFTED: tl.constexpr, EXCHANGED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """packed (N, or M if exchanged; row) from spatial (N, M/P, K, K) and pointwise (N, M − M/P)."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = element < total
    line, column = element // row, element % row
    centre: tl.constexpr = (KERNEL_HEIGHT // 2) * KERNEL_WIDTH + KERNEL_WIDTH // 2
    part_channels, part_filters = in_channels // p, out_channels // p
    if EXCHANGED:
        of_line, of_column = part_channels, part_filters
    else:
        of_line, of_column = part_filters, part_channels
    line_part, line_inside = line // of_line, line % of_line
    wide = of_column * merge
    in_ring = column >= columns
    ring = tl.maximum(column - columns, 0)
    slot = ring // wide
    tap = tl.where(in_ring, slot + tl.where(slot >= centre, 1, 0), centre)
    source = tl.where(in_ring, line_part // merge * wide + ring % wide, column)
    column_part, column_inside = source // of_column, source % of_column
    live_weight = live & (tap < KERNEL_HEIGHT * KERNEL_WIDTH) & (column_part < p)
    if EXCHANGED:
        filter_part, filter_inside, channel_part, channel_inside = column_part, column_inside, line_part, line_inside
    else:
        filter_part, filter_inside, channel_part, channel_inside = line_part, line_inside, column_part, column_inside
    filters = _natural(filter_part, filter_inside, p, part_filters, SHIFTED)
    channel = _natural(channel_part, channel_inside, p, part_channels, SHIFTED)
    own = filter_part == channel_part
    at_spatial = (
        filters * spatial_filter + channel_inside * spatial_channel
        + tap // KERNEL_WIDTH * spatial_row + tap % KERNEL_WIDTH * spatial_column
    )  # fmt: skip
    before = tl.where(channel_part > filter_part, 1, 0)  # channels of the filter's own part that come before
    before = channel_inside + before if SHIFTED else before * part_channels
    at_pointwise = filters * (in_channels - part_channels) + channel - before
    near = tl.load(spatial + at_spatial, mask=live_weight & own, other=0.0)
    far = tl.load(pointwise + at_pointwise, mask=live_weight & ~own & (tap == centre), other=0.0)
    tl.store(packed + element, tl.where(own, near, far), mask=live)


@triton.jit(
    do_not_specialize=["p", "merge", "in_channels", "out_channels", "columns", "row", "splits", "split",
                       "spatial_total", "total"]
)  # fmt: skip
def unpack(
    partial, spatial, pointwise,
    in_channels, out_channels, p, merge, columns, row, splits, split, spatial_total, total,
    KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, SHIFTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """spatial (N, M/P, K, K) and pointwise (N, M − M/P), each the sum of its `splits` places in partial, in order."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = element < total
    taps: tl.constexpr = KERNEL_HEIGHT * KERNEL_WIDTH
    centre: tl.constexpr = (KERNEL_HEIGHT // 2) * KERNEL_WIDTH + KERNEL_WIDTH // 2
    part_channels, part_filters = in_channels // p, out_channels // p
    others = tl.maximum(in_channels - part_channels, 1)
    is_spatial = element < spatial_total
    far = tl.maximum(element - spatial_total, 0)
    filters = tl.where(is_spatial, element // (part_channels * taps), far // others)
    if SHIFTED:
        filter_part, filter_inside = filters % p, filters // p
    else:
        filter_part, filter_inside = filters // part_filters, filters % part_filters
    number = far % others
    if SHIFTED:
        others_parts = tl.maximum(p - 1, 1)
        far_part, far_inside = number % others_parts, number // others_parts
        far_part += tl.where(far_part >= filter_part, 1, 0)
    else:
        number += tl.where(number >= filter_part * part_channels, part_channels, 0)
        far_part, far_inside = number // part_channels, number % part_channels
    tap = element % taps
    near_inside = element // taps % part_channels
    slot = tap - tl.where(tap > centre, 1, 0)
    near_column = tl.where(
        tap == centre,
        filter_part * part_channels + near_inside,
        columns + slot * part_channels * merge + filter_part % merge * part_channels + near_inside,
    )
    column = tl.where(is_spatial, near_column, far_part * part_channels + far_inside)
    at = partial + (filter_part * part_filters + filter_inside) * row + column
    value = tl.zeros((BLOCK,), tl.float32)
    for i in range(splits):
        value += tl.load(at + i * split, mask=live, other=0.0)
    tl.store(spatial + element, value.to(spatial.dtype.element_ty), mask=live & is_spatial)
    tl.store(pointwise + far, value.to(pointwise.dtype.element_ty), mask=live & ~is_spatial)
