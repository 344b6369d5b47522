#include "winograd.h"

#include <algorithm>

namespace hetconv {
namespace {

// An odd number of cache lines, so that what is this far apart does not compete for the same places in the L1 cache.
int64_t spread(int64_t elements) { return ((elements + kMaxLanes - 1) / kMaxLanes | 1) * kMaxLanes; }

constexpr int64_t kSquareElements = 2048;
constexpr int64_t kFewSquares = 16;
constexpr int64_t kProductTerms = 64;  // what is multiplied is larger than the outputs, and so are rounding errors

}  // namespace

int64_t most_squares(const Plan& plan) {
  return std::clamp(kSquareElements / std::max(plan.channels, plan.filters), kFewSquares, kMostSquares);
}

bool uses_winograd(const Shape& shape) {
  return shape.algorithm == Algorithm::winograd && shape.kernel_height == 3 && shape.kernel_width == 3 &&
         shape.stride_height == 1 && shape.stride_width == 1;
}

WinogradRing::WinogradRing(const Plan& plan, const Strips& strips)
    : plan_(plan),
      strips_(strips),
      lanes_(kernels().lanes),
      squares_(strips.places() / (kSquare * kSquare)),
      square_(spread(plan.channels)),
      position_(spread(squares_ * square_)),
      product_(spread(squares_ * static_cast<int64_t>(plan.vectors.size()) * lanes_)),
      chunks_(plan.channels / plan.p, kProductTerms) {
  const int64_t step = plan.shifted ? plan.p : 1;
  for (int64_t chunk = 0; chunk < plan.channels / plan.p; ++chunk) chunks_.add(strips.place(chunk * step), true);
}

int64_t WinogradRing::elements() const {
  return kPositions * (position_ + product_) + strips_.places() * static_cast<int64_t>(plan_.vectors.size()) * lanes_;
}

// Products of a block's kernels with the squares, summed over channels, at one position.
void WinogradRing::multiply(const Block& block, int64_t position, const float* transformed, int64_t squares,
                            const float* packed, float* products) const {
  const int64_t size = block.vectors * lanes_;
  Pixel pixels[kMostSquares];
  for (int64_t i = 0; i < squares; ++i) pixels[i] = {i * square_, i * size, 0};
  FilterVector vectors[kMaxVectors];
  Tile tile{};
  for (int c = 0; c < block.vectors; ++c) {
    vectors[c] = plan_.vectors[static_cast<size_t>(block.vector + c)];
    tile.start[c] = strips_.place(vectors[c].channel);
    vectors[c].filter = c * lanes_;
    vectors[c].filters = static_cast<int32_t>(lanes_);
  }
  tile.partial_sums = chunks_.partial().data();
  tile.partial_sum_count = static_cast<int>(chunks_.partial().size());
  tile.read = plan_.read;
  tile.shared = block.shared;
  tile.vectors = vectors;
  tile.whole = true;
  tile.p = plan_.p;
  tile.strip = transformed;
  const Phase& phase = plan_.phases[0];
  const int64_t at = phase.chunks * block.vector + position * (plan_.channels / plan_.p) * block.vectors;
  tile.weights = packed + phase.packed + at * lanes_;
  tile.output = products;
  const float* const then = tile.weights + phase.chunks * block.vectors * lanes_;
  run_tiles(products_of(kernels(), block.vectors), tile, pixels, squares, then);
}

// All positions of the squares' patches.
void WinogradRing::transform(const float* strip, const std::vector<Pixel>& squares, float* transformed) const {
  for (const Pixel& square : squares) {
    kernels().winograd_patch(strip + square.input, strips_.row(), strips_.pixel(), plan_.channels, transformed,
                             position_);
    transformed += square_;
  }
}

// A block's outputs of the squares from their products.
void WinogradRing::place(const Block& block, const float* products, const std::vector<Pixel>& squares,
                         float* sums) const {
  const int64_t size = block.vectors * lanes_;
  for (const Pixel& square : squares) {
    for (int64_t at = 0; at < size; at += lanes_) {
      kernels().winograd_outputs(products + at, product_, sums + square.place * size + at,
                                 strips_.places_in_row() * size, size);
    }
    products += size;
  }
}

// Position by position: its transformed squares stay in the L1 cache while all blocks pass by.
const float* WinogradRing::sum(int64_t strip, const float* data, const float* packed, int64_t first, int64_t last,
                               float* memory) const {
  const std::vector<Pixel> squares = strips_.squares(strip, plan_.phases[0]);
  float* const transformed = memory;
  float* const products = transformed + kPositions * position_;
  float* const sums = products + kPositions * product_;
  const auto for_each_block = [&](const auto& visit) {
    int64_t vectors = 0;  // of the blocks before
    for (int64_t b = first; b < last; ++b) {
      const Block& block = plan_.blocks[static_cast<size_t>(b)];
      visit(block, vectors * lanes_);
      vectors += block.vectors;
    }
  };
  transform(data, squares, transformed);
  for (int64_t position = 0; position < kPositions; ++position) {
    const float* const from = transformed + position * position_;
    float* const to = products + position * product_;
    for_each_block([&](const Block& block, int64_t filters) {
      multiply(block, position, from, static_cast<int64_t>(squares.size()), packed, to + filters * squares_);
    });
  }
  for_each_block([&](const Block& block, int64_t filters) {
    place(block, products + filters * squares_, squares, sums + filters * strips_.places());
  });
  return sums;
}

}  // namespace hetconv
