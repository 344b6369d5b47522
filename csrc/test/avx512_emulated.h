// The AVX-512 that the kernels use, on processors that have none: for tests of what kernels_avx512 computes, not of how
// fast. Included before everything else (-include) where kernels.cpp is compiled for that.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#define __AVX512F__ 1
#define HETCONV_EMULATED 1

namespace emulated {

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
using Mask = uint16_t;

template <class Value>
Floats each(Value value) {
  Floats v;
  for (int i = 0; i < 16; ++i) v[i] = value(i);
  return v;
}
template <class Value>
Ints each_int(Value value) {
  Ints v;
  for (int i = 0; i < 16; ++i) v[i] = value(i);
  return v;
}
template <class To, class From>
To cast(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline Floats masked_load(Floats rest, Mask mask, const float* p) {
  return each([&](int i) { return mask >> i & 1 ? p[i] : rest[i]; });
}
inline void masked_store(float* p, Mask mask, Floats v) {
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) p[i] = v[i];
  }
}
inline Floats set1_pd(double value) {
  float both[2];
  std::memcpy(both, &value, sizeof both);
  return each([&](int i) { return both[i % 2]; });
}
inline Floats unpack(Floats a, Floats b, int half) {
  return each([&](int i) { return (i % 2 ? b : a)[i / 4 * 4 + half * 2 + i % 4 / 2]; });
}
inline Floats shuffle(Floats a, Floats b, int control) {
  return each([&](int i) { return (i % 4 < 2 ? a : b)[i / 4 * 4 + (control >> i % 4 * 2 & 3)]; });
}
inline Floats shuffle_f32x4(Floats a, Floats b, int control) {
  return each([&](int i) { return (i < 8 ? a : b)[(control >> i / 4 * 2 & 3) * 4 + i % 4]; });
}

}  // namespace emulated

#define __m512 emulated::Floats
#define __m512i emulated::Ints
#define __mmask16 emulated::Mask
#define _mm512_setzero_ps() (emulated::Floats{})
#define _mm512_set1_ps(x) emulated::each([&](int) { return x; })
#define _mm512_set1_epi32(x) emulated::each_int([&](int) { return x; })
#define _mm512_set1_pd(x) (x)
#define _mm512_castpd_ps(x) emulated::set1_pd(x)
#define _mm512_loadu_ps(p) emulated::masked_load(emulated::Floats{}, 0xffff, p)
#define _mm512_storeu_ps(p, v) emulated::masked_store(p, 0xffff, v)
#define _mm512_maskz_loadu_ps(mask, p) emulated::masked_load(emulated::Floats{}, mask, p)
#define _mm512_mask_loadu_ps(rest, mask, p) emulated::masked_load(rest, mask, p)
#define _mm512_mask_storeu_ps(p, mask, v) emulated::masked_store(p, mask, v)
#define _mm512_fmadd_ps(a, b, c) emulated::each([&](int i) { return std::fma((a)[i], (b)[i], (c)[i]); })
#define _mm512_min_ps(a, b) emulated::each([&](int i) { return (a)[i] < (b)[i] ? (a)[i] : (b)[i]; })
#define _mm512_max_ps(a, b) emulated::each([&](int i) { return (a)[i] > (b)[i] ? (a)[i] : (b)[i]; })
#define _mm512_roundscale_ps(a, mode) emulated::each([&](int i) { return std::nearbyint((a)[i]); })
#define _mm512_cvtps_epi32(a) emulated::each_int([&](int i) { return static_cast<int32_t>(std::nearbyint((a)[i])); })
#define _mm512_add_epi32(a, b) ((a) + (b))
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_slli_epi32(a, n) \
  emulated::each_int([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>((a)[i]) << n); })
#define _mm512_srli_epi32(a, n) \
  emulated::each_int([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>((a)[i]) >> n); })
#define _mm512_castsi512_ps(a) emulated::cast<emulated::Floats>(a)
#define _mm512_castps_si512(a) emulated::cast<emulated::Ints>(a)
#define _mm512_broadcast_f32x4(v) emulated::each([&, four = (v)](int i) { return four[i % 4]; })
#define _mm512_broadcast_f32x8(v) emulated::each([&, eight = (v)](int i) { return eight[i % 8]; })
#define _mm512_loadu_si512(p) emulated::each_int([&](int i) { return (p)[i]; })
#define _mm512_permutexvar_ps(index, v) \
  emulated::each([&, at = (index), from = (v)](int i) { return from[at[i] & 15]; })
#define _mm512_cvtepu16_epi32(half) \
  emulated::each_int(               \
      [&, from = emulated::cast<__m256i>(half)](int i) { return reinterpret_cast<const uint16_t*>(&from)[i]; })
#define _mm512_cmp_ps_mask(a, b, what)                                                           \
  [&] { /* _CMP_UNORD_Q is the only one in use */                                                \
        emulated::Mask mask = 0;                                                                 \
        for (int i = 0; i < 16; ++i) {                                                           \
          if ((a)[i] != (a)[i] || (b)[i] != (b)[i]) mask |= static_cast<emulated::Mask>(1 << i); \
        }                                                                                        \
        return mask;                                                                             \
  }()
#define _mm512_mask_mov_epi32(rest, mask, v) \
  emulated::each_int([&, m = (mask)](int i) { return m >> i & 1 ? (v)[i] : (rest)[i]; })
#define _mm512_cvtepi32_epi16(v)                                           \
  [&, from = (v)] {                                                        \
    uint16_t half[16];                                                     \
    for (int i = 0; i < 16; ++i) half[i] = static_cast<uint16_t>(from[i]); \
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(half));     \
  }()
#define _mm512_unpacklo_ps(a, b) emulated::unpack(a, b, 0)
#define _mm512_unpackhi_ps(a, b) emulated::unpack(a, b, 1)
#define _mm512_shuffle_ps(a, b, control) emulated::shuffle(a, b, control)
#define _mm512_shuffle_f32x4(a, b, control) emulated::shuffle_f32x4(a, b, control)
