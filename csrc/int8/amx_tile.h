// What is done to sums of 8-bit products in AMX registers: they are stored as every other kernel does.
#pragma once

#if defined(__AMX_INT8__)

#include "../amx/products.h"
#include "dot.h"
#include "kernels.h"

namespace hetconv {
namespace {

// Asks for the next group's weights while this one's are multiplied, evenly: so many lines for each of its tiles.
struct AmxFetch {
  const char* next;  // null where there is nothing to ask for
  int64_t lines;

  HETCONV_INLINE void operator()(int64_t count) {
    if (next == nullptr) return;
    for (int64_t line = 0; line < count * lines; ++line) __builtin_prefetch(next + line * 64, 0, 2);
    next += count * lines * 64;
  }
};

// Where the filters of a block are in the sums of the group's tiles: four vectors, position 16·q + lane is lane `lane`
// of vector q. Of P = 8 and 16 a tile's filters are of 2 and 4 blocks, and a vector is made of as many tiles.
struct AmxOrder {
  int32_t filters[64] = {};     // the filter of a position
  uint8_t to_bytes[64] = {};    // of the output: the position that is there, as the vectors are narrowed
  uint8_t from_bytes[64] = {};  // where in the output a position is

  constexpr explicit AmxOrder(int p) {
    for (int position = 0; position < 64; ++position) {
      const int q = position / 16, lane = position % 16, lanes = p == 16 ? 4 : p == 8 ? 8 : 16;  // of a tile
      const int tile = q * (16 / lanes) + lane / lanes;
      const int filter = (tile / p * 16 + lane % lanes) * p + tile % p, byte = filter % 16 * 4 + filter / 16;
      filters[position] = filter;
      to_bytes[byte] = static_cast<uint8_t>(lane / 4 * 16 + q * 4 + lane % 4);
      from_bytes[position] = static_cast<uint8_t>(byte);
    }
  }
};

constexpr AmxOrder kAmxOrders[] = {AmxOrder(1), AmxOrder(2), AmxOrder(4), AmxOrder(8), AmxOrder(16)};  // of P = 2^i

// Of a group of filters: what its tiles' sums start with, and scales by position.
struct AmxEpilogue {
  alignas(64) int32_t start[16][16];
  alignas(64) float scale[4][64];
  const AmxOrder& order;

  explicit AmxEpilogue(const Int8AmxWork& work) : order(kAmxOrders[__builtin_ctzll(static_cast<uint64_t>(work.p))]) {
    for (int64_t block = 0; block < work.blocks; ++block) {
      const int64_t first = work.filter + block * 64;
      for (int position = 0; position < 64; position += 16) {
        const Int filters = _mm512_loadu_si512(order.filters + position);
        _mm512_store_ps(scale[block] + position, _mm512_i32gather_ps(filters, work.epilogue->scale + first, 4));
      }
    }
    const int p = static_cast<int>(work.p);
    for (int tile = 0; tile < (p <= 4 ? 4 : p); ++tile) {
      for (int lane = 0; lane < 16; ++lane) {
        const int filter = (tile / p * 16 + lane) * p + tile % p;
        start[tile][lane] = filter < work.blocks * 64 ? work.epilogue->start[work.filter + filter] : 0;
      }
    }
  }
};

// `parts` tiles give a vector, which are `kAmxPixelTiles` tiles of sums apart.
template <int parts>
HETCONV_INLINE Int sums_of(const int32_t* sums, int64_t block) {
  constexpr int64_t next = kAmxPixelTiles * kAmxSums;
  if constexpr (parts == 1) {
    return _mm512_load_si512(sums);
  } else if constexpr (parts == 2) {
    const auto half = [&](int64_t i) {
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + i * next + block * 8));
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
  } else {
    const auto quarter = [&](int64_t i) {
      return _mm_load_si128(reinterpret_cast<const __m128i*>(sums + i * next + block * 4));
    };
    Int all = _mm512_castsi128_si512(quarter(0));
    all = _mm512_inserti32x4(all, quarter(1), 1);
    all = _mm512_inserti32x4(all, quarter(2), 2);
    return _mm512_inserti32x4(all, quarter(3), 3);
  }
}

// What is done to a block of filters' sums. Its vectors are read once: a store through a pointer to bytes could change
// whatever is in memory, as far as the compiler knows.
template <int parts, Int8Output to, bool with_residual>
class AmxBlock {
 public:
  HETCONV_INLINE AmxBlock(const Int8AmxWork& work, const AmxEpilogue& group, int64_t block)
      : block_(block), residual_(work.epilogue->residual), output_(work.output), order_(group.order) {
    const Int8Epilogue& epilogue = *work.epilogue;
    for (int q = 0; q < 4; ++q) scale_[q] = _mm512_load_ps(group.scale[block] + q * 16);
    const int64_t filter = work.filter + block * 64;
    residual_ += with_residual ? filter : 0;
    output_ = static_cast<char*>(output_) + filter * (to == Int8Output::uint8 ? 1 : 4);
    residual_scale_ = set1(epilogue.residual_scale);
    residual_zero_ = _mm512_set1_epi32(-epilogue.residual_zero);
    from_bytes_ = _mm512_loadu_si512(group.order.from_bytes);
    if constexpr (to == Int8Output::uint8) {
      zero_ = _mm512_set1_epi16(static_cast<short>(epilogue.zero));
      least_ = _mm512_set1_epi8(static_cast<char>(static_cast<int>(epilogue.least)));
      most_ = _mm512_set1_epi8(static_cast<char>(static_cast<int>(epilogue.most)));
      to_bytes_ = _mm512_loadu_si512(group.order.to_bytes);
    } else {
      least_real_ = set1(epilogue.least), most_real_ = set1(epilogue.most);
    }
  }

