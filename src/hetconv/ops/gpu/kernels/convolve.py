"""The layer as one implicit matrix product: a tile of pixels times the packed weights of one or more parts.

x is channels-last and in blocked order, so that the channels of a part are adjacent. A filter's packed row holds first
its 1×1 weights for all channels, then its ring: the taps around the centre, each with the channels of its part. Both
are one sum, so that one loop runs over the row, and one accumulator is stored once.

It is the forward pass, and the input gradient with filters and channels exchanged: position q of the result reads the
source at q·step + base + reach·delta, reach being the tap. With a stride, the input gradient's positions of one residue
are such a problem with some of the taps, every few of them (RESIDUES); the residue is the second axis of the grid.
"""

import triton
import triton.language as tl


@triton.jit
def _source(
    k0, part, columns, last, first_h, first_w, count_w, centre_h, centre_w, centre_at,
    OWN: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, BLOCK_K: tl.constexpr,
    HALVED: tl.constexpr, RESIDUES: tl.constexpr, TAP_STEP_H: tl.constexpr, TAP_STEP_W: tl.constexpr,
):  # fmt: skip
    """Where the BLOCK_K products from k0 on come from: channels, reach as (row, column), columns of the packed row.

    Reach is one number where a step lies in one tap, else BLOCK_K of them.
    """
    lanes = tl.arange(0, BLOCK_K)
    inside = lanes if OWN % BLOCK_K else 0
    in_ring = k0 >= columns  # the 1×1 part of a row is a multiple of BLOCK_K
    at = k0 + inside - columns
    slot, own = at // OWN, at % OWN
    centre: tl.constexpr = (KERNEL_HEIGHT // 2) * KERNEL_WIDTH + KERNEL_WIDTH // 2
    if RESIDUES:
        listed = slot + tl.where(slot >= centre_at, 1, 0)
        ring_h, ring_w = listed // count_w, listed % count_w
        tap = (first_h + TAP_STEP_H * ring_h) * KERNEL_WIDTH + first_w + TAP_STEP_W * ring_w
        column = tl.where(in_ring, columns + (tap - tl.where(tap > centre, 1, 0)) * OWN + own, k0 + inside)
    else:
        tap = slot + tl.where(slot >= centre, 1, 0)
        ring_h, ring_w = tap // KERNEL_WIDTH, tap % KERNEL_WIDTH
        column = k0 + lanes
    reach_h, reach_w = tl.where(in_ring, ring_h, centre_h), tl.where(in_ring, ring_w, centre_w)
    channel = tl.where(in_ring, part * OWN + own, k0 + inside)
    if OWN % BLOCK_K == 0:
        channel = tl.multiple_of(channel, BLOCK_K) + lanes
        column = tl.multiple_of(column, BLOCK_K) + lanes if RESIDUES else column
    if HALVED:  # as many elements as 8 bytes are: copies of 8 bytes go through the L1 cache, of 16 bytes past it
        channel = tl.max_contiguous(tl.multiple_of(channel, HALVED), HALVED)
    return channel, reach_h, reach_w, column, k0 + lanes < last


@triton.jit
def _load_pixels(
    x, origin, source_h, source_w, live, channel, reach_h, reach_w, known, in_channels, in_height, in_width,
    x_row, x_pixel, delta_h, delta_w, SCALAR: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """(BLOCK_PIXELS, BLOCK_K) of x, zero outside of the image."""
    offset_h, offset_w = reach_h * delta_h, reach_w * delta_w
    offset = offset_h * x_row + offset_w * x_pixel
    if SCALAR:
        row, column = source_h + offset_h, source_w + offset_w
        mask = (live & (row >= 0) & (row < in_height) & (column >= 0) & (column < in_width))[:, None]
        addresses = x + (origin + offset)[:, None] + channel[None, :]
    else:
        row, column = source_h[:, None] + offset_h[None, :], source_w[:, None] + offset_w[None, :]
        mask = live[:, None] & (row >= 0) & (row < in_height) & (column >= 0) & (column < in_width)
        addresses = x + origin[:, None] + (offset + channel)[None, :]
    if not EVEN:
        mask = mask & (known & (channel < in_channels))[None, :]
    return tl.load(addresses, mask=mask, other=0.0)


@triton.jit
def _multiply(pixels, weights, total, FILTER_ROWS: tl.constexpr, WIDEN: tl.constexpr, PRECISION: tl.constexpr):
    """total + the product of (BLOCK_PIXELS, BLOCK_K) and (BLOCK_FILTERS, BLOCK_K)."""
    if WIDEN:  # Triton's interpreter multiplies bfloat16 as if it were whole numbers
        pixels, weights = pixels.to(tl.float32), weights.to(tl.float32)
    if FILTER_ROWS:
        total = tl.dot(weights, tl.trans(pixels), total, input_precision=PRECISION)
    else:
        total = tl.dot(pixels, tl.trans(weights), total, input_precision=PRECISION)
    return total


@triton.jit
def _activate(value, ACTIVATION: tl.constexpr):
    """NaN stays NaN, as in PyTorch."""
    if ACTIVATION == "relu" or ACTIVATION == "relu6":
        value = tl.where(value < 0, 0.0, value)
    if ACTIVATION == "relu6":
        value = tl.where(value > 6, 6.0, value)
    if ACTIVATION == "silu":
        value = value / (1.0 + tl.exp(-value))
    return value


@triton.jit
def _residue(
    residue, KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr,
    COMMON: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """For input positions ≡ residue (mod stride): first tap that reaches them, how many do, and the output's offset.

    Every (stride / common)-th tap does, common = gcd(stride, dilation); INVERSE is that of dilation / common, modulo
    stride / common.
    """
    shifted = residue + PADDING
    step: tl.constexpr = STRIDE // COMMON
    first = (shifted // COMMON * INVERSE) % step
    count = tl.where(shifted % COMMON == 0, (KERNEL - first + step - 1) // step, 0)
    return first, count, tl.where(count > 0, (shifted - first * DILATION) // STRIDE, 0)


@triton.jit(
    do_not_specialize=[  # one compiled kernel for all strides and sizes
        "batch", "in_height", "in_width", "q_height", "q_width", "out_height", "out_width", "parts", "fine_p",
        "step_h", "step_w", "base_h", "base_w", "delta_h", "delta_w",
    ]
)  # fmt: skip
def convolve(
    x, weight, bias, residual, y,
    batch, in_height, in_width, q_height, q_width, out_height, out_width,
    in_channels, out_channels, parts, part_filters, fine_p, columns, row,
    x_batch, x_row, x_pixel, y_batch, y_row, y_pixel, y_channel,
    step_h, step_w, base_h, base_w, delta_h, delta_w,
    OWN: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, SHIFTED: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_K: tl.constexpr, TILE_WIDTH: tl.constexpr,
    PARTS: tl.constexpr, FILTER_ROWS: tl.constexpr, HALVED: tl.constexpr, EVEN: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr,
    WIDEN: tl.constexpr, PRECISION: tl.constexpr,
    RESIDUES: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr, PADDING_H: tl.constexpr,
    PADDING_W: tl.constexpr, DILATION_H: tl.constexpr, DILATION_W: tl.constexpr, COMMON_H: tl.constexpr,
    COMMON_W: tl.constexpr, INVERSE_H: tl.constexpr, INVERSE_W: tl.constexpr,
):  # fmt: skip
    """One tile of BLOCK_PIXELS positions × BLOCK_FILTERS filters of each of PARTS parts.

    Grid: (pixel tiles × filter tiles, those of one pixel tile side by side; residues).
    """
    tiles_of_part = tl.cdiv(part_filters, BLOCK_FILTERS)
    filter_tiles = parts // PARTS * tiles_of_part
    filter_tile, pixel_tile = tl.program_id(0) % filter_tiles, tl.program_id(0) // filter_tiles
    part0 = filter_tile // tiles_of_part * PARTS
    in_part = filter_tile % tiles_of_part * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
    stored = in_part < part_filters
    read = tl.minimum(in_part, part_filters - 1)  # what is read twice is not stored
    lanes = tl.arange(0, BLOCK_PIXELS)
    if TILE_WIDTH:
        tile_height: tl.constexpr = BLOCK_PIXELS // TILE_WIDTH
        across, down = tl.cdiv(q_width, TILE_WIDTH), tl.cdiv(q_height, tile_height)
        q_w = pixel_tile % across * TILE_WIDTH + lanes % TILE_WIDTH
        q_h = pixel_tile // across % down * tile_height + lanes // TILE_WIDTH
        image = pixel_tile // (across * down) + lanes * 0
        live = (q_w < q_width) & (q_h < q_height)
    else:
        position = pixel_tile * BLOCK_PIXELS + lanes
        q_w, q_h, image = position % q_width, position // q_width % q_height, position // (q_width * q_height)
        live = image < batch

    tap_step_h: tl.constexpr = STRIDE_H // COMMON_H
    tap_step_w: tl.constexpr = STRIDE_W // COMMON_W
    if RESIDUES:
        residue_h, residue_w = tl.program_id(1) // STRIDE_W, tl.program_id(1) % STRIDE_W
        first_h, count_h, base_h = _residue(
            residue_h, KERNEL_HEIGHT, STRIDE_H, PADDING_H, DILATION_H, COMMON_H, INVERSE_H
        )
        first_w, count_w, base_w = _residue(
            residue_w, KERNEL_WIDTH, STRIDE_W, PADDING_W, DILATION_W, COMMON_W, INVERSE_W
        )
        out_h, out_w = q_h * STRIDE_H + residue_h, q_w * STRIDE_W + residue_w
        live = live & (out_h < out_height) & (out_w < out_width)
        off_h, off_w = KERNEL_HEIGHT // 2 - first_h, KERNEL_WIDTH // 2 - first_w
        centred = (off_h >= 0) & (off_w >= 0) & (off_h % tap_step_h == 0) & (off_w % tap_step_w == 0)
        centred = centred & (count_h > 0) & (count_w > 0)
        taps = count_h * count_w
        count_w = tl.maximum(count_w, 1)
        centre_h, centre_w = off_h // tap_step_h, off_w // tap_step_w
        centre_at = tl.where(centred, centre_h * count_w + centre_w, taps)
        begin = tl.where(centred, 0, columns)
        last = columns + (taps - tl.where(centred, 1, 0)) * OWN
    else:
        out_h, out_w = q_h, q_w
        first_h, first_w, count_w, centre_at, begin = 0, 0, 1, 0, 0
        centre_h: tl.constexpr = KERNEL_HEIGHT // 2
        centre_w: tl.constexpr = KERNEL_WIDTH // 2
        last = columns + (KERNEL_HEIGHT * KERNEL_WIDTH - 1) * OWN
    source_h, source_w = q_h * step_h + base_h, q_w * step_w + base_w
    origin = image * x_batch + source_h * x_row + source_w * x_pixel

    scalar: tl.constexpr = OWN % BLOCK_K == 0
    totals = ()
    for _ in tl.static_range(PARTS):
        if FILTER_ROWS:
            totals = totals + (tl.zeros((BLOCK_FILTERS, BLOCK_PIXELS), tl.float32),)
        else:
            totals = totals + (tl.zeros((BLOCK_PIXELS, BLOCK_FILTERS), tl.float32),)
    # With several parts the 1×1 reads its pixels once for all of them, and then each ring its own.
    shared_end = last if PARTS == 1 else columns
    for k0 in range(begin, shared_end, BLOCK_K):
        channel, reach_h, reach_w, column, known = _source(
            k0, part0, columns, last, first_h, first_w, count_w, centre_h, centre_w, centre_at,
            OWN, KERNEL_HEIGHT, KERNEL_WIDTH, BLOCK_K, HALVED, RESIDUES, tap_step_h, tap_step_w,
        )  # fmt: skip
        pixels = _load_pixels(
            x, origin, source_h, source_w, live, channel, reach_h, reach_w, known, in_channels, in_height, in_width,
            x_row, x_pixel, delta_h, delta_w, scalar, EVEN,
        )  # fmt: skip
        added = ()
        for q in tl.static_range(PARTS):
            rows = ((part0 + q) * part_filters + read) * row
            if EVEN:
                weights = tl.load(weight + rows[:, None] + column[None, :])
            else:
                weights = tl.load(weight + rows[:, None] + column[None, :], mask=known[None, :], other=0.0)
            added = added + (_multiply(pixels, weights, totals[q], FILTER_ROWS, WIDEN, PRECISION),)
        totals = added
    if PARTS > 1:
        for k0 in range(columns, last, BLOCK_K):
            added = ()
            for q in tl.static_range(PARTS):
                channel, reach_h, reach_w, column, known = _source(
                    k0, part0 + q, columns, last, first_h, first_w, count_w, centre_h, centre_w, centre_at,
                    OWN, KERNEL_HEIGHT, KERNEL_WIDTH, BLOCK_K, HALVED, RESIDUES, tap_step_h, tap_step_w,
                )  # fmt: skip
                pixels = _load_pixels(
                    x, origin, source_h, source_w, live, channel, reach_h, reach_w, known, in_channels, in_height,
                    in_width, x_row, x_pixel, delta_h, delta_w, scalar, EVEN,
                )  # fmt: skip
                rows = ((part0 + q) * part_filters + read) * row
                if EVEN:
                    weights = tl.load(weight + rows[:, None] + column[None, :])
                else:
                    weights = tl.load(weight + rows[:, None] + column[None, :], mask=known[None, :], other=0.0)
                added = added + (_multiply(pixels, weights, totals[q], FILTER_ROWS, WIDEN, PRECISION),)
            totals = added

    place = image * y_batch + out_h * y_row + out_w * y_pixel
    for q in tl.static_range(PARTS):
        value = tl.trans(totals[q]) if FILTER_ROWS else totals[q]
        ordinal = (part0 + q) * part_filters + in_part  # parts one after the other
        if SHIFTED:
            fine_filters = out_channels // fine_p
            filters = ordinal % fine_filters * fine_p + ordinal // fine_filters
        else:
            filters = ordinal
        at = place[:, None] + (filters * y_channel)[None, :]
        mask = live[:, None] & stored[None, :]
        if HAS_BIAS:
            value += tl.load(bias + filters, mask=stored, other=0.0).to(tl.float32)[None, :]
        if HAS_RESIDUAL:
            value += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(y + at, _activate(value, ACTIVATION).to(y.dtype.element_ty), mask=mask)
