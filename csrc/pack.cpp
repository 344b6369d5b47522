#include "pack.h"

#include <type_traits>

#include "parallel.h"

namespace hetconv {
namespace {

// Which weight filter n of the layer has at channel m. The only place, apart from the chunks in plan.cpp, that knows
// the arrangement.
struct Natural {
  int64_t p, own_channels, own_filters, taps, pointwise;
  bool shifted;

  explicit Natural(const Shape& shape)
      : p(shape.p),
        own_channels(shape.in_channels / shape.p),
        own_filters(shape.out_channels / shape.p),
        taps(shape.kernel_height * shape.kernel_width),
        pointwise(shape.in_channels - own_channels),
        shifted(shape.shifted) {}

  bool own(int64_t n, int64_t m) const { return shifted ? n % p == m % p : n / own_filters == m / own_channels; }
  int64_t spatial_index(int64_t n, int64_t m, int64_t tap) const {
    return (n * own_channels + (shifted ? m / p : m % own_channels)) * taps + tap;
  }
  // Only for channels that are not the filter's own.
  int64_t pointwise_index(int64_t n, int64_t m) const {
    const int64_t own_before = shifted ? m / p + (m % p > n % p) : m / own_channels > n / own_filters ? own_channels : 0;
    return n * pointwise + m - own_before;
  }
  // The chunk-th of the channels that filter n reads with its spatial kernels, and the reverse.
  int64_t channel(int64_t n, int64_t chunk) const {
    return shifted ? chunk * p + n % p : n / own_filters * own_channels + chunk;
  }
  int64_t filter(int64_t m, int64_t chunk) const {
    return shifted ? chunk * p + m % p : m / own_channels * own_filters + chunk;
  }
};

// Calls move(natural array, its index, packed index) for every weight of one block of one phase.
template <class Move>
void for_each_weight(const Plan& plan, const Phase& phase, const Block& block, const Shape& shape, const Natural& natural,
                     const Move& move) {
  const int lanes = kernels().lanes;
  const int64_t centre = shape.kernel_height / 2 * shape.kernel_width + shape.kernel_width / 2;
  const int64_t row = static_cast<int64_t>(block.vectors) * lanes;
  int64_t to = phase.packed + phase.chunks * block.vector * lanes;
  for (const Segment& segment : phase.segments) {
    const int64_t tap = segment.kernel_row * shape.kernel_width + segment.kernel_column;
    for (int64_t k = 0; k < segment.count; ++k, to += row) {
      for (int c = 0; c < block.vectors; ++c) {
        const FilterVector& vector = plan.vectors[block.vector + c];
        for (int lane = 0; lane < lanes; ++lane) {
          const int64_t at = to + c * lanes + lane;
          if (lane >= vector.filters) {
            move(nullptr, 0, at);
            continue;
          }
          const int64_t filter = vector.filter + lane;
          int64_t n = filter, m = segment.channel + k;
          if (segment.spatial) {
            const int64_t chunk = segment.channel / segment.step + k;
            m = plan.transposed ? natural.filter(filter, chunk) : natural.channel(filter, chunk);
          }
          if (plan.transposed) {
            n = m;
            m = filter;
          }
          if (natural.own(n, m)) {
            move(&Weights::spatial, natural.spatial_index(n, m, segment.spatial ? tap : centre), at);
          } else {
            move(&Weights::pointwise, natural.pointwise_index(n, m), at);
          }
        }
      }
    }
  }
}

}  // namespace

void pack(const Plan& plan, const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  const Natural natural(shape);
  const int64_t blocks = static_cast<int64_t>(plan.blocks.size());
  parallel(threads, blocks * static_cast<int64_t>(plan.phases.size()), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      for_each_weight(plan, plan.phases[item / blocks], plan.blocks[item % blocks], shape, natural,
                      [&](const float* Weights::*array, int64_t from, int64_t to) {
                        packed[to] = array == nullptr ? 0.0f : (weights.*array)[from];
                      });
    }
  });
}

void unpack(const Plan& plan, const Shape& shape, const float* packed, float* spatial, float* pointwise,
            const Threads& threads) {
  const Natural natural(shape);
  const Phase& phase = plan.phases[0];
  parallel(threads, static_cast<int64_t>(plan.blocks.size()), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      for_each_weight(plan, phase, plan.blocks[b], shape, natural,
                      [&](const float* Weights::*array, int64_t to, int64_t from) {
                        if (array == nullptr) return;
                        (array == &Weights::spatial ? spatial : pointwise)[to] = packed[from];
                      });
    }
  });
}

}  // namespace hetconv
