// The kernels of bfloat16 on AMX. No standard library here, for the reason that ../kernels.cpp tells.
#include "kernels.h"

#include "../amx/products.h"
#include "../simd.h"
#include "../transpose.h"

namespace hetconv {
namespace {

using Int = __m512i;

HETCONV_INLINE Int load_words(const void* from) { return _mm512_loadu_si512(from); }

// Element i of the result is element index(i) of a vector of 32, or of two.
struct alignas(64) Order {
  uint16_t at[32];

  template <class Index>
  constexpr explicit Order(const Index& index) : at{} {
    for (int i = 0; i < 32; ++i) at[i] = static_cast<uint16_t>(index(i));
  }
  HETCONV_INLINE Int vector() const { return _mm512_load_si512(at); }
};

constexpr int residue_first(int i, int p) { return i % (32 / p) * p + i / (32 / p); }  // the i-th, sorted

// ---- the convolution's outputs

struct alignas(64) WordOrder {
  int32_t at[16];

  constexpr explicit WordOrder(int first) : at{} {
    for (int i = 0; i < 16; ++i) at[i] = (first + i) % 2 * 16 + (first + i) / 2;
  }
};

constexpr WordOrder kLowerHalves(0), kUpperHalves(16);  // of two vectors, alternating
constexpr Order kAlternate([](int i) { return i % 2 * 16 + i / 2; });

// Two filters next to one another in each word: of residues 2·j and 2·j + 1.
HETCONV_INLINE Int two_residues(const float* sums) {
  constexpr int64_t next = kAmxPixelTiles * kAmxSums;
  const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_load_ps(sums + next), _mm512_load_ps(sums));
  return _mm512_permutexvar_epi16(kAlternate.vector(), reinterpret_cast<Int>(both));
}

// The sums of 16 filters of each residue at one pixel, rounded, in the order of filters.
template <int p>
HETCONV_INLINE void store_filters(const float* sums, uint16_t* to, int64_t filters) {
  constexpr int64_t next = kAmxPixelTiles * kAmxSums;
  if constexpr (p == 1) {
    const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_load_ps(sums));
    const auto some = static_cast<__mmask16>(filters >= 16 ? 0xffff : (1 << filters) - 1);
    _mm256_mask_storeu_epi16(to, some, reinterpret_cast<__m256i>(narrow));
  } else {
    constexpr int vectors = p / 2;
    Int v[vectors], t[vectors];
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) v[j] = two_residues(sums + 2 * j * next);
#pragma GCC unroll 4
    for (int done = 1; done < vectors; done *= 2) {
#pragma GCC unroll 8
      for (int j = 0; j < vectors / 2; ++j) {
        const Int a = v[j], b = v[j + vectors / 2];
        t[2 * j] = _mm512_permutex2var_epi32(a, _mm512_load_si512(kLowerHalves.at), b);
        t[2 * j + 1] = _mm512_permutex2var_epi32(a, _mm512_load_si512(kUpperHalves.at), b);
      }
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) v[j] = t[j];
    }
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j, filters -= 32) {
      if (filters >= 32) {
        _mm512_storeu_si512(to + j * 32, v[j]);
      } else if (filters > 0) {
        _mm512_mask_storeu_epi16(to + j * 32, (1u << filters) - 1, v[j]);
      }
    }
  }
}

// The sums of the group's filters at `count` tiles of pixels, to the output.
template <int p>
HETCONV_INLINE void store_sums(const Bfloat16Work& work, const AmxPixels* tiles, int64_t count) {
  for (int64_t tile = 0; tile < count; ++tile) {
    const float* sums = static_cast<const float*>(work.sums) + tile * kAmxSums;
    for (int64_t row = 0; row < work.rows; ++row, sums += kAmxFilters) {
      const int64_t output = tiles[tile].output[row];
      if (output < 0) continue;
      for (int64_t first = 0, filter = work.filter; first < work.tiles; first += p, filter += p * kAmxFilters) {
        store_filters<p>(sums + first * kAmxPixelTiles * kAmxSums, work.output + output + filter,
                         work.filters - filter);
      }
    }
  }
}

