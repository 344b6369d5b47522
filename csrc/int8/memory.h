// Kernels of 8 bits that do no convolution: quantizing, adding, pooling. Rounding is as int8.h says: each product and
// sum of reals rounds to float32, and what is stored is the nearest integer, halves to even.
#pragma once

#include "dot.h"
#include "kernels.h"

namespace hetconv {
namespace {

// `count` blocks of 64 channels, in their natural order, to u8.
void quantize_blocks(const float* from, uint8_t* to, int64_t count, float scale, int32_t zero) {
  const Vec factor = set1(scale), least = set1(-65536.0f), most = set1(65536.0f);
  for (int64_t block = 0; block < count; ++block, from += kBlock, to += kBlock) {
    for (int lane = 0; lane < 16; lane += kLanes) {
      Vec real[4];
#pragma GCC unroll 4
      for (int byte = 0; byte < 4; ++byte) {
        real[byte] = min(most, max(least, multiply(load(from + 16 * byte + lane), factor)));
      }
      store_quads(to + 4 * lane, real, zero, 0, 255);
    }
  }
}

// In place, each number to a quad of which it is the first byte; up to whole vectors of them.
void quantize_to_quads(float* all, int64_t count, float scale, int32_t zero) {
  using Integers = int32_t __attribute__((vector_size(sizeof(Vec))));
  const Vec factor = set1(scale), shift = set1(static_cast<float>(zero));
  const Vec least = set1(static_cast<float>(-zero)), most = set1(static_cast<float>(255 - zero));
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec real = round(min(most, max(least, multiply(load(all + i), factor))));
    const Integers quads = __builtin_convertvector(plus(real, shift), Integers);
    __builtin_memcpy(all + i, &quads, sizeof quads);
  }
}

template <int byte>
HETCONV_INLINE Vec real_of(const uint8_t* p, Int zero, Vec scale) {
  return multiply(to_float(add(byte_of_quads<byte>(p), zero)), scale);
}

// `count` quads: nearest((a − a.zero) · a.scale + (b − b.zero) · b.scale) + zero, within [least, most]. `b` may be
// null.
void add_quads(const Int8Term& a, const Int8Term& b, const Int8Store& y, int64_t count) {
  const auto minus = [](int32_t zero) { return as_int(set1(__builtin_bit_cast(float, -zero))); };
  const Int a_zero = minus(a.zero), b_zero = minus(b.zero);
  const Vec a_scale = set1(a.scale), b_scale = set1(b.scale);
  for (int64_t at = 0; at < 4 * count; at += 4 * kLanes) {
    const uint8_t* p = a.data + at;
    Vec real[4] = {real_of<0>(p, a_zero, a_scale), real_of<1>(p, a_zero, a_scale), real_of<2>(p, a_zero, a_scale),
                   real_of<3>(p, a_zero, a_scale)};
    if (b.data != nullptr) {
      p = b.data + at;
      real[0] = plus(real[0], real_of<0>(p, b_zero, b_scale));
      real[1] = plus(real[1], real_of<1>(p, b_zero, b_scale));
      real[2] = plus(real[2], real_of<2>(p, b_zero, b_scale));
      real[3] = plus(real[3], real_of<3>(p, b_zero, b_scale));
    }
    store_quads(y.data + at, real, y.zero, y.least, y.most);
  }
}

// A block's; wider than a vector where those are narrow.
using Bytes = uint8_t __attribute__((vector_size(kBlock)));

// The largest of some pixels, byte by byte.
void max_bytes(const uint8_t* const* pixels, int64_t count, int64_t bytes, uint8_t* to) {
  for (int64_t at = 0; at < bytes; at += kBlock) {
    Bytes most, other;
    __builtin_memcpy(&most, pixels[0] + at, kBlock);
    for (int64_t i = 1; i < count; ++i) {
      __builtin_memcpy(&other, pixels[i] + at, kBlock);
      most = most < other ? other : most;
    }
    __builtin_memcpy(to + at, &most, kBlock);
  }
}

// Their sums, byte by byte, to int32.
void sum_bytes(const uint8_t* const* pixels, int64_t count, int64_t bytes, int32_t* to) {
  for (int64_t at = 0; at < bytes; at += kBlock) {
    int32_t sum[kBlock] = {};
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* const other = pixels[i] + at;
      for (int k = 0; k < kBlock; ++k) sum[k] += other[k];
    }
    __builtin_memcpy(to + at, sum, sizeof sum);
  }
}

}  // namespace
}  // namespace hetconv
