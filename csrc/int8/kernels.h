// What crosses from the drivers to the kernels of 8 bits. They share the float32 kernels' tiles, and their lanes.
#pragma once

#include "../amx/work.h"
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

// A group of filters at some pixels.
struct Int8AmxWork : AmxWork {
  const char* next_weights;  // null, or those of the next group, which come from outer caches
  int64_t filter, blocks;    // the first one, and how many blocks of 64
  const Int8Epilogue* epilogue;
  void* output;
  Int8Output type;
};

struct Int8Kernels {
  int lanes;
  int words;  // vectors of weights for one of products: 1, or 2 where weights are widened to 16 bits
  // What activations are less when they are multiplied: 128 where products are of s8 × s8, else 0. A block's weights
  // begin with what that takes from the sum of each filter, as int32.
  int offset;
  int max_pixels;
  void (*to_uint8[kInt8Pixels + 1])(const Tile&);
  void (*to_float32[kInt8Pixels + 1])(const Tile&);
  int64_t (*multiply_adds)(int64_t rounds);
  // Null where there is no AMX. The second deals the channels of a strip's pixels to their residues.
  void (*amx)(const Int8AmxWork&);
  void (*amx_deal)(const uint8_t* from, int64_t from_pixel, int64_t pixels, int64_t blocks, int64_t p, uint8_t* to,
                   int64_t to_pixel, int64_t residue);
  // See memory.h.
  void (*quantize)(const float* from, uint8_t* to, int64_t count, float scale, int32_t zero);
  void (*quantize_to_quads)(float* all, int64_t count, float scale, int32_t zero);
  void (*add)(const Int8Term& a, const Int8Term& b, const Int8Store& y, int64_t count);
  void (*max)(const uint8_t* const* pixels, int64_t count, int64_t bytes, uint8_t* to);
  void (*sum)(const uint8_t* const* pixels, int64_t count, int64_t bytes, int32_t* to);
};

extern const Int8Kernels int8_kernels_portable;
#if defined(__aarch64__)
extern const Int8Kernels int8_kernels_neon;
extern const Int8Kernels int8_kernels_neon_dotprod;
extern const Int8Kernels int8_kernels_neon_i8mm;
#elif defined(__x86_64__)
extern const Int8Kernels int8_kernels_avx2;
extern const Int8Kernels int8_kernels_avx2_vnni;
extern const Int8Kernels int8_kernels_avx512;
extern const Int8Kernels int8_kernels_avx512_vnni;
extern const Int8Kernels int8_kernels_avx512_amx;
#endif

const Int8Kernels& int8_kernels();  // of the instruction set chosen

}  // namespace hetconv