template <int p>
void convolve(const Bfloat16Work& work) {
  if (work.count == 0) return;
  set_amx_shape(work.rows, work.spatial_bytes, work.pointwise_bytes);
  const bool squares = work.tiles == 2 * p;
  const int64_t most = squares ? 2 : kAmxPixelTiles;
  const auto nothing = [](int64_t) {};
  for (int64_t i = 0; i < work.count; i += most) {
    const int64_t count = work.count - i < most ? work.count - i : most;
    const AmxPixels* const tiles = work.pixels + i;
    if (!squares) {
      multiply_amx<AmxDot::bfloat16>(work, work.bias, tiles, count, p, nothing);
    } else {
      for (int64_t r = 0; r < p; ++r) {
        count == 1 ? multiply_amx_square<AmxDot::bfloat16, 1>(work, work.bias, tiles, r, p)
                   : multiply_amx_square<AmxDot::bfloat16, 2>(work, work.bias, tiles, r, p);
      }
    }
    store_sums<p>(work, tiles, count);
  }
  _tile_release();
}

void convolve(const Bfloat16Work& work) {
  switch (work.p) {
    case 1:
      return convolve<1>(work);
    case 2:
      return convolve<2>(work);
    case 4:
      return convolve<4>(work);
    case 8:
      return convolve<8>(work);
    default:
      return convolve<16>(work);
  }
}

// ---- the strip, sorted

template <int p>
void sort(const Bfloat16Strip& strip, uint16_t* to, int64_t residue, int64_t image) {
  constexpr int64_t part = 32 / p;  // channels of a vector that have one residue
  static constexpr Order order([](int i) { return residue_first(i, p); });
  const Int sorted = order.vector();
  const int64_t own = strip.channels / p;
  const uint16_t* from = strip.data;
  for (int64_t i = 0; i < strip.pixels; ++i, from += strip.pixel, to += residue) {
    for (int64_t channel = 0; channel < strip.channels; channel += 32) {
      alignas(64) uint16_t parts[32];
      _mm512_store_si512(parts, _mm512_permutexvar_epi16(sorted, load_words(from + channel)));
#pragma GCC unroll 16
      for (int r = 0; r < p; ++r) {
        __builtin_memcpy(to + r * image + channel / p, parts + r * part, part * sizeof(uint16_t));
      }
    }
    if (own != residue) {
      for (int r = 0; r < p; ++r) to[r * image + own] = 0;
    }
  }
}

void sort(const Bfloat16Strip& strip, uint16_t* to, int64_t residue, int64_t image) {
  switch (strip.p) {
    case 2:
      return sort<2>(strip, to, residue, image);
    case 4:
      return sort<4>(strip, to, residue, image);
    case 8:
      return sort<8>(strip, to, residue, image);
    default:
      return sort<16>(strip, to, residue, image);
  }
}

// ---- the weight gradient's operands

// Sixteen pixels × 32 channels: then each vector has two channels of all pixels.
HETCONV_INLINE void turn_pixels(const uint16_t* from, int64_t pixel, Vec (&turned)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) turned[i] = _mm512_loadu_ps(from + i * pixel);
  turn(turned);
}

constexpr Order kEven([](int i) { return i * 2; }), kOdd([](int i) { return i * 2 + 1; });

void planes(const Bfloat16Strip& strip, uint16_t* to, int64_t plane) {
  const int64_t own = strip.channels / strip.p;
  const auto plane_of = [&](int64_t channel) { return to + (channel % strip.p * own + channel / strip.p) * plane; };
  const Int even = kEven.vector(), odd = kOdd.vector();
  for (int64_t i = 0; i < strip.pixels; i += 32) {
    for (int64_t first = 0; first < strip.channels; first += 32) {
      const uint16_t* const from = strip.data + i * strip.pixel + first;
      Vec lower[16], upper[16];
      turn_pixels(from, strip.pixel, lower);
      turn_pixels(from + 16 * strip.pixel, strip.pixel, upper);
      const int64_t count = strip.channels - first < 32 ? strip.channels - first : 32;  // an even number
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
        if (2 * j >= count) break;
        const Int a = _mm512_castps_si512(lower[j]), b = _mm512_castps_si512(upper[j]);
        _mm512_storeu_si512(plane_of(first + 2 * j) + i, _mm512_permutex2var_epi16(a, even, b));
        _mm512_storeu_si512(plane_of(first + 2 * j + 1) + i, _mm512_permutex2var_epi16(a, odd, b));
      }
    }
  }
}

