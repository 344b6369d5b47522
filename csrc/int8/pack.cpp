// Weights of 8 bits in the order in which tiles read them.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "amx.h"
#include "kernels.h"
#include "plan.h"

namespace hetconv {
namespace {

int64_t taps_of(const Shape& shape) { return shape.kernel_height * shape.kernel_width; }

// Four weights as one element: of the four channels of a quad.
struct Writer {
  const Shape& shape;
  const int8_t* weights;
  int64_t lanes, words;

  int8_t weight(int64_t filter, int64_t quad, int64_t byte, int64_t tap) const {
    const int64_t channel = quad / 16 * kBlock + byte * 16 + quad % 16;
    if (filter >= shape.out_channels || channel >= shape.in_channels) return 0;
    return weights[(filter * shape.in_channels + channel) * taps_of(shape) + tap];
  }

  // A vector of filters at one chunk.
  void write(int64_t first_filter, int64_t first_quad, int64_t p, int64_t tap, char* to) const {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t filter = first_filter + lane, quad = first_quad + filter % p;
      for (int64_t byte = 0; byte < 4; ++byte) {
        const int8_t value = weight(filter, quad, byte, tap);
        if (words == 1) {
          to[lane * 4 + byte] = static_cast<char>(value);
        } else {
          const int16_t wide = value;
          std::memcpy(to + (byte % 2 * lanes + lane) * 4 + byte / 2 * 2, &wide, sizeof wide);
        }
      }
    }
  }
};

}  // namespace

int64_t int8_packed_size(const Shape& shape) {
  return uses_amx(shape) ? amx_packed_size(shape) : plan_int8(shape).packed_size * 4;
}

void pack_int8(const Shape& shape, const int8_t* weights, void* packed) {
  if (uses_amx(shape)) return amx_pack(shape, weights, static_cast<char*>(packed));
  const Plan plan = plan_int8(shape);
  const Phase& phase = plan.phases[0];
  const int64_t lanes = int8_kernels().lanes, words = int8_kernels().words;
  const Writer writer{shape, weights, lanes, words};
  char* to = static_cast<char*>(packed);
  for (const Block& block : plan.blocks) {
    const auto write = [&](int64_t quad, int64_t p, int64_t tap) {
      for (int c = 0; c < block.vectors; ++c, to += lanes * words * 4) {
        writer.write(plan.vectors[static_cast<size_t>(block.vector + c)].filter, quad, p, tap, to);
      }
    };
    for (int64_t quad = 0; quad < plan.channels; quad += plan.p) {
      for (int64_t tap = 0; tap < phase.ring(); ++tap) write(quad, plan.p, phase.taps[static_cast<size_t>(tap)].index);
    }
    for (int64_t quad = 0; phase.has_centre && quad < plan.channels; ++quad) write(quad, 1, phase.taps.back().index);
  }
}

int64_t largest_sum(const Shape& shape, const int8_t* weights, int64_t filter) {
  const int64_t count = shape.in_channels * taps_of(shape);
  int64_t positive = 0, negative = 0;
  for (int64_t i = filter * count; i < (filter + 1) * count; ++i) (weights[i] > 0 ? positive : negative) += weights[i];
  return 255 * (positive > -negative ? positive : -negative);
}

bool fits_pattern(const Shape& shape, const int8_t* weights) {
  const int64_t taps = taps_of(shape);
  for (int64_t n = 0; n < shape.out_channels; ++n) {
    for (int64_t m = 0; m < shape.in_channels; ++m) {
      if (m % shape.p == n % shape.p) continue;
      for (int64_t tap = 0; tap < taps; ++tap) {
        if (tap != taps / 2 && weights[(n * shape.in_channels + m) * taps + tap] != 0) return false;
      }
    }
  }
  return true;
}

}  // namespace hetconv
