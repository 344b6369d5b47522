#include "plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels.h"

namespace hetconv {
namespace {

constexpr int64_t kQuads = kBlock / 4;  // of a block

// Quads that hold channels; those of a block that is not full hold fewer than four.
int64_t quads_of_channels(const Shape& shape) {
  const int64_t whole = shape.in_channels / kBlock * kQuads, rest = shape.in_channels % kBlock;
  return whole + (std::min(rest, kQuads) + shape.p - 1) / shape.p * shape.p;
}

FilterVector vector_of(int64_t filter, int64_t p, int lanes) {
  FilterVector vector{};
  vector.filter = filter;
  vector.filters = lanes;
  vector.channel = p < lanes ? 0 : filter % p;
  return vector;
}

}  // namespace

Shape int8_kernel_shape(const Shape& layer) {
  Shape shape = layer;
  const bool blocked = !layer.shifted && layer.kernel_height * layer.kernel_width > 1;
  shape.p = blocked ? 1 : std::gcd(layer.p, kQuads);
  shape.shifted = true;
  return shape;
}

Shape shape_of_quads(const Shape& shape) {
  Shape quads = shape;
  quads.in_channels = quads_of_channels(shape);
  quads.out_channels = whole_blocks(shape.out_channels);
  quads.shifted = true;
  quads.algorithm = Algorithm::direct;
  return quads;
}

Plan plan_int8(const Shape& shape) {
  Plan plan = plan_forward(shape_of_quads(shape));
  const Int8Kernels& kernels = int8_kernels();
  const int lanes = kernels.lanes;
  plan.terms = std::numeric_limits<int32_t>::max();  // sums are exact, however long
  plan.vectors.clear();
  plan.blocks.clear();
  for (int64_t block = 0; block < plan.filters; block += kBlock) {
    for (int64_t lane = 0; lane < kQuads; lane += lanes) {
      plan.blocks.push_back({static_cast<int>(plan.vectors.size()), kInt8Vectors, true});
      for (int64_t byte = 0; byte < kInt8Vectors; ++byte) {
        plan.vectors.push_back(vector_of(block + byte * kQuads + lane, plan.p, lanes));
      }
    }
  }
  plan.packed_size = (plan.phases[0].chunks * kernels.words + (kernels.offset != 0)) * plan.filters;
  return plan;
}

}  // namespace hetconv
