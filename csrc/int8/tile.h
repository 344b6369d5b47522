// R pixels × 4 filter vectors of 8 bits: summed in registers as int32, then stored once. The four vectors' bytes are
// the quads of the output.
#pragma once

#include "../chunk.h"
#include "dot.h"
#include "kernels.h"

namespace hetconv {
namespace {

constexpr int kC = kInt8Vectors;

// Each loop over the sums must be unrolled, or GCC 12 keeps them in memory, at half of the speed.
template <Read read, bool fetch, int R>
HETCONV_INLINE void accumulate_int8(Int (&sums)[R][kC], const float* const (&pixel)[R], int64_t start,
                                    const float*& weights, const float*& ahead, const int32_t* at, int32_t count,
                                    const Tile& tile) {
  for (const int32_t* const end = at + count; at != end; ++at) {
    if constexpr (fetch) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += tile.ahead_step;
    }
    const int64_t place = *at + start;
    Weight weight[kC];
#pragma GCC unroll 4
    for (int c = 0; c < kC; ++c) weight[c] = load_weight(weights + c * kWords * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Quads quads = quads_of(as_int(read_chunk<read>(pixel[r] + place, tile.p, tile.vectors[0])));
#pragma GCC unroll 4
      for (int c = 0; c < kC; ++c) {
        sums[r][c] = dot(sums[r][c], quads, weight[c]);
        HETCONV_IN_REGISTER(sums[r][c]);
      }
    }
    weights += kC * kWords * kLanes;
  }
}

template <int R, Int8Output to>
struct Int8Tiles {
  const Tile& tile;

  template <Read read>
  HETCONV_INLINE void run() const {
    tile.ahead == nullptr ? run<read, false>() : run<read, true>();
  }

  template <Read read, bool fetch>
  HETCONV_INLINE void run() const {
    const Sum& sum = *tile.partial_sums;  // the only one
    const Int8Epilogue& epilogue = *tile.int8;
    const int64_t start = tile.start[0];
    const float* ahead = tile.ahead;
    const char* next = tile.next;
    const Pixel* pixels = tile.pixel;
    for (int n = tile.count; n > 0; --n, pixels += R) {
      for (int line = 0; line < tile.next_lines; ++line, next += 64) __builtin_prefetch(next, 0, 2);
      const float* pixel[R];
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) pixel[r] = tile.strip + pixels[r].input;
      const float* weights = tile.weights;
      Int sums[R][kC];
#pragma GCC unroll 4
      for (int c = 0; c < kC; ++c) {
        Int first = load_int(epilogue.start + tile.vectors[c].filter);
        if constexpr (kOffset != 0) first = add(first, as_int(load(weights + c * kLanes)));
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) sums[r][c] = first;
      }
      if constexpr (kOffset != 0) weights += kC * kLanes;
      accumulate_int8<read, fetch, R>(sums, pixel, start, weights, ahead, sum.at, sum.spatial, tile);
      accumulate_int8<Read::broadcast, fetch, R>(sums, pixel, 0, weights, ahead, sum.at + sum.spatial, sum.pointwise,
                                                 tile);
      finish(pixels, sums);
    }
  }

  HETCONV_INLINE void finish(const Pixel* pixels, const Int (&sums)[R][kC]) const {
    const Int8Epilogue& epilogue = *tile.int8;
    const int64_t filter = tile.vectors[0].filter, place = filter / kBlock * kBlock + filter % kBlock * 4;
    Vec scale[kC];
#pragma GCC unroll 4
    for (int c = 0; c < kC; ++c) scale[c] = load(epilogue.scale + tile.vectors[c].filter);
    Vec real[R][kC];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < kC; ++c) real[r][c] = multiply(to_float(sums[r][c]), scale[c]);
    if (epilogue.residual != nullptr) {
      const Vec residual_scale = set1(epilogue.residual_scale);
      const Int zero = as_int(set1(__builtin_bit_cast(float, -epilogue.residual_zero)));
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const uint8_t* const residual = epilogue.residual + pixels[r].output + place;
        real[r][0] = plus(real[r][0], multiply(to_float(add(byte_of_quads<0>(residual), zero)), residual_scale));
        real[r][1] = plus(real[r][1], multiply(to_float(add(byte_of_quads<1>(residual), zero)), residual_scale));
        real[r][2] = plus(real[r][2], multiply(to_float(add(byte_of_quads<2>(residual), zero)), residual_scale));
        real[r][3] = plus(real[r][3], multiply(to_float(add(byte_of_quads<3>(residual), zero)), residual_scale));
      }
    }
    if constexpr (to == Int8Output::uint8) {
      const int zero = epilogue.zero, least = static_cast<int>(epilogue.least), most = static_cast<int>(epilogue.most);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        store_quads(static_cast<uint8_t*>(tile.output) + pixels[r].output + place, real[r], zero, least, most);
      }
    } else {
      const Vec least = set1(epilogue.least), most = set1(epilogue.most);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < kC; ++c) {
          float* const y = static_cast<float*>(tile.output) + pixels[r].output + tile.vectors[c].filter;
          store(y, min(most, max(least, real[r][c])));
        }
    }
  }
};

template <int R, Int8Output to>
void int8_tiles(const Tile& tile) {
  const Int8Tiles<R, to> tiles{tile};
  switch (tile.read) {
    case Read::broadcast:
      return tiles.template run<Read::broadcast>();
    case Read::repeat2:
      return tiles.template run<Read::repeat2>();
#if defined(__AVX2__)
    case Read::repeat4:
      return tiles.template run<Read::repeat4>();
#endif
#if defined(__AVX512F__)
    case Read::repeat8:
      return tiles.template run<Read::repeat8>();
#endif
    default:  // P divides 16: no other is left
      return tiles.template run<Read::contiguous>();
  }
}

}  // namespace
}  // namespace hetconv
