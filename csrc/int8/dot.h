// Vectors of int32, and what adds to each the products of a quad of u8 and a quad of s8, per instruction set. None of
// them saturates on the way.
#pragma once

#include "../simd.h"

namespace {

#if defined(__AVX512F__)

using Int = __m512i;

HETCONV_INLINE Int load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
HETCONV_INLINE Int as_int(Vec v) { return _mm512_castps_si512(v); }
HETCONV_INLINE Vec to_float(Int v) { return _mm512_cvtepi32_ps(v); }
HETCONV_INLINE Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
HETCONV_INLINE Vec multiply(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
HETCONV_INLINE Vec plus(Vec a, Vec b) { return _mm512_add_ps(a, b); }

// Byte v of every quad.
template <int v>
HETCONV_INLINE Int byte_of_quads(const uint8_t* p) {
  return _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(p), 8 * v), _mm512_set1_epi32(255));
}

// Quads of the nearest integers of four vectors, plus `zero`, between `least` and `most`.
HETCONV_INLINE void store_quads(uint8_t* p, const Vec (&v)[4], int zero, int least, int most) {
  const auto pair = [&](Vec a, Vec b) {
    const Int narrow = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
    return _mm512_adds_epi16(narrow, _mm512_set1_epi16(static_cast<short>(zero)));
  };
  Int bytes = _mm512_packus_epi16(pair(v[0], v[1]), pair(v[2], v[3]));
  bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8(static_cast<char>(least)));
  bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(static_cast<char>(most)));
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(p, _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(order)));
}

#elif defined(__AVX2__)

using Int = __m256i;

HETCONV_INLINE Int load_int(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
HETCONV_INLINE Int as_int(Vec v) { return _mm256_castps_si256(v); }
HETCONV_INLINE Vec to_float(Int v) { return _mm256_cvtepi32_ps(v); }
HETCONV_INLINE Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
HETCONV_INLINE Vec multiply(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
HETCONV_INLINE Vec plus(Vec a, Vec b) { return _mm256_add_ps(a, b); }

template <int v>
HETCONV_INLINE Int byte_of_quads(const uint8_t* p) {
  const Int quads = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_and_si256(_mm256_srli_epi32(quads, 8 * v), _mm256_set1_epi32(255));
}

HETCONV_INLINE void store_quads(uint8_t* p, const Vec (&v)[4], int zero, int least, int most) {
  const auto pair = [&](Vec a, Vec b) {
    const Int narrow = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
    return _mm256_adds_epi16(narrow, _mm256_set1_epi16(static_cast<short>(zero)));
  };
  Int bytes = _mm256_packus_epi16(pair(v[0], v[1]), pair(v[2], v[3]));
  bytes = _mm256_max_epu8(bytes, _mm256_set1_epi8(static_cast<char>(least)));
  bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(static_cast<char>(most)));
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  bytes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
}

#elif defined(HETCONV_NEON)

using Int = int32x4_t;

HETCONV_INLINE Int load_int(const int32_t* p) { return vld1q_s32(p); }
HETCONV_INLINE Int as_int(Vec v) { return vreinterpretq_s32_f32(v); }
HETCONV_INLINE Vec to_float(Int v) { return vcvtq_f32_s32(v); }
HETCONV_INLINE Int add(Int a, Int b) { return vaddq_s32(a, b); }
HETCONV_INLINE Vec multiply(Vec a, Vec b) { return vmulq_f32(a, b); }
HETCONV_INLINE Vec plus(Vec a, Vec b) { return vaddq_f32(a, b); }

template <int v>
HETCONV_INLINE Int byte_of_quads(const uint8_t* p) {
  const uint32x4_t quads = vreinterpretq_u32_u8(vld1q_u8(p));
  return vreinterpretq_s32_u32(vandq_u32(quads >> (8 * v), vdupq_n_u32(255)));
}

HETCONV_INLINE void store_quads(uint8_t* p, const Vec (&v)[4], int zero, int least, int most) {
  const auto pair = [&](Vec a, Vec b) {
    const int16x8_t narrow = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(a)), vcvtnq_s32_f32(b));
    return vqaddq_s16(narrow, vdupq_n_s16(static_cast<short>(zero)));
  };
  uint8x16_t bytes = vqmovun_high_s16(vqmovun_s16(pair(v[0], v[1])), pair(v[2], v[3]));
  bytes = vmaxq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(least)));
  bytes = vminq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(most)));
  const uint8x16_t order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  vst1q_u8(p, vqtbl1q_u8(bytes, order));
}

#else

using Int = int32_t __attribute__((vector_size(16)));

