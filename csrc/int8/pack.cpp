// Weights of 8 bits in the order in which tiles read them.
#include <cstring>

#include "amx.h"
#include "kernels.h"
#include "plan.h"

namespace hetconv {
namespace {

// Walks over the packed weights in the order in which tiles read them. Four weights are one element: of the four
// channels of a quad.
template <class Mover>
class Walk {
 public:
  using Memory = typename Mover::Memory;
  explicit Walk(const Mover& mover) : mover_(mover), lanes_(int8_kernels().lanes), words_(int8_kernels().words) {}

  void over(const Shape& shape, Memory at) const {
    const Plan plan = plan_int8(shape);
    const Phase& phase = plan.phases[0];
    for (const Block& block : plan.blocks) {
      if (int8_kernels().offset != 0) at += block.vectors * lanes_ * 4;
      const auto vectors = [&](int64_t quad, int64_t p, int64_t tap) {
        for (int c = 0; c < block.vectors; ++c, at += lanes_ * words_ * 4) {
          vector(plan.vectors[static_cast<size_t>(block.vector + c)].filter, quad, p, tap, at);
        }
      };
      for (int64_t quad = 0; quad < plan.channels; quad += plan.p) {
        for (int64_t tap = 0; tap < phase.ring(); ++tap) {
          vectors(quad, plan.p, phase.taps[static_cast<size_t>(tap)].index);
        }
      }
      for (int64_t quad = 0; phase.has_centre && quad < plan.channels; ++quad) {
        vectors(quad, 1, phase.taps.back().index);
      }
    }
  }

 private:
  // A vector of filters at one chunk.
  void vector(int64_t first_filter, int64_t first_quad, int64_t p, int64_t tap, Memory at) const {
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      const int64_t filter = first_filter + lane, quad = first_quad + filter % p;
      for (int64_t byte = 0; byte < 4; ++byte) {
        const int64_t channel = quad / 16 * kBlock + byte * 16 + quad % 16;
        if (words_ == 1) {
          mover_.move(filter, channel, tap, at + lane * 4 + byte);
        } else {
          mover_.move_wide(filter, channel, tap, at + (byte % 2 * lanes_ + lane) * 4 + byte / 2 * 2);
        }
      }
    }
  }

  const Mover& mover_;
  int64_t lanes_, words_;
};

template <class Mover>
void walk(const Shape& shape, const Mover& mover, typename Mover::Memory packed) {
  if (uses_amx(shape)) return amx_walk(shape, mover, packed);
  Walk<Mover>(mover).over(shape, packed);
}

// What a block of weights begins with where activations are multiplied less an offset.
void write_offsets(char* block, int64_t bytes) {
  const int64_t vectors = kInt8Vectors * int8_kernels().lanes * 4;
  for (int64_t filter = 0; filter < vectors; filter += 4) {
    int64_t sum = 0;
    for (int64_t quad = vectors + filter; quad < bytes; quad += vectors) {
      for (int64_t byte = 0; byte < 4; ++byte) sum += static_cast<int8_t>(block[quad + byte]);
    }
    const int32_t taken = static_cast<int32_t>(int8_kernels().offset * sum);
    std::memcpy(block + filter, &taken, sizeof taken);
  }
}

}  // namespace

int64_t int8_packed_size(const Shape& shape) {
  return uses_amx(shape) ? amx_packed_size(shape) : plan_int8(shape).packed_size * 4;
}

void pack_int8(const Shape& shape, const Int8Packing& weights, char* packed) {
  walk(shape, weights, packed);
  if (int8_kernels().offset == 0) return;
  const Plan plan = plan_int8(shape);
  const int64_t blocks = static_cast<int64_t>(plan.blocks.size()), bytes = plan.packed_size * 4;
  for (int64_t block = 0; block < blocks; ++block) write_offsets(packed + block * bytes / blocks, bytes / blocks);
}
void unpack_int8(const Shape& shape, const char* packed, const Int8Unpacking& weights) { walk(shape, weights, packed); }

}  // namespace hetconv