// Of two pixels the i-th pair of channels, sorted: element 2·i is of the first pixel, 2·i + 1 of the second.
template <int p>
constexpr Order pair_order(int first) {
  return Order([=](int i) { return i % 2 * 32 + residue_first(first + i / 2, p); });
}

template <int p>
void pairs(const Bfloat16Strip& strip, uint16_t* to, int64_t tile, int64_t residue) {
  constexpr int64_t part = 32 / p;  // channels of a vector that have one residue; of one tile for p > 1
  static constexpr Order lower = pair_order<p>(0), upper = pair_order<p>(16);
  const Int first = lower.vector(), second = upper.vector();
  for (int64_t i = 0; i < strip.pixels; i += 2, to += 32) {
    const uint16_t* const from = strip.data + i * strip.pixel;
    for (int64_t channel = 0; channel < strip.channels; channel += 32) {
      const Int a = load_words(from + channel), b = load_words(from + strip.pixel + channel);
      alignas(64) uint16_t parts[64];
      _mm512_store_si512(parts, _mm512_permutex2var_epi16(a, first, b));
      _mm512_store_si512(parts + 32, _mm512_permutex2var_epi16(a, second, b));
      if constexpr (p == 1) {
        __builtin_memcpy(to + channel / 16 * tile, parts, 64);
        __builtin_memcpy(to + (channel / 16 + 1) * tile, parts + 32, 64);
      } else {
        const int64_t place = channel / p;  // among the residue's filters
#pragma GCC unroll 16
        for (int r = 0; r < p; ++r) {
          __builtin_memcpy(to + r * residue + place / 16 * tile + place % 16 * 2, parts + r * part * 2,
                           part * 2 * sizeof(uint16_t));
        }
      }
    }
  }
}

void pairs(const Bfloat16Strip& strip, uint16_t* to, int64_t tile, int64_t residue) {
  switch (strip.p) {
    case 1:
      return pairs<1>(strip, to, tile, residue);
    case 2:
      return pairs<2>(strip, to, tile, residue);
    case 4:
      return pairs<4>(strip, to, tile, residue);
    case 8:
      return pairs<8>(strip, to, tile, residue);
    default:
      return pairs<16>(strip, to, tile, residue);
  }
}

// ---- the weight gradient's products

template <int channels, int filters>
void outer(const Bfloat16Outer& work) {
  const auto dot = AmxDot::bfloat16;
  if (work.first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, work.sums[0][0], 64);
    if constexpr (filters == 2) _tile_loadd(1, work.sums[0][1], 64);
    if constexpr (channels == 2) _tile_loadd(2, work.sums[1][0], 64);
    if constexpr (channels == 2 && filters == 2) _tile_loadd(3, work.sums[1][1], 64);
  }
  const int64_t plane = work.plane * 2;
  for (int64_t i = 0; i < work.pixels; i += 32) {
    _tile_loadd(6, work.grad_y[0] + i * 16, 64);
    _tile_loadd(4, work.x[0] + i, plane);
    dot_tiles<dot, 0, 4, 6>();
    if constexpr (filters == 2) {
      _tile_loadd(7, work.grad_y[1] + i * 16, 64);
      dot_tiles<dot, 1, 4, 7>();
    }
    if constexpr (channels == 2) {
      _tile_loadd(5, work.x[1] + i, plane);
      dot_tiles<dot, 2, 5, 6>();
      if constexpr (filters == 2) dot_tiles<dot, 3, 5, 7>();
    }
  }
  _tile_stored(0, work.sums[0][0], 64);
  if constexpr (filters == 2) _tile_stored(1, work.sums[0][1], 64);
  if constexpr (channels == 2) _tile_stored(2, work.sums[1][0], 64);
  if constexpr (channels == 2 && filters == 2) _tile_stored(3, work.sums[1][1], 64);
}

void outer(const Bfloat16Outer& work, int channels, int filters) {
  if (channels == 2) {
    filters == 2 ? outer<2, 2>(work) : outer<2, 1>(work);
  } else {
    filters == 2 ? outer<1, 2>(work) : outer<1, 1>(work);
  }
}

void begin_outer() { set_amx_shape(kAmxRows, kAmxBytes, kAmxBytes); }

void end_outer() { _tile_release(); }

}  // namespace

constexpr Bfloat16Kernels bfloat16_kernels_avx512_amx = {&convolve,    &sort,  &planes,   &pairs,
                                                         &begin_outer, &outer, &end_outer};

}  // namespace hetconv
