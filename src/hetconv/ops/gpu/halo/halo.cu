// Tiles of PIXELS positions × TILE_FILTERS filters of a 3×3 layer with stride 1. Each step brings BLOCK channels of a
// tile and its surroundings into shared memory once; the 1×1 and all taps of the ring read them there.
//
// Positions are "flat": rows of an image, padding between them, lie one after the other, and images too. A tap is then
// one offset for all positions, so that the operand of a tap is the same memory, begun a few positions later. Memory
// is in planes of 8 channels, 16 bytes a position, which matrix instructions read from any position on.
//
// Positions in the padding are computed with the rest, and not stored.
//
// Compile-time: PIXELS, TILE_FILTERS, RING_FILTERS (filters that share their ring's channels), BLOCK, STAGES, RESIDENT
// (blocks of threads that share a processor), HALF (float16, else bfloat16). What begins with the words of an
// instruction (copy_async, Product, …) is in primitives.cuh, and for tests on a CPU in emulated.h.

constexpr int THREADS = 256, WARPGROUPS = 2, TAPS = 8;
constexpr int ROWS = PIXELS / (64 * WARPGROUPS);  // of 64 positions, in one warpgroup
constexpr int CHUNKS = BLOCK / 8;
constexpr int PARTS = TILE_FILTERS / RING_FILTERS;
constexpr int PAD = CHUNKS == 4 ? 2 : 4;  // so that 8 neighbouring copies write to different banks
constexpr int POINTWISE_ROWS = TILE_FILTERS + PAD, RING_ROWS = TAPS * RING_FILTERS + PAD;
constexpr int SOURCES = MOST_POSITIONS * CHUNKS / THREADS;  // positions that one thread copies in a step, at most
constexpr int STAGED_ROW = 2 * (TILE_FILTERS + 8);          // bytes

struct Layer {
  int positions;                                // flat ones of the whole batch
  int strip_positions, row_positions;           // of a strip of an image, of one of its rows
  int strips, strip_width;                      // of an image; columns of the output that a strip computes
  int in_height, in_width, out_height, out_width;
  int padding_h, padding_w, dilation_h, dilation_w;
  int mirrored;                                 // taps are taken in reverse: the input gradient
  int in_channels, own_channels, part_filters;  // own: of one part
  int columns, row;                             // of the packed weights: where the ring begins; a filter's length
  int x_image, x_row, x_pixel, y_image, y_row, y_pixel;
  int plane_rows;                               // positions of a plane, and what keeps planes on different banks
  int tiles;                                    // of positions and filters; those of the same positions are neighbours
  int bias_bytes;                               // of one number: 0 for none, 2 as x has them, or 4
  int has_residual, activation;
};

template <bool VALUE>
struct Truth {
  static constexpr bool value = VALUE;
};

struct Place {
  int image, row, column, strip;
  bool known;
};

DEVICE Place place_of(int flat, const Layer& layer) {
  int strip_image = flat / layer.strip_positions, inside = flat % layer.strip_positions;
  return {strip_image / layer.strips, inside / layer.row_positions, inside % layer.row_positions,
          strip_image % layer.strips, flat < layer.positions};
}

// Offset of the input at a flat position, or −1 where it is padding.
DEVICE int source_of(int flat, const Layer& layer) {
  Place place = place_of(flat, layer);
  int row = place.row - layer.padding_h, column = place.strip * layer.strip_width + place.column - layer.padding_w;
  bool inside = place.known && row >= 0 && row < layer.in_height && column >= 0 && column < layer.in_width;
  return inside ? place.image * layer.x_image + row * layer.x_row + column * layer.x_pixel : -1;
}

// Offset of the output at a flat position, or −1 where nothing is stored.
DEVICE int target_of(int flat, const Layer& layer) {
  Place place = place_of(flat, layer);
  int column = place.strip * layer.strip_width + place.column;
  bool inside = place.known && place.row < layer.out_height && place.column < layer.strip_width;
  inside = inside && column < layer.out_width;
  return inside ? place.image * layer.y_image + place.row * layer.y_row + column * layer.y_pixel : -1;
}

DEVICE float activate(float value, int activation) {
  if (activation == 1 || activation == 2) value = value < 0 ? 0 : value;  // NaN stays NaN
  if (activation == 2) value = value > 6 ? 6 : value;
  if (activation == 3) value = value / (1 + exponential(-value));
  return value;
}

// Operand of a matrix instruction: 64 positions or N filters × 16 channels, in two planes.
DEVICE Descriptor operand(Address address, int plane_rows) {
  constexpr Descriptor eight_rows = 8 * 16 >> 4;
  return Descriptor(address >> 4 | unsigned(plane_rows) << 16) | eight_rows << 32;
}

