// One vector of float32 and what the kernels do with it, per instruction set. Included by kernels.cpp only, which is
// compiled once per instruction set; everything is in an unnamed namespace so that no two of them can be linked
// together.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(HETCONV_NEON)
#include <arm_neon.h>
#endif

#include "bfloat16.h"

#define HETCONV_INLINE inline __attribute__((always_inline))

#if defined(HETCONV_EMULATED)
#define HETCONV_TOUCH(kind, v)
#elif defined(__AVX512F__)
#define HETCONV_TOUCH(kind, v) asm kind("" : "+v"(v))
#elif defined(__x86_64__)
#define HETCONV_TOUCH(kind, v) asm kind("" : "+x"(v))
#else
#define HETCONV_TOUCH(kind, v) asm kind("" : "+w"(v))
#endif
// A value that many multiply-adds read is loaded once: GCC would load it anew for each of them, and loads are what
// limits.
#define HETCONV_IN_REGISTER(v) HETCONV_TOUCH(, v)

namespace {

#if defined(__AVX512F__)

using Vec = __m512;
constexpr int kLanes = 16, kRegisters = 32;

HETCONV_INLINE Vec zero() { return _mm512_setzero_ps(); }
HETCONV_INLINE Vec set1(float x) { return _mm512_set1_ps(x); }
HETCONV_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
HETCONV_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
HETCONV_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
HETCONV_INLINE Vec load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
HETCONV_INLINE void store_first(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
HETCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
HETCONV_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
HETCONV_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
HETCONV_INLINE Vec max_or_nan(Vec a, Vec b) {  // not a number if one of them is not
  return _mm512_mask_mov_ps(max(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
HETCONV_INLINE Vec round(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
HETCONV_INLINE Vec power_of_two(Vec n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
HETCONV_INLINE Vec repeat2(const float* p) {
  double both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm512_castpd_ps(_mm512_set1_pd(both));
}
HETCONV_INLINE Vec repeat4(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
HETCONV_INLINE Vec repeat8(const float* p) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(p)); }
HETCONV_INLINE Vec load_bfloat16(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
HETCONV_INLINE void store_bfloat16(uint16_t* p, Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i half =
      _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(half));
}
// lanes l -> p[index[l]], p holding n <= 16 elements
HETCONV_INLINE Vec permute(const float* p, int n, const int32_t* index) {
  return _mm512_permutexvar_ps(_mm512_loadu_si512(index), load_first(p, n));
}
// lanes l -> p[l] for l < n, p[l - wrap] for the others
HETCONV_INLINE Vec wrap(const float* p, int n, int64_t wrap) {
  return _mm512_mask_loadu_ps(load_first(p, n), static_cast<__mmask16>(~first(n)), p - wrap);
}

#elif defined(__AVX2__) && defined(__FMA__)

using Vec = __m256;
constexpr int kLanes = 8, kRegisters = 16;

HETCONV_INLINE Vec zero() { return _mm256_setzero_ps(); }
HETCONV_INLINE Vec set1(float x) { return _mm256_set1_ps(x); }
HETCONV_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
HETCONV_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
HETCONV_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
HETCONV_INLINE Vec load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
HETCONV_INLINE void store_first(float* p, Vec v, int n) { _mm256_maskstore_ps(p, first(n), v); }
HETCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
HETCONV_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
HETCONV_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
HETCONV_INLINE Vec max_or_nan(Vec a, Vec b) {
  return _mm256_blendv_ps(max(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
HETCONV_INLINE Vec round(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
HETCONV_INLINE Vec power_of_two(Vec n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
HETCONV_INLINE Vec repeat2(const float* p) {
  double both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm256_castpd_ps(_mm256_set1_pd(both));
}
HETCONV_INLINE Vec repeat4(const float* p) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p), 1);
}
HETCONV_INLINE Vec load_bfloat16(const uint16_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
HETCONV_INLINE void store_bfloat16(uint16_t* p, Vec v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i half = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}
HETCONV_INLINE Vec permute(const float* p, int n, const int32_t* index) {
  return _mm256_permutevar8x32_ps(load_first(p, n), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)));
}
HETCONV_INLINE Vec wrap(const float* p, int n, int64_t wrap) {
  const __m256i head = first(n);
  return _mm256_blendv_ps(_mm256_maskload_ps(p - wrap, ~head), _mm256_maskload_ps(p, head), _mm256_castsi256_ps(head));
}

#else  // vectors of four: NEON's, or what the compiler makes of them

using hetconv::narrow;
using hetconv::widen;
using VecInt = int32_t __attribute__((vector_size(16)));
constexpr int kLanes = 4;

#if defined(HETCONV_NEON)
using Vec = float32x4_t;
constexpr int kRegisters = 32;
HETCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
HETCONV_INLINE Vec round(Vec a) { return vrndnq_f32(a); }
HETCONV_INLINE Vec load_bfloat16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
#else
using Vec = float __attribute__((vector_size(16)));
constexpr int kRegisters = 16;
HETCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
HETCONV_INLINE Vec round(Vec a) {  // to nearest for |a| < 2^22
  const Vec magic = Vec{} + 12582912.0f;
  return (a + magic) - magic;
}
HETCONV_INLINE Vec load_bfloat16(const uint16_t* p) { return Vec{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])}; }
#endif

HETCONV_INLINE Vec zero() { return Vec{}; }
HETCONV_INLINE Vec set1(float x) { return Vec{x, x, x, x}; }
HETCONV_INLINE Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
HETCONV_INLINE void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
HETCONV_INLINE Vec load_first(const float* p, int n) {
  Vec v{};
  for (int lane = 0; lane < n; ++lane) v[lane] = p[lane];
  return v;
}
HETCONV_INLINE void store_first(float* p, Vec v, int n) {
  for (int lane = 0; lane < n; ++lane) p[lane] = v[lane];
}
HETCONV_INLINE Vec min(Vec a, Vec b) { return b > a ? a : b; }
HETCONV_INLINE Vec max(Vec a, Vec b) { return b < a ? a : b; }
HETCONV_INLINE Vec max_or_nan(Vec a, Vec b) { return a != a ? a : max(a, b); }
HETCONV_INLINE Vec power_of_two(Vec n) {
  return reinterpret_cast<Vec>((__builtin_convertvector(n, VecInt) + 127) << 23);
}
HETCONV_INLINE Vec repeat2(const float* p) { return Vec{p[0], p[1], p[0], p[1]}; }
HETCONV_INLINE void store_bfloat16(uint16_t* p, Vec v) {
  for (int lane = 0; lane < kLanes; ++lane) p[lane] = narrow(v[lane]);
}
HETCONV_INLINE Vec permute(const float* p, int, const int32_t* index) {
  return Vec{p[index[0]], p[index[1]], p[index[2]], p[index[3]]};
}
HETCONV_INLINE Vec wrap(const float* p, int n, int64_t wrap) {
  Vec v;
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = lane < n ? p[lane] : p[lane - wrap];
  return v;
}

#endif

// The same of the first n lanes.
HETCONV_INLINE Vec load_first(const uint16_t* p, int n) {
  uint16_t all[kLanes] = {};
  __builtin_memcpy(all, p, static_cast<size_t>(n) * sizeof *p);
  return load_bfloat16(all);
}
HETCONV_INLINE void store_first(uint16_t* p, Vec v, int n) {
  uint16_t all[kLanes];
  store_bfloat16(all, v);
  __builtin_memcpy(p, all, static_cast<size_t>(n) * sizeof *p);
}
HETCONV_INLINE Vec load(const uint16_t* p) { return load_bfloat16(p); }
HETCONV_INLINE void store(uint16_t* p, Vec v) { store_bfloat16(p, v); }

}  // namespace
