// Training in bfloat16 on AMX: the convolution of the forward pass and the input gradient, and the weight gradient.
//
// The 16 filters of a tile have one residue mod P, so that their spatial kernels read the same channels. These must lie
// next to one another: a strip is copied once more, sorted, each residue to an image of its own, in which a row of the
// kernel is in one piece. The 1×1 kernels read the strip as it was. With P = 1 there is one residue, and no copy.
// Any divisor of P will do, with more channels of a residue and weights of zero: that which takes the fewest
// instructions is used.
#pragma once

#include <vector>

#include "../amx/pixels.h"
#include "../prepared.h"
#include "kernels.h"

namespace hetconv {

// Channels that one instruction reads, from a tap on; where they are more than one tap has, in the taps to its right
// too. No chunk reads a pixel out of its filters' reach: what is not a number there must not spread. So the last chunk
// of a row begins early, and its first `skipped` channels have weights of zero.
struct Bfloat16Chunk {
  int64_t row, column, channel, skipped;
};

// How a convolution's channels and filters become chunks and tiles.
struct Bfloat16Plan {
  explicit Bfloat16Plan(const Shape& shape);

  Shape shape;      // with the P that is used
  int64_t own;      // channels of a residue
  int64_t residue;  // of a pixel in a residue's image: an even number
  std::vector<Bfloat16Chunk> spatial, pointwise;
  int64_t spatial_channels, pointwise_channels;  // of a chunk
  int64_t tiles, groups;                         // of filters; a group has so many tiles: one or two for each residue

  int64_t chunks() const { return static_cast<int64_t>(spatial.size() + pointwise.size()); }
  int64_t group_elements() const { return tiles * chunks() * kAmxTile / 2; }
  int64_t cycles() const { return groups * tiles * (chunks() + 1) * 16; }  // for 16 pixels, stores included
};

// Strips hold pairs of channels, as if they were channels of float32.
Plan plan_of_pairs(Shape shape);
Input pairs_of(const Input& x);

// The same layer with another P, of which `cost(shape)` is least.
template <class Cost>
Shape with_best_p(const Shape& shape, const Cost& cost) {
  Shape best = shape;
  best.p = 1;
  Shape other = best;
  for (int64_t p = 2; shape.shifted && p <= 16 && shape.p % p == 0; p *= 2) {
    other.p = p;
    if (cost(other) < cost(best)) best = other;
  }
  return best;
}

// Whether AMX is there and can compute the layer in bfloat16; the weight gradient where it can the forward pass.
bool amx_serves(const Shape& shape, Direction direction);

// And whether it is faster than vectors.
bool uses_amx(const Shape& shape, Direction direction);
bool uses_amx_for_weights(const Shape& shape);

// Weights as `Direction` has them; in elements of float32, as other packed weights are counted.
int64_t amx_packed_size(const Shape& shape, Direction direction);
void amx_pack(const Shape& shape, Direction direction, const Weights& weights, float* packed, const Threads& threads);

// Of images whose strides are even and outputs without gaps.
void amx_convolve(const Shape& shape, Direction direction, const Input& x, const float* packed, const float* bias,
                  const Output& y, const Threads& threads);

// `sums` is scratch of so many elements.
int64_t amx_weight_sums(const Shape& shape);
void amx_weight_grad(const Shape& shape, const Input& grad_y, const Input& x, float* sums, float* grad_spatial,
                     float* grad_pointwise, const Threads& threads);

}  // namespace hetconv