  // At one pixel; `sums` are its row of the first tile.
  HETCONV_INLINE void finish(const int32_t* sums, int64_t output) const {
    Vec real[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      real[q] = multiply(to_float(sums_of<parts>(sums + q * parts * kAmxPixelTiles * kAmxSums, block_)), scale_[q]);
    }
    if constexpr (with_residual) {
      const Int bytes = _mm512_permutexvar_epi8(from_bytes_, _mm512_loadu_si512(residual_ + output));
      real[0] = plus_residual(real[0], _mm512_castsi512_si128(bytes));
      real[1] = plus_residual(real[1], _mm512_extracti32x4_epi32(bytes, 1));
      real[2] = plus_residual(real[2], _mm512_extracti32x4_epi32(bytes, 2));
      real[3] = plus_residual(real[3], _mm512_extracti32x4_epi32(bytes, 3));
    }
    if constexpr (to == Int8Output::uint8) {
      Int bytes = _mm512_packus_epi16(narrow(real[0], real[1]), narrow(real[2], real[3]));
      bytes = _mm512_min_epu8(most_, _mm512_max_epu8(least_, bytes));
      _mm512_storeu_si512(static_cast<uint8_t*>(output_) + output, _mm512_permutexvar_epi8(to_bytes_, bytes));
    } else {
      float* const y = static_cast<float*>(output_) + output;
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const Int filters = _mm512_loadu_si512(order_.filters + q * 16);
        _mm512_i32scatter_ps(y, filters, min(most_real_, max(least_real_, real[q])), 4);
      }
    }
  }

 private:
  HETCONV_INLINE Vec plus_residual(Vec v, __m128i bytes) const {
    return plus(v, multiply(to_float(add(_mm512_cvtepu8_epi32(bytes), residual_zero_)), residual_scale_));
  }
  HETCONV_INLINE Int narrow(Vec a, Vec b) const {
    return _mm512_adds_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b)), zero_);
  }

  int64_t block_;
  const uint8_t* residual_;
  void* output_;
  const AmxOrder& order_;
  Vec scale_[4], residual_scale_, least_real_, most_real_;
  Int residual_zero_, from_bytes_, zero_, least_, most_, to_bytes_;
};

