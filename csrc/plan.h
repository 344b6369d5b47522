// How a layer becomes tiles: which filters share a vector, which vectors a block, what each block accumulates.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace hetconv {

// Products that one accumulator sums in a row. Longer sums are made of partial ones, since rounding errors grow with
// the number of terms: for 4608 products (512 channels, P = 1) the error falls to a quarter.
constexpr int64_t kTerms = 256;

// The convolution that the kernels see. The input gradient is one too, with channels and filters exchanged and, for a
// stride, one phase for each residue of the output position.
struct Block {
  int vector, vectors;  // range in Plan::vectors; packed weights are in the same order
  bool shared;          // all read a chunk alike
};

struct Tap {
  int32_t row, column;  // from the pixel's origin
  int32_t index;        // in the weights
};

// Packed weights and sums are in one order: the ring, chunk by chunk and in each tap by tap, so that what is read of
// the input stays in the L1 cache, and weights are packed as they lie; then the centre tap, channel by channel. With
// Winograd the ring is 36 positions in place of taps, each chunk by chunk; where P is 1 it has the centre too.
struct Phase {
  int64_t first_row, first_column, row_step, column_step;  // positions in the output
  int64_t rows, columns;
  int64_t in_row_step, in_column_step;
  std::vector<Tap> taps;  // of the ring, then the centre
  bool has_centre;
  int64_t ring_chunks;  // of all taps, or of all Winograd positions
  int64_t chunks;       // of these and of the centre
  int64_t packed;       // where its packed weights begin, in elements

  int64_t ring() const { return static_cast<int64_t>(taps.size()) - has_centre; }
};

struct Plan {
  int64_t batch, channels, filters, p;
  int64_t in_height, in_width;
  Read read;
  bool shifted;
  bool transposed;  // the input gradient: "filters" are input channels
  bool winograd;
  int64_t terms;  // of a partial sum
  std::vector<FilterVector> vectors;
  std::vector<Block> blocks;
  std::vector<Phase> phases;
  int64_t packed_size;
};

Plan plan_forward(const Shape& shape);
Plan plan_input_grad(const Shape& shape);

}  // namespace hetconv
