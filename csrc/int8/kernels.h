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

constexpr int64_t kAmxRows = 16;       // pixels in a tile
constexpr int64_t kAmxFilters = 16;    // and filters
constexpr int64_t kAmxBytes = 64;      // of channels that one instruction sums
constexpr int64_t kAmxTile = 1024;     // bytes of weights of one instruction
constexpr int64_t kAmxPixelTiles = 4;  // that one tile of weights is multiplied by
constexpr int64_t kAmxSums = kAmxRows * kAmxFilters;

// Up to 16 pixels at equal steps in the strip.
struct AmxPixels {
  int64_t input;             // the first one's place, in pixels of the strip
  int64_t output[kAmxRows];  // -1 where the pixel is between rows of the image, and no output

  bool operator==(const AmxPixels&) const = default;
};

// What crosses from the driver to the kernel: a group of filters at some pixels.
struct AmxWork {
  const uint8_t* spatial;  // the strip as the spatial kernels read it
  int64_t spatial_pixel;   // bytes from a pixel to the next
  int64_t residue;         // bytes from a residue to the next
  const uint8_t* pointwise;
  int64_t pointwise_pixel;
  const int32_t* at;  // bytes from a pixel to each chunk: spatial ones, then pointwise ones
  int32_t spatial_chunks, pointwise_chunks;
  int64_t spatial_bytes;  // of a chunk; of pointwise ones all 64
  const AmxPixels* pixels;
  int64_t count;
  int64_t rows;  // of the tiles, at most
  int64_t step;  // pixels of the strip from a row to the next
  int64_t p;
  const char* weights;
  const char* next_weights;  // null, or those of the next group, which come from outer caches
  int64_t filter, blocks;    // the first one, and how many blocks of 64
  const Int8Epilogue* epilogue;
  int32_t* sums;  // of four tiles of pixels, all filters of the group
  void* output;
  Int8Output type;
};

struct Int8Kernels {
  int lanes;
  int words;  // vectors of weights for one of products: 1, or 2 where weights are widened to 16 bits
  int max_pixels;
  void (*to_uint8[kInt8Pixels + 1])(const Tile&);
  void (*to_float32[kInt8Pixels + 1])(const Tile&);
  int64_t (*multiply_adds)(int64_t rounds);
  // Null where there is no AMX. The second deals the channels of a strip's pixels to their residues.
  void (*amx)(const AmxWork&);
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
#if defined(__x86_64__)
extern const Int8Kernels int8_kernels_avx2;
extern const Int8Kernels int8_kernels_avx2_vnni;
extern const Int8Kernels int8_kernels_avx512;
extern const Int8Kernels int8_kernels_avx512_vnni;
extern const Int8Kernels int8_kernels_avx512_amx;
#endif

const Int8Kernels& int8_kernels();  // of the instruction set chosen

}  // namespace hetconv