HETCONV_INLINE Int load_int(const int32_t* p) {
  Int v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
HETCONV_INLINE Int as_int(Vec v) { return reinterpret_cast<Int>(v); }
HETCONV_INLINE Vec to_float(Int v) { return __builtin_convertvector(v, Vec); }
HETCONV_INLINE Int add(Int a, Int b) { return a + b; }
HETCONV_INLINE Vec multiply(Vec a, Vec b) { return a * b; }
HETCONV_INLINE Vec plus(Vec a, Vec b) { return a + b; }

template <int v>
HETCONV_INLINE Int byte_of_quads(const uint8_t* p) {
  return Int{p[v], p[4 + v], p[8 + v], p[12 + v]};
}

HETCONV_INLINE void store_quads(uint8_t* p, const Vec (&v)[4], int zero, int least, int most) {
  for (int byte = 0; byte < 4; ++byte) {
    // `round` takes numbers of up to 22 bits; what is larger is clamped anyhow
    const Vec near = round(min(set1(65536.0f), max(set1(-65536.0f), v[byte])));
    const Int number = __builtin_convertvector(near, Int) + zero;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int32_t value = number[lane] < least ? least : number[lane];
      p[4 * lane + byte] = static_cast<uint8_t>(value > most ? most : value);
    }
  }
}

#endif

#if defined(__AVX512VNNI__)

constexpr int kWords = 1, kOffset = 0;

struct Quads {
  Int all;
};
using Weight = Int;

HETCONV_INLINE Quads quads_of(Int x) { return {x}; }
HETCONV_INLINE Weight load_weight(const float* p) { return _mm512_loadu_si512(p); }
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) { return _mm512_dpbusd_epi32(sum, x.all, w); }

#elif defined(__AVXVNNI__)

constexpr int kWords = 1, kOffset = 0;

struct Quads {
  Int all;
};
using Weight = Int;

HETCONV_INLINE Quads quads_of(Int x) { return {x}; }
HETCONV_INLINE Weight load_weight(const float* p) { return as_int(load(p)); }
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) { return _mm256_dpbusd_avx_epi32(sum, x.all, w); }

#elif defined(__AVX2__)

// Products of 16 bits: a pair of u8 × s8 can exceed 16 bits, so maddubs would saturate. Weights are widened when they
// are packed, a quad's first and third to one vector, its second and fourth to another.
constexpr int kWords = 2, kOffset = 0;

struct Quads {
  Int even, odd;
};
struct Weight {
  Int even, odd;
};

#if defined(__AVX512F__)
HETCONV_INLINE Quads quads_of(Int x) {
  return {_mm512_and_si512(x, _mm512_set1_epi32(0x00ff00ff)), _mm512_srli_epi16(x, 8)};
}
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) {
  return add(sum, add(_mm512_madd_epi16(x.even, w.even), _mm512_madd_epi16(x.odd, w.odd)));
}
#else
HETCONV_INLINE Quads quads_of(Int x) {
  return {_mm256_and_si256(x, _mm256_set1_epi32(0x00ff00ff)), _mm256_srli_epi16(x, 8)};
}
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) {
  return add(sum, add(_mm256_madd_epi16(x.even, w.even), _mm256_madd_epi16(x.odd, w.odd)));
}
#endif
HETCONV_INLINE Weight load_weight(const float* p) { return {as_int(load(p)), as_int(load(p + kLanes))}; }

#elif defined(__ARM_FEATURE_MATMUL_INT8)

constexpr int kWords = 1, kOffset = 0;

struct Quads {
  uint8x16_t all;
};
using Weight = int8x16_t;

HETCONV_INLINE Quads quads_of(Int x) { return {vreinterpretq_u8_s32(x)}; }
HETCONV_INLINE Weight load_weight(const float* p) { return vreinterpretq_s8_f32(load(p)); }
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) { return vusdotq_s32(sum, x.all, w); }

#elif defined(HETCONV_NEON)

// Products of s8 × s8 only: u8 less 128.
constexpr int kWords = 1, kOffset = 128;

struct Quads {
  int8x16_t all;
};
using Weight = int8x16_t;

#if defined(__ARM_FEATURE_DOTPROD)
HETCONV_INLINE int8x16_t in_order(int8x16_t quads) { return quads; }
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) { return vdotq_s32(sum, x.all, w); }
#else
// The first two of all quads, then their last two: a pair of products goes to the sum of its quad. One product of
// 16 bits cannot overflow; two can.
HETCONV_INLINE int8x16_t in_order(int8x16_t quads) {
  return vqtbl1q_s8(quads, uint8x16_t{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15});
}
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) {
  sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x.all), vget_low_s8(w)));
  return vpadalq_s16(sum, vmull_high_s8(x.all, w));
}
#endif

HETCONV_INLINE Quads quads_of(Int x) {
  return {in_order(vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_s32(x), vdupq_n_u8(kOffset))))};
}
HETCONV_INLINE Weight load_weight(const float* p) { return in_order(vreinterpretq_s8_f32(load(p))); }

#else

constexpr int kWords = 1, kOffset = 0;

struct Quads {
  Int all;
};
using Weight = Int;

HETCONV_INLINE Quads quads_of(Int x) { return {x}; }
HETCONV_INLINE Weight load_weight(const float* p) { return as_int(load(p)); }
HETCONV_INLINE Int dot(Int sum, Quads x, Weight w) {
  for (int byte = 0; byte < 4; ++byte) sum += ((x.all >> (8 * byte)) & 255) * ((w << (24 - 8 * byte)) >> 24);
  return sum;
}

#endif

}  // namespace
