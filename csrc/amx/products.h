// Products in AMX registers, of 8 bits or of bfloat16: sums of 16 pixels × 16 filters, added up there and then stored.
#pragma once

#if defined(__AMX_TILE__)

#include "../simd.h"
#include "work.h"

namespace hetconv {
namespace {

struct alignas(64) AmxShape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};

  void set() const {
    asm volatile("" : : "r"(this) : "memory");  // GCC 12's intrinsic says that it reads 8 bytes of the 64
    _tile_loadconfig(this);
  }
};

// Registers 0 to 3 are sums; 4 and 6 pixels and weights of spatial chunks, 5 and 7 of pointwise ones.
void set_amx_shape(int64_t pixel_rows, int64_t spatial_bytes, int64_t pointwise_bytes) {
  AmxShape shape;
  for (int i = 0; i < 6; ++i) shape.rows[i] = static_cast<uint8_t>(pixel_rows);
  shape.bytes[4] = static_cast<uint16_t>(spatial_bytes);
  shape.bytes[5] = static_cast<uint16_t>(pointwise_bytes);
  shape.rows[6] = static_cast<uint8_t>(spatial_bytes / 4);
  shape.rows[7] = static_cast<uint8_t>(pointwise_bytes / 4);
  shape.set();
}

enum class AmxDot { uint8_int8, bfloat16 };

// The registers' numbers must be written in the source.
template <AmxDot dot, int sum, int a, int b>
HETCONV_INLINE void dot_tiles() {
  static_assert(sum < 4 && (a == 4 || a == 5) && (b == 6 || b == 7));
#define HETCONV_AMX_DOT(intrinsic, s)                   \
  if constexpr (sum == s) {                             \
    if constexpr (a == 4 && b == 6) intrinsic(s, 4, 6); \
    if constexpr (a == 4 && b == 7) intrinsic(s, 4, 7); \
    if constexpr (a == 5 && b == 6) intrinsic(s, 5, 6); \
    if constexpr (a == 5 && b == 7) intrinsic(s, 5, 7); \
  }
#define HETCONV_AMX_DOTS(intrinsic) \
  HETCONV_AMX_DOT(intrinsic, 0)     \
  HETCONV_AMX_DOT(intrinsic, 1)     \
  HETCONV_AMX_DOT(intrinsic, 2)     \
  HETCONV_AMX_DOT(intrinsic, 3)
  if constexpr (dot == AmxDot::uint8_int8) {
    HETCONV_AMX_DOTS(_tile_dpbusd)
  } else {
    HETCONV_AMX_DOTS(_tile_dpbf16ps)
  }
#undef HETCONV_AMX_DOTS
#undef HETCONV_AMX_DOT
}

template <int sum>
HETCONV_INLINE void start_sum(const void* start) {  // of every pixel alike
  if constexpr (sum == 0) _tile_loadd(0, start, 0);
  if constexpr (sum == 1) _tile_loadd(1, start, 0);
  if constexpr (sum == 2) _tile_loadd(2, start, 0);
  if constexpr (sum == 3) _tile_loadd(3, start, 0);
}

template <int sum>
HETCONV_INLINE void store_sum(void* to) {
  if constexpr (sum == 0) _tile_stored(0, to, 64);
  if constexpr (sum == 1) _tile_stored(1, to, 64);
  if constexpr (sum == 2) _tile_stored(2, to, 64);
  if constexpr (sum == 3) _tile_stored(3, to, 64);
}

template <bool spatial>
HETCONV_INLINE void load_weights(const char* weights) {
  if constexpr (spatial) {
    _tile_loadd(6, weights, 64);
  } else {
    _tile_loadd(7, weights, 64);
  }
}

template <AmxDot dot, bool spatial, int sum>
HETCONV_INLINE void add_product(const uint8_t* x, int64_t step) {
  if constexpr (spatial) {
    _tile_loadd(4, x, step);
    dot_tiles<dot, sum, 4, 6>();
  } else {
    _tile_loadd(5, x, step);
    dot_tiles<dot, sum, 5, 7>();
  }
}

// `pixels` tiles of pixels × `filters` tiles of filters, at most four products: each adds chunks to its sums. What else
// is to be done meanwhile, `fetch` is called for, with the number of tiles of weights that were used.
template <AmxDot dot, int pixels, int filters, class Fetch>
struct AmxProducts {
  const AmxWork& work;
  const AmxPixels* tiles;
  Fetch& fetch;
  const int64_t chunks = work.chunks();

  // Of the group's tiles from the `first` one on; `start` has 16 numbers for each, which its sums start with.
  void run(const void* start, int64_t first) const {
    const char* const starts = static_cast<const char*>(start) + first * 64;
    char* const sums = static_cast<char*>(work.sums) + first * kAmxPixelTiles * kAmxSums * 4;
    const char* const weights = work.weights + first * chunks * kAmxTile;
    each([&]<int f, int i>() { start_sum<f * pixels + i>(starts + f * 64); });
    const uint8_t* x[filters][pixels];
    for (int f = 0; f < filters; ++f) {
      const uint8_t* const residue = work.spatial + (first + f) % work.p * work.residue;
      for (int i = 0; i < pixels; ++i) x[f][i] = residue + tiles[i].input * work.spatial_pixel;
    }
    add<true>(x, work.step * work.spatial_pixel, weights, work.at, work.spatial_chunks);
    for (int f = 0; f < filters; ++f) {
      for (int i = 0; i < pixels; ++i) x[f][i] = work.pointwise + tiles[i].input * work.pointwise_pixel;
    }
    add<false>(x, work.step * work.pointwise_pixel, weights + work.spatial_chunks * kAmxTile,
               work.at + work.spatial_chunks, work.pointwise_chunks);
    each([&]<int f, int i>() { store_sum<f * pixels + i>(sums + (f * kAmxPixelTiles + i) * kAmxSums * 4); });
  }

