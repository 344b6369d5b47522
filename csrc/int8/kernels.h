// What crosses from the drivers to the kernels of 8 bits. They share the float32 kernels' tiles, and their lanes.
#pragma once

#include "../kernels.h"
#include "int8.h"

namespace hetconv {

constexpr int kInt8Vectors = 4;  // filter vectors in one tile, whose bytes are a quad
constexpr int kInt8Pixels = 6;

// (u8 − zero) · scale
struct Int8Term {
  const uint8_t* data;
  float scale;
  int32_t zero;
};

struct Int8Store {
  uint8_t* data;
  int32_t zero, least, most;
};

struct Int8Kernels {
  int lanes;
  int words;  // vectors of weights for one of products: 1, or 2 where weights are widened to 16 bits
  int max_pixels;
  void (*to_uint8[kInt8Pixels + 1])(const Tile&);
  void (*to_float32[kInt8Pixels + 1])(const Tile&);
  int64_t (*multiply_adds)(int64_t rounds);
  // See memory.h.
  void (*quantize)(const float* from, uint8_t* to, int64_t count, float scale, int32_t zero);
  void (*add)(const Int8Term& a, const Int8Term& b, const Int8Store& y, int64_t count);
  void (*max)(const uint8_t* const* pixels, int64_t count, int64_t bytes, uint8_t* to);
  void (*sum)(const uint8_t* const* pixels, int64_t count, int64_t bytes, int32_t* to);
};

extern const Int8Kernels int8_kernels_portable;
#if defined(__x86_64__)
extern const Int8Kernels int8_kernels_avx2;
extern const Int8Kernels int8_kernels_avx2_vnni;
extern const Int8Kernels int8_kernels_avx512;
extern const Int8Kernels int8_kernels_avx512_vnni;
#endif

const Int8Kernels& int8_kernels();  // of the instruction set chosen

}  // namespace hetconv
