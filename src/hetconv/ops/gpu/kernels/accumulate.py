"""Weight gradients as a matrix product over pixels, in the layout of packed rows.

Each program sums one tile of weights over one run of pixels and writes it to that run's place: no atomic additions, so
that results do not depend on the order in which programs happen to run.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(
    grad, x, partial, filter0, filter_end, column0, column_end, columns, part,
    start, stop, in_height, in_width, out_height, out_width,
    grad_batch, grad_row, grad_pixel, x_batch, x_row, x_pixel, row,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
    OWN: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, RING: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_PIXELS: tl.constexpr,
    WIDEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Columns column0 … of the 1×1 part of rows filter0 … (or of their ring), summed over pixels start … stop − 1."""
    filters = filter0 + tl.arange(0, BLOCK_FILTERS)
    column = column0 + tl.arange(0, BLOCK_COLUMNS)
    lanes = tl.arange(0, BLOCK_PIXELS)
    if RING:
        slot = column // OWN
        tap = slot + tl.where(slot >= (KERNEL_HEIGHT // 2) * KERNEL_WIDTH + KERNEL_WIDTH // 2, 1, 0)
        offset_h = tap // KERNEL_WIDTH * dilation_h - padding_h
        offset_w = tap % KERNEL_WIDTH * dilation_w - padding_w
        channel = part * OWN + column % OWN
        place = columns + column
    else:
        offset_h = column * 0 + (KERNEL_HEIGHT // 2 * dilation_h - padding_h)
        offset_w = column * 0 + (KERNEL_WIDTH // 2 * dilation_w - padding_w)
        channel = column
        place = column
    ahead = offset_h * x_row + offset_w * x_pixel + channel
    total = tl.zeros((BLOCK_COLUMNS, BLOCK_FILTERS), tl.float32)
    for position0 in range(start, stop, BLOCK_PIXELS):
        position = position0 + lanes
        live = position < stop
        out_w, out_h = position % out_width, position // out_width % out_height
        image = position // (out_width * out_height)
        at = image * grad_batch + out_h * grad_row + out_w * grad_pixel
        mask = live[:, None] & (filters < filter_end)[None, :]
        gradient = tl.load(grad + at[:, None] + filters[None, :], mask=mask, other=0.0)
        source_h, source_w = (
            (out_h * stride_h)[:, None] + offset_h[None, :],
            (out_w * stride_w)[:, None] + offset_w[None, :],
        )
        mask = live[:, None] & (column < column_end)[None, :] & (source_h >= 0) & (source_h < in_height)
        mask = mask & (source_w >= 0) & (source_w < in_width)
        at = image * x_batch + out_h * stride_h * x_row + out_w * stride_w * x_pixel
        pixels = tl.load(x + at[:, None] + ahead[None, :], mask=mask, other=0.0)
        if WIDEN:
            gradient, pixels = gradient.to(tl.float32), pixels.to(tl.float32)
        total = tl.dot(tl.trans(pixels), gradient, total, input_precision=PRECISION)
    mask = (column < column_end)[:, None] & (filters < filter_end)[None, :]
    tl.store(partial + place[:, None] + (filters * row)[None, :], total, mask=mask)


@triton.jit(
    do_not_specialize=[  # one compiled kernel for all strides and sizes
        "positions", "split_positions", "in_height", "in_width", "out_height", "out_width",
        "stride_h", "stride_w", "padding_h", "padding_w", "dilation_h", "dilation_w",
    ]
)  # fmt: skip
def accumulate(
    grad, x, partial,
    positions, split_positions, in_height, in_width, out_height, out_width,
    in_channels, out_channels, part_filters, columns, row,
    grad_batch, grad_row, grad_pixel, x_batch, x_row, x_pixel,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
    OWN: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_PIXELS: tl.constexpr,
    RING_FILTERS: tl.constexpr, WIDEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """partial (splits, N, row), float32, of channels-last grad (…, N) and x (…, M), both in blocked order.

    Grid: (tiles of the 1×1 part, then of each part's ring; splits). A ring tile is RING_FILTERS wide.
    """
    start = tl.program_id(1) * split_positions
    stop = tl.minimum(start + split_positions, positions)
    partial += tl.program_id(1) * out_channels * row
    tile = tl.program_id(0)
    across = tl.cdiv(out_channels, BLOCK_FILTERS)
    pointwise_tiles = across * tl.cdiv(in_channels, BLOCK_COLUMNS)
    if tile < pointwise_tiles:
        _tile(
            grad, x, partial, tile % across * BLOCK_FILTERS, out_channels, tile // across * BLOCK_COLUMNS, in_channels,
            columns, 0, start, stop, in_height, in_width, out_height, out_width,
            grad_batch, grad_row, grad_pixel, x_batch, x_row, x_pixel, row,
            stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
            OWN, KERNEL_HEIGHT, KERNEL_WIDTH, False, BLOCK_FILTERS, BLOCK_COLUMNS, BLOCK_PIXELS, WIDEN, PRECISION,
        )  # fmt: skip
    else:
        ring: tl.constexpr = (KERNEL_HEIGHT * KERNEL_WIDTH - 1) * OWN
        of_ring = tile - pointwise_tiles
        ring_tiles: tl.constexpr = (
            (ring + BLOCK_COLUMNS) // BLOCK_COLUMNS if ring == 0 else (ring + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
        )
        across = tl.cdiv(part_filters, RING_FILTERS)
        part = of_ring // (across * ring_tiles)
        filter0 = part * part_filters + of_ring // ring_tiles % across * RING_FILTERS
        _tile(
            grad, x, partial, filter0, (part + 1) * part_filters, of_ring % ring_tiles * BLOCK_COLUMNS, ring,
            columns, part, start, stop, in_height, in_width, out_height, out_width,
            grad_batch, grad_row, grad_pixel, x_batch, x_row, x_pixel, row,
            stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
            OWN, KERNEL_HEIGHT, KERNEL_WIDTH, True, RING_FILTERS, BLOCK_COLUMNS, BLOCK_PIXELS, WIDEN, PRECISION,
        )  # fmt: skip