 private:
  template <class Body>
  HETCONV_INLINE static void each(const Body& body) {
    each_pixel<0>(body);
    if constexpr (filters > 1) each_pixel<1>(body);
    if constexpr (filters > 2) each_pixel<2>(body);
    if constexpr (filters > 3) each_pixel<3>(body);
  }

  template <int f, class Body>
  HETCONV_INLINE static void each_pixel(const Body& body) {
    body.template operator()<f, 0>();
    if constexpr (pixels > 1) body.template operator()<f, 1>();
    if constexpr (pixels > 2) body.template operator()<f, 2>();
    if constexpr (pixels > 3) body.template operator()<f, 3>();
  }

  template <bool spatial>
  HETCONV_INLINE void add(const uint8_t* const (&x)[filters][pixels], int64_t step, const char* weights,
                          const int32_t* at, int32_t count) const {
    for (; count > 0; --count, ++at, weights += kAmxTile) {
      const int64_t place = *at;
      each([&]<int f, int i>() __attribute__((always_inline)) {
        if constexpr (i == 0) load_weights<spatial>(weights + f * chunks * kAmxTile);
        add_product<dot, spatial, f * pixels + i>(x[f][i] + place, step);
      });
      fetch(filters);
    }
  }
};

// One or two tiles of pixels × two tiles of filters that have one residue, `apart` tiles from one to the other: each
// tile is read once for two products. All chunks have one size.
template <AmxDot dot, int pixels>
HETCONV_INLINE void multiply_amx_square(const AmxWork& work, const void* start, const AmxPixels* tiles, int64_t first,
                                        int64_t apart) {
  const char* const starts = static_cast<const char*>(start) + first * 64;
  char* const to = static_cast<char*>(work.sums) + first * kAmxPixelTiles * kAmxSums * 4;
  const char* weights = work.weights + first * work.chunks() * kAmxTile;
  const int64_t next = apart * work.chunks() * kAmxTile, next_sums = apart * kAmxPixelTiles * kAmxSums * 4;
  start_sum<0>(starts);
  start_sum<2>(starts + apart * 64);
  if constexpr (pixels == 2) {
    start_sum<1>(starts);
    start_sum<3>(starts + apart * 64);
  }
  const int32_t* at = work.at;
  const auto add = [&](const uint8_t* from, int64_t pixel, int32_t count) __attribute__((always_inline)) {
    const uint8_t* const a = from + tiles[0].input * pixel;
    const uint8_t* const b = from + tiles[pixels - 1].input * pixel;
    const int64_t step = work.step * pixel;
    for (; count > 0; --count, ++at, weights += kAmxTile) {
      _tile_loadd(4, a + *at, step);
      _tile_loadd(6, weights, 64);
      dot_tiles<dot, 0, 4, 6>();
      if constexpr (pixels == 2) {
        _tile_loadd(5, b + *at, step);
        dot_tiles<dot, 1, 5, 6>();
      }
      _tile_loadd(7, weights + next, 64);
      dot_tiles<dot, 2, 4, 7>();
      if constexpr (pixels == 2) dot_tiles<dot, 3, 5, 7>();
    }
  };
  add(work.spatial + first % work.p * work.residue, work.spatial_pixel, work.spatial_chunks);
  add(work.pointwise, work.pointwise_pixel, work.pointwise_chunks);
  store_sum<0>(to);
  store_sum<2>(to + next_sums);
  if constexpr (pixels == 2) {
    store_sum<1>(to + kAmxSums * 4);
    store_sum<3>(to + kAmxSums * 4 + next_sums);
  }
}

// All tiles of the group at up to four tiles of pixels.
template <AmxDot dot, class Fetch>
HETCONV_INLINE void multiply_amx(const AmxWork& work, const void* start, const AmxPixels* tiles, int64_t count,
                                 int64_t group_tiles, Fetch& fetch) {
  const auto all = [&]<int pixels, int filters>() {
    const AmxProducts<dot, pixels, filters, Fetch> products{work, tiles, fetch};
    for (int64_t first = 0; first < group_tiles; first += filters) products.run(start, first);
  };
  if (count == 1 && group_tiles % 4 == 0) {
    all.template operator()<1, 4>();
  } else if (count == 1) {
    all.template operator()<1, 1>();
  } else if (count == 2 && group_tiles % 2 == 0) {
    all.template operator()<2, 2>();
  } else if (count == 2) {
    all.template operator()<2, 1>();
  } else if (count == 3) {
    all.template operator()<3, 1>();
  } else {
    all.template operator()<4, 1>();
  }
}

}  // namespace
}  // namespace hetconv

#endif