template <int parts, Int8Output to, bool with_residual>
void finish_amx(const Int8AmxWork& work, const AmxEpilogue& group, const AmxPixels* tiles, int64_t count) {
  for (int64_t block = 0; block < work.blocks; ++block) {
    const AmxBlock<parts, to, with_residual> of_block(work, group, block);
    for (int64_t tile = 0; tile < count; ++tile) {
      const int32_t* sums = static_cast<const int32_t*>(work.sums) + tile * kAmxSums;
      for (int64_t row = 0; row < work.rows; ++row, sums += kAmxFilters) {
        const int64_t output = tiles[tile].output[row];
        if (output >= 0) of_block.finish(sums, output);
      }
    }
  }
}

template <int parts, Int8Output to>
void amx_tiles(const Int8AmxWork& work) {
  if (work.count == 0) return;
  const AmxEpilogue group(work);
  const int64_t group_tiles = work.p <= 4 ? 4 : work.p;
  set_amx_shape(work.rows, work.spatial_bytes, work.pointwise_bytes);
  const int64_t passes = (work.count + kAmxPixelTiles - 1) / kAmxPixelTiles;
  AmxFetch fetch{work.next_weights, (kAmxTile / 64 + passes - 1) / passes};
  for (int64_t i = 0; i < work.count; i += kAmxPixelTiles) {
    const int64_t count = work.count - i < kAmxPixelTiles ? work.count - i : kAmxPixelTiles;
    const AmxPixels* const tiles = work.pixels + i;
    multiply_amx<AmxDot::uint8_int8>(work, group.start, tiles, count, group_tiles, fetch);
    work.epilogue->residual == nullptr ? finish_amx<parts, to, false>(work, group, tiles, count)
                                       : finish_amx<parts, to, true>(work, group, tiles, count);
  }
  _tile_release();
}

template <int parts>
void amx_tiles(const Int8AmxWork& work) {
  work.type == Int8Output::uint8 ? amx_tiles<parts, Int8Output::uint8>(work)
                                 : amx_tiles<parts, Int8Output::float32>(work);
}

void amx_tiles(const Int8AmxWork& work) {
  work.p <= 4 ? amx_tiles<1>(work) : work.p == 8 ? amx_tiles<2>(work) : amx_tiles<4>(work);
}

template <int p>
HETCONV_INLINE void amx_deal(const uint8_t* from, int64_t from_pixel, int64_t pixels, int64_t blocks, uint8_t* to,
                             int64_t to_pixel, int64_t residue) {
  constexpr int64_t part = 64 / p;  // bytes of a block that are of one residue
  alignas(64) int32_t order[16];
  for (int i = 0; i < 16; ++i) order[i] = i % (16 / p) * p + i / (16 / p);
  const Int residues_in_turn = _mm512_load_si512(order);
  for (; pixels > 0; --pixels, from += from_pixel, to += to_pixel) {
    for (int64_t block = 0; block < blocks; ++block) {
      alignas(64) uint8_t dealt[64];
      _mm512_store_si512(dealt, _mm512_permutexvar_epi32(residues_in_turn, _mm512_loadu_si512(from + block * 64)));
#pragma GCC unroll 16
      for (int r = 0; r < p; ++r) __builtin_memcpy(to + r * residue + block * part, dealt + r * part, part);
    }
  }
}

void amx_deal(const uint8_t* from, int64_t from_pixel, int64_t pixels, int64_t blocks, int64_t p, uint8_t* to,
              int64_t to_pixel, int64_t residue) {
  switch (p) {
    case 2:
      return amx_deal<2>(from, from_pixel, pixels, blocks, to, to_pixel, residue);
    case 4:
      return amx_deal<4>(from, from_pixel, pixels, blocks, to, to_pixel, residue);
    case 8:
      return amx_deal<8>(from, from_pixel, pixels, blocks, to, to_pixel, residue);
    default:
      return amx_deal<16>(from, from_pixel, pixels, blocks, to, to_pixel, residue);
  }
}

int64_t amx_multiply_adds(int64_t rounds) {
  set_amx_shape(16, kAmxBytes, kAmxBytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 5, 6);
    _tile_dpbusd(2, 4, 7);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return rounds * 4 * kAmxRows * kAmxFilters * kAmxBytes;
}

}  // namespace
}  // namespace hetconv

#endif
