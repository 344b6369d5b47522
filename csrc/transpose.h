// Rows of weights turned into vectors of lanes and back: how weights are packed and their gradients unpacked. Whole
// squares are turned in registers; masked stores, which are slow with AVX2, are not needed.
#pragma once

#include "simd.h"

namespace hetconv {
namespace {

#if defined(__AVX512F__)
HETCONV_INLINE void turn(Vec (&v)[kLanes]) {
  Vec t[kLanes];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    v[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    v[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    v[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    v[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
  }
}
#elif defined(__AVX2__) && defined(__FMA__)
HETCONV_INLINE Vec two_rows(const float* first, const float* fifth) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(first)), _mm_loadu_ps(fifth), 1);
}

// to[j][i] = from[i][j]
HETCONV_INLINE void turn(const float* const* from, int64_t at, float* const* to, int64_t offset) {
#pragma GCC unroll 2
  for (int half = 0; half < 8; half += 4) {
    const int64_t j = at + half;
    const Vec a = two_rows(from[0] + j, from[4] + j), b = two_rows(from[1] + j, from[5] + j);
    const Vec c = two_rows(from[2] + j, from[6] + j), d = two_rows(from[3] + j, from[7] + j);
    const Vec low_ab = _mm256_unpacklo_ps(a, b), high_ab = _mm256_unpackhi_ps(a, b);
    const Vec low_cd = _mm256_unpacklo_ps(c, d), high_cd = _mm256_unpackhi_ps(c, d);
    store(to[half] + offset, _mm256_shuffle_ps(low_ab, low_cd, 0x44));
    store(to[half + 1] + offset, _mm256_shuffle_ps(low_ab, low_cd, 0xee));
    store(to[half + 2] + offset, _mm256_shuffle_ps(high_ab, high_cd, 0x44));
    store(to[half + 3] + offset, _mm256_shuffle_ps(high_ab, high_cd, 0xee));
  }
}
#endif

// to[j][offset + i] = from[i][j] for i < kLanes, j < count
[[maybe_unused]] void rows_to_lanes(const float* const* from, int64_t count, float* const* to, int64_t offset) {
#if defined(__AVX512F__)
  for (int64_t j = 0; j < count; j += kLanes) {
    const int n = static_cast<int>(count - j < kLanes ? count - j : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) square[i] = load_first(from[i] + j, n);
    turn(square);
    for (int i = 0; i < n; ++i) store(to[j + i] + offset, square[i]);
  }
#else
  int64_t j = 0;
#if defined(__AVX2__) && defined(__FMA__)
  for (; j + kLanes <= count; j += kLanes) turn(from, j, to + j, offset);
#endif
  for (; j < count; ++j) {
    Vec column = zero();
    for (int i = 0; i < kLanes; ++i) column[i] = from[i][j];
    store(to[j] + offset, column);
  }
#endif
}

// to[i][j] = from[j][offset + i] for i < kLanes, j < count
[[maybe_unused]] void lanes_to_rows(const float* const* from, int64_t offset, int64_t count, float* const* to) {
#if defined(__AVX512F__)
  for (int64_t j = 0; j < count; j += kLanes) {
    const int n = static_cast<int>(count - j < kLanes ? count - j : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) square[i] = i < n ? load(from[j + i] + offset) : zero();
    turn(square);
    for (int i = 0; i < kLanes; ++i) store_first(to[i] + j, square[i], n);
  }
#else
  int64_t j = 0;
#if defined(__AVX2__) && defined(__FMA__)
  if (count >= kLanes) {
    const float* rows[kLanes];
    for (bool last = false; !last;) {
      last = j + kLanes >= count;
      if (last) j = count - kLanes;
      for (int i = 0; i < kLanes; ++i) rows[i] = from[j + i] + offset;
      turn(rows, 0, to, j);
      j += kLanes;
    }
    j = count;
  }
#endif
  for (; j < count; ++j) {
    for (int i = 0; i < kLanes; ++i) to[i][j] = from[j][offset + i];
  }
#endif
}

}  // namespace
}  // namespace hetconv
