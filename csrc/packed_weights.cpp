#include "packed_weights.h"

#include <algorithm>

#include "checked.h"

namespace hetconv {
namespace {

float instruction_set_code() { return static_cast<float>(instruction_set()[3]); }

int64_t spatial_copy(const Shape& shape) { return shape.algorithm == Algorithm::direct ? 0 : spatial_weights(shape); }

}  // namespace

int64_t packed_weights_size(const Shape& shape) { return kHeader + packed_size(shape) + spatial_copy(shape); }

void pack_weights(const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  std::fill(packed, packed + kHeader, 0.0f);
  packed[0] = instruction_set_code();
  packed[1] = static_cast<float>(shape.algorithm);
  pack(shape, weights, packed + kHeader, threads);
  std::copy(weights.spatial, weights.spatial + spatial_copy(shape), packed + kHeader + packed_size(shape));
}

bool is_packed_for(Shape& shape, const float* packed, int64_t elements) {
  // A layer with more weights than that is not planned at all, which would take as much memory as they do.
  if (elements < kHeader || elements - kHeader < spatial_weights(shape) + pointwise_weights(shape)) return false;
  if (packed[0] != instruction_set_code()) return false;
  shape.algorithm = packed[1] == 0 ? Algorithm::direct : Algorithm::winograd;
  const bool possible = shape.algorithm == Algorithm::direct || uses_winograd(shape);
  return possible && elements == packed_weights_size(shape);
}

void unpack_weights(const Shape& shape, const float* packed, float* spatial, float* pointwise, const Threads& threads) {
  unpack(shape, packed + kHeader, spatial, pointwise, threads);
  const float* const copy = packed + kHeader + packed_size(shape);
  std::copy(copy, copy + spatial_copy(shape), spatial);
}

}  // namespace hetconv
