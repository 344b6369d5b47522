// The weight gradients: output gradient times input, summed over pixels. The tile of the forward pass computes them,
// with the roles exchanged: its "pixels" are the weights' places, and what it sums over are the output's pixels.
// Threads share the filters, so that sums do not depend on their number.
#include <algorithm>
#include <vector>

#include "bfloat16.h"
#include "bfloat16/amx.h"
#include "pack.h"
#include "parallel.h"
#include "prepared.h"
#include "scratch.h"

namespace hetconv {
namespace {

// Pixels that are summed in a row: their output gradients stay in the L1 cache, and partial sums keep rounding errors
// small.
constexpr int64_t kGradTerms = 128;

class WeightGrad {
 public:
  WeightGrad(const Prepared& layer, const Input& x, const Input& grad_y, float* packed_grad)
      : plan_(layer.plan),
        phase_(layer.plan.phases[0]),
        strips_(layer.strips),
        x_(x),
        grad_y_(grad_y),
        packed_grad_(packed_grad) {
    for (const Sum& sum : layer.sums[0].partial()) spatial_ += sum.spatial;
    const std::vector<int32_t>& at = layer.sums[0].at();
    for (const Block& block : plan_.blocks) {
      std::vector<Pixel>& places = places_[block.vectors];
      for (size_t i = places.size(); i < at.size(); ++i) {
        places.push_back({at[i], static_cast<int64_t>(i) * block.vectors * kernels().lanes, 0});
      }
    }
  }

  void run(int64_t first_block, int64_t last_block) const;

 private:
  const Plan& plan_;
  const Phase& phase_;
  const Strips& strips_;
  const Input& x_;
  const Input& grad_y_;
  float* const packed_grad_;
  int64_t spatial_ = 0;                         // chunks of the ring; the others are of the centre tap
  std::vector<Pixel> places_[kMaxVectors + 1];  // of the weights in the strip and in the packed gradient

  void add(const Block& block, const float* strip, const Pixel* pixels, int64_t count, bool first) const;
  void copy_grad_y(const Block& block, const Pixel* pixels, int64_t count, float* to) const;
};

void WeightGrad::run(int64_t first_block, int64_t last_block) const {
  static thread_local Scratch scratch;
  float* const strip = scratch.get(strips_.elements());
  bool first = true;
  for (int64_t s = 0; s < strips_.count(); ++s) {
    strips_.copy(x_, s, strip);
    const std::vector<Pixel> pixels = strips_.pixels(s, phase_, grad_y_.strides);
    const int64_t count = static_cast<int64_t>(pixels.size()), parts = (count + kGradTerms - 1) / kGradTerms;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t begin = count * part / parts, end = count * (part + 1) / parts;
      for (int64_t b = first_block; b < last_block; ++b) {
        add(plan_.blocks[static_cast<size_t>(b)], strip, pixels.data() + begin, end - begin, first);
      }
      first = false;
    }
  }
}

// Output gradients of a block's filters, pixel after pixel.
void WeightGrad::copy_grad_y(const Block& block, const Pixel* pixels, int64_t count, float* to) const {
  const int lanes = kernels().lanes;
  for (int c = 0; c < block.vectors; ++c) {
    const FilterVector& vector = plan_.vectors[static_cast<size_t>(block.vector + c)];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t from = pixels[i].output + vector.filter;
      float* const at = to + (i * block.vectors + c) * lanes;
      if (grad_y_.type == Type::bfloat16) {
        const uint16_t* const first = static_cast<const uint16_t*>(grad_y_.data) + from;
        std::transform(first, first + vector.filters, at, widen);
      } else {
        const float* const first = static_cast<const float*>(grad_y_.data) + from;
        std::copy(first, first + vector.filters, at);
      }
      std::fill(at + vector.filters, at + lanes, 0.0f);
    }
  }
}

// The packed gradient of a block += (or, `first`, =) the sum over these pixels.
void WeightGrad::add(const Block& block, const float* strip, const Pixel* pixels, int64_t count, bool first) const {
  const Kernels& k = kernels();
  alignas(64) float grad_y[kGradTerms * kMaxVectors * kMaxLanes];
  int32_t at[kGradTerms];
  copy_grad_y(block, pixels, count, grad_y);
  for (int64_t i = 0; i < count; ++i) at[i] = static_cast<int32_t>(pixels[i].input);
  FilterVector vectors[kMaxVectors];
  Tile tile{};
  for (int c = 0; c < block.vectors; ++c) {
    vectors[c] = plan_.vectors[static_cast<size_t>(block.vector + c)];
    vectors[c].filter = c * k.lanes;
    vectors[c].filters = k.lanes;
    tile.start[c] = strips_.place(vectors[c].channel);
  }
  tile.strip = strip;
  tile.partial_sum_count = 1;
  tile.read = plan_.read;
  tile.shared = block.shared;
  tile.vectors = vectors;
  tile.p = plan_.p;
  tile.weights = grad_y;
  tile.output = packed_grad_ + phase_.chunks * block.vector * k.lanes;
  tile.type = Type::float32;
  tile.epilogue.residual = first ? nullptr : tile.output;
  tile.whole = true;
  const std::vector<Pixel>& places = places_[block.vectors];
  const int32_t terms = static_cast<int32_t>(count);
  const Sum ring{at, terms, 0}, centre{at, 0, terms};
  tile.partial_sums = &ring;
  run_tiles(tiles_of(k, block.vectors), tile, places.data(), spatial_, nullptr);
  tile.partial_sums = &centre;
  run_tiles(tiles_of(k, block.vectors), tile, places.data() + spatial_, static_cast<int64_t>(places.size()) - spatial_,
            nullptr);
}

Shape summed_directly(Shape shape) {
  shape.algorithm = Algorithm::direct;
  return shape;
}

}  // namespace

int64_t weight_grad_scratch(const Shape& shape, Type type) {
  return type == Type::bfloat16 && uses_amx_for_weights(shape) ? amx_weight_sums(shape)
                                                               : packed_size(summed_directly(shape));
}

void weight_grad(const Shape& shape, const Input& grad_y, const Input& x, float* scratch, float* grad_spatial,
                 float* grad_pointwise, const Threads& threads) {
  const Shape direct = summed_directly(shape);
  if (x.type == Type::bfloat16 && grad_y.type == Type::bfloat16 && uses_amx_for_weights(shape)) {
    return amx_weight_grad(direct, grad_y, x, scratch, grad_spatial, grad_pointwise, threads);
  }
  if (shape.batch * shape.out_height * shape.out_width == 0) {
    std::fill(scratch, scratch + packed_size(direct), 0.0f);
    return unpack(direct, scratch, grad_spatial, grad_pointwise, threads);
  }
  const Prepared& layer = prepare(direct, Direction::forward, 1);
  const WeightGrad grad(layer, x, grad_y, scratch);
  parallel(threads, static_cast<int64_t>(layer.plan.blocks.size()),
           [&](int64_t begin, int64_t end) { grad.run(begin, end); });
  unpack(layer.plan, shape, scratch, grad_spatial, grad_pointwise, threads);
}

}  // namespace hetconv
