// What crosses from the drivers to the kernels on AMX, whose one instruction multiplies 16 pixels × 64 bytes of
// channels by 64 bytes × 16 filters.
#pragma once

#include <cstdint>

namespace hetconv {

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

// The products of some filters at some pixels.
struct AmxWork {
  const uint8_t* spatial;  // the strip as the spatial kernels read it
  int64_t spatial_pixel;   // bytes from a pixel to the next
  int64_t residue;         // bytes from a residue to the next
  const uint8_t* pointwise;
  int64_t pointwise_pixel;
  const int32_t* at;  // bytes from a pixel to each chunk: spatial ones, then pointwise ones
  int32_t spatial_chunks, pointwise_chunks;
  int64_t spatial_bytes, pointwise_bytes;  // of a chunk
  const AmxPixels* pixels;
  int64_t count;
  int64_t rows;  // of the tiles, at most
  int64_t step;  // pixels of the strip from a row to the next
  int64_t p;
  const char* weights;
  void* sums;  // of four tiles of pixels, all filters of the group; 32 bits each

  int64_t chunks() const { return spatial_chunks + pointwise_chunks; }
};

}  // namespace hetconv
