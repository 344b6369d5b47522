// What crosses from the drivers, which know layers, to the kernels, which know vectors. Plain data only.
#pragma once

#include <cstdint>

#include "het_conv.h"

namespace hetconv {

constexpr int kMaxLanes = 16;   // of any instruction set
constexpr int kMaxVectors = 4;  // filter vectors in one tile
constexpr int kMaxPixels = 12;  // pixels in one tile

// How the lanes of a filter vector read the channels of one chunk, which starts at p.
enum class Read : int32_t {
  broadcast,  // all lanes p[0]
  repeat2,    // p[0], p[1], p[0], ...
  repeat4,
  repeat8,
  contiguous,  // lane l reads p[l]
  permuted,    // lane l reads p[index[l]], index < p <= lanes
  wrapped,     // lane l reads p[l] before `wrap`, p[l - p] from there on
};

// Multiply-adds that the accumulators sum in a row: spatial chunks, then pointwise ones.
struct Sum {
  const int32_t* at;  // where in the strip each chunk starts, in elements from the pixel
  int32_t spatial, pointwise;
};

// Up to kLanes neighbouring filters.
struct FilterVector {
  int64_t filter;   // the first one
  int32_t filters;  // how many; what the other lanes compute is not stored
  int64_t channel;  // of a chunk, where they start to read
  int32_t wrap;
  int32_t index[kMaxLanes];
};

struct Pixel {
  int64_t input;  // of its first tap in the strip
  int64_t output;
  int64_t place;  // among the strip's pixels
};

struct Int8Epilogue;  // int8/int8.h

// R pixels × C filter vectors, `count` times.
struct Tile {
  const float* strip;  // the input, padded
  int count;
  const Pixel* pixel;  // R for each
  const Sum* partial_sums;
  int partial_sum_count;
  Read read;
  bool shared;  // all filter vectors read a chunk alike
  const FilterVector* vectors;
  int64_t start[kMaxVectors];  // where they start to read in a chunk
  int64_t p;
  const float* weights;
  const float* ahead;  // null, or weights that each chunk asks for, and then `ahead_step` elements further on
  int64_t ahead_step;
  const float*
      addend;  // null, or what is added to the sums: of each place in the strip, a vector for each filter vector
  Epilogue epilogue;
  const Int8Epilogue* int8;  // in its place, of kernels of 8 bits
  void* output;
  Type type;         // of the output
  bool whole;        // all filter vectors are
  bool far;          // the output is larger than the caches: its lines are fetched ahead
  const char* next;  // of the next strip's input, what is fetched ahead while this one is computed
  int next_lines;    // cache lines of it for each tile
};

// Outputs of a depthwise convolution that are next to one another in a row, all of whose taps are inside the image.
struct Depthwise {
  const float* x;           // the first tap of the first output
  int64_t row, column;      // elements from a tap to the next one
  int64_t step;             // from an output's taps to the next output's
  int64_t rows, columns;    // taps
  const float* weights;     // of the first tap; of neighbours in a row `channels` apart
  int64_t weight_row;       // elements
  int64_t channels, count;  // outputs
  const float* bias;
  const float* residual;  // null, or as y
  Activation activation;
  float* y;
};

// activation(a + b), or of another function.
struct Join {
  const float *a, *b;
  float* y;
  int64_t count;
  Joining joining;
  Activation activation;
};

// activation(x · scale + shift) of one pixel's channels.
struct Affine {
  const float *x, *scale, *shift;
  float* y;
  int64_t channels;
  Activation activation;
};

struct Kernels {
  const char* name;
  int lanes;
  // The largest tile for this many filter vectors, at [C]; 0 where the instruction set has none. Of smaller ones, those
  // of an odd number of pixels above 4 are null.
  int max_pixels[kMaxVectors + 1];
  void (*tile[kMaxVectors + 1][kMaxPixels + 1])(const Tile&);
  void (*products[kMaxVectors + 1][kMaxPixels + 1])(const Tile&);
  int64_t (*multiply_adds)(int64_t rounds);
  // Copies `count` pixels of `channels` × `parts` channels; of more than one part, vectors are dealt to the parts in
  // turn.
  void (*copy)(Type type, const void* from, int64_t from_step, float* to, int64_t to_step, int64_t channels,
               int64_t parts, int64_t count);
  // Of float32 and channels-last: elementwise.h, depthwise.h.
  void (*depthwise)(const Depthwise&);
  void (*join)(const Join&);
  void (*affine)(const Affine&);
  void (*max)(const float* const* pixels, int64_t count, int64_t channels, float* to);
  void (*mean)(const float* const* pixels, int64_t count, int64_t channels, float counted, float* to);
  // Winograd, 36 positions `to_step` or `from_step` apart. A patch of 6×6 pixels of the input, all channels, up to
  // whole vectors; one vector's kernel of 9 taps, row by row; and back from one vector of products to 4×4 outputs.
  void (*winograd_patch)(const float* from, int64_t row_step, int64_t column_step, int64_t channels, float* to,
                         int64_t to_step);
  void (*winograd_kernel)(const float* const* taps, float* to, int64_t to_step);
  void (*winograd_outputs)(const float* from, int64_t from_step, float* to, int64_t row_step, int64_t column_step);
  // to[j][offset + lane] = from[lane][j] for j < count, and back.
  void (*rows_to_lanes)(const float* const* from, int64_t count, float* const* to, int64_t offset);
  void (*lanes_to_rows)(const float* const* from, int64_t offset, int64_t count, float* const* to);
};

extern const Kernels kernels_portable;
#if defined(__aarch64__)
extern const Kernels kernels_neon;
#elif defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

const Kernels& kernels();  // of the instruction set chosen

// The tiles of one number of filter vectors, by their pixels, of which they have `most`.
struct Tiles {
  void (*const* of_size)(const Tile&);
  int most;
  int64_t chunk;  // elements of weights for each chunk
};
Tiles tiles_of(const Kernels& kernels, int vectors);
Tiles products_of(const Kernels& kernels, int vectors);

// Cuts `count` pixels into tiles, and runs them. `then` are the weights that are used after these, which are brought
// into the L2 cache meanwhile where tiles are few; null, or as many as these.
void run_tiles(const Tiles& tiles, Tile tile, const Pixel* pixels, int64_t count, const float* then);

}  // namespace hetconv