KERNEL(RESIDENT) halo(const Element* x, const Element* packed, const void* bias, const Element* residual, Element* y,
                      Layer layer) {
  int thread = thread_index(), lane = thread % 32, warp = thread / 32 % 4, group = thread / 128;
  int filter_tiles = layer.part_filters * (layer.in_channels / layer.own_channels) / TILE_FILTERS;
  int shift_h = layer.dilation_h * layer.row_positions, shift_w = layer.dilation_w;
  int reach = PIXELS + 2 * (shift_h + shift_w);
  int tap0 = layer.mirrored ? 2 * (shift_h + shift_w) : 0;
  int tap_h = layer.mirrored ? -shift_h : shift_h, tap_w = layer.mirrored ? -shift_w : shift_w;

  int steps = layer.in_channels / BLOCK, part_steps = layer.own_channels / BLOCK;
  int own_steps = PARTS * part_steps, foreign = steps - own_steps;
  int pixel_bytes = CHUNKS * 16 * layer.plane_rows;
  constexpr int pointwise_bytes = CHUNKS * 16 * POINTWISE_ROWS, ring_bytes = CHUNKS * 16 * RING_ROWS;
  int stage_bytes = pixel_bytes + pointwise_bytes + ring_bytes;
  Address base = shared_base();

  int chunk = thread % CHUNKS, first = thread / CHUNKS;
  constexpr int stride = THREADS / CHUNKS;
  int source[SOURCES], next_tile = block_index(), next_step = 0;

  // Brings the next step of this block of threads, which may be of its next tile: copies never wait for a tile's end.
  // Foreign channels, of which only the 1×1 knows, come first; then those of the tile's parts, part by part.
  auto bring = [&](int stage_number) {
    if (next_tile >= layer.tiles) return;
    int filter0 = next_tile % filter_tiles * TILE_FILTERS;
    int own0 = filter0 / layer.part_filters * layer.own_channels;
    if (next_step == 0) {
      UNROLL for (int i = 0; i < SOURCES; i++) {
        int position = first + i * stride;
        source[i] = position < reach ? source_of(next_tile / filter_tiles * PIXELS + position, layer) : -1;
      }
    }
    Address stage = base + stage_number * stage_bytes;
    bool own = next_step >= foreign;
    int channel = next_step * BLOCK;
    if (own) channel += own0 - foreign * BLOCK;
    else if (channel >= own0) channel += own_steps * BLOCK;
    channel += chunk * 8;
    UNROLL for (int i = 0; i < SOURCES; i++) {
      int position = first + i * stride;
      if (position < reach)
        copy_async(stage + 16 * (chunk * layer.plane_rows + position), x + (source[i] < 0 ? 0 : source[i] + channel),
                   source[i] >= 0);
    }
    stage += pixel_bytes;
    const Element* rows = packed + filter0 * layer.row;
    UNROLL_LESS for (int row = first; row < TILE_FILTERS; row += stride)
      copy_async(stage + 16 * (chunk * POINTWISE_ROWS + row), rows + row * layer.row + channel, true);
    if (own) {
      stage += pointwise_bytes;
      int part = (next_step - foreign) / part_steps, inside = (next_step - foreign) % part_steps * BLOCK + chunk * 8;
      rows += part * RING_FILTERS * layer.row + layer.columns + inside;
      UNROLL_LESS for (int row = first; row < TAPS * RING_FILTERS; row += stride)
        copy_async(stage + 16 * (chunk * RING_ROWS + row),
                   rows + row % RING_FILTERS * layer.row + row / RING_FILTERS * layer.own_channels, true);
    }
    if (++next_step == steps) {
      next_step = 0;
      next_tile += block_count();
    }
  };

  float total[ROWS][TILE_FILTERS / 2], ring[ROWS][RING_FILTERS / 2];
  UNROLL for (int step = 0; step < STAGES - 1; step++) {
    bring(step);
    copies_end_group();
  }
  int stage_number = 0;

  // One step; in those of foreign channels there is no ring, known when compiled, so that no product is behind a branch.
  auto multiply = [&](auto with_ring) {
    copies_wait<STAGES - 2>();
    copies_seen_by_products();
    barrier();  // this step's copies are there, and the products that read the next copies' place are done
    bring(stage_number == 0 ? STAGES - 1 : stage_number - 1);
    copies_end_group();

    Address stage = base + stage_number * stage_bytes;
    stage_number = stage_number + 1 == STAGES ? 0 : stage_number + 1;
    Address mine = stage + 16 * (group * ROWS * 64), weights = stage + pixel_bytes;
    UNROLL for (int m = 0; m < ROWS; m++) keep_in_place(total[m]);
    UNROLL for (int m = 0; m < ROWS; m++) keep_in_place(ring[m]);
    products_begin();
    UNROLL for (int k = 0; k < BLOCK / 16; k++) {
      Descriptor filters = operand(weights + k * 32 * POINTWISE_ROWS, POINTWISE_ROWS);
      Address centre = mine + 16 * (shift_h + shift_w + 2 * k * layer.plane_rows);
      UNROLL for (int m = 0; m < ROWS; m++)
        Product<TILE_FILTERS>::add(total[m], operand(centre + 1024 * m, layer.plane_rows), filters);
    }
    weights += pointwise_bytes;
    if constexpr (with_ring.value) {
      UNROLL for (int slot = 0; slot < TAPS; slot++) {
        int tap = slot < TAPS / 2 ? slot : slot + 1;  // the centre is in the 1×1
        Address reached = mine + 16 * (tap0 + tap / 3 * tap_h + tap % 3 * tap_w);
        UNROLL for (int k = 0; k < BLOCK / 16; k++) {
          Descriptor filters = operand(weights + 16 * (2 * k * RING_ROWS + slot * RING_FILTERS), RING_ROWS);
          UNROLL for (int m = 0; m < ROWS; m++) {
            Descriptor pixels = operand(reached + 16 * (2 * k * layer.plane_rows + 64 * m), layer.plane_rows);
            if constexpr (PARTS == 1) Product<TILE_FILTERS>::add(total[m], pixels, filters);
            else Product<RING_FILTERS>::add(ring[m], pixels, filters);
          }
        }
      }
    }
    products_wait();
    UNROLL for (int m = 0; m < ROWS; m++) keep_in_place(total[m]);
    UNROLL for (int m = 0; m < ROWS; m++) keep_in_place(ring[m]);
  };

  Address targets = base + STAGES * stage_bytes, staged = targets + 4 * PIXELS;
  for (int tile = block_index(); tile < layer.tiles; tile += block_count()) {
    int begin = tile / filter_tiles * PIXELS, filter0 = tile % filter_tiles * TILE_FILTERS;
    UNROLL for (int m = 0; m < ROWS; m++) {
      UNROLL for (int i = 0; i < TILE_FILTERS / 2; i++) total[m][i] = 0;
      UNROLL for (int i = 0; i < RING_FILTERS / 2; i++) ring[m][i] = 0;
    }
    for (int step = 0; step < foreign; step++) multiply(Truth<false>());
    for (int part = 0; part < PARTS; part++) {
      for (int step = 0; step < part_steps; step++) multiply(Truth<true>());
      if constexpr (PARTS > 1) {
        UNROLL for (int place = 0; place < PARTS; place++) {  // sums are in registers, which have no index
          UNROLL for (int m = 0; m < ROWS; m++) {
            UNROLL for (int i = 0; i < RING_FILTERS / 2; i++)
              total[m][place * RING_FILTERS / 2 + i] += place == part ? ring[m][i] : 0;
          }
        }
        UNROLL for (int m = 0; m < ROWS; m++) {
          UNROLL for (int i = 0; i < RING_FILTERS / 2; i++) ring[m][i] = 0;
        }
      }
    }

    // The sums, rounded once, go through shared memory, so that what is stored together lies together.
    for (int i = thread; i < PIXELS; i += THREADS) shared_store(targets + 4 * i, target_of(begin + i, layer));
    UNROLL for (int m = 0; m < ROWS; m++) {
      barrier();
      int row = group * 64 + warp * 16 + lane / 4, position = (group * ROWS + m) * 64 + warp * 16 + lane / 4;
      int target[2] = {shared_load(targets + 4 * position), shared_load(targets + 4 * (position + 8))};
      UNROLL for (int eight = 0; eight < TILE_FILTERS / 8; eight++) {
        int filter = eight * 8 + lane % 4 * 2;
        Pair shift = {0, 0};
        if (layer.bias_bytes == 2) shift = widened(static_cast<const Element*>(bias) + filter0 + filter);
        if (layer.bias_bytes == 4) shift = static_cast<const Pair*>(bias)[(filter0 + filter) / 2];
        UNROLL for (int half = 0; half < 2; half++) {
          Pair sum = {total[m][eight * 4 + 2 * half] + shift.low, total[m][eight * 4 + 2 * half + 1] + shift.high};
          if (layer.has_residual && target[half] >= 0) {
            Pair more = widened(residual + target[half] + filter0 + filter);
            sum.low += more.low;
            sum.high += more.high;
          }
          int both = rounded(activate(sum.low, layer.activation), activate(sum.high, layer.activation));
          shared_store(staged + (row + 8 * half) * STAGED_ROW + 2 * filter, both);
        }
      }
      barrier();
      constexpr int row_chunks = TILE_FILTERS / 8;
      for (int i = thread; i < 64 * WARPGROUPS * row_chunks; i += THREADS) {
        int stored = i / row_chunks, filter_in_tile = i % row_chunks * 8;
        int to = shared_load(targets + 4 * ((stored / 64 * ROWS + m) * 64 + stored % 64));
        if (to >= 0) store_16_bytes(y + to + filter0 + filter_in_tile, staged + stored * STAGED_ROW + 2 * filter_in_tile);
      }
    }
    // Targets are written anew behind the barriers of the next tile's steps.
  }
}
