// What crosses from the drivers to the kernels of bfloat16 on AMX.
#pragma once

#include "../amx/work.h"

namespace hetconv {

// A group of filters, 16 or 32 of each residue, at some pixels.
struct Bfloat16Work : AmxWork {
  int64_t tiles;            // p or 2 · p
  const float* bias;        // of each tile's filters
  int64_t filter, filters;  // the first one, and how many the layer has
  uint16_t* output;
};

// A strip's pixels, each of so many channels; pixels of the strip are `pixel` elements apart.
struct Bfloat16Strip {
  const uint16_t* data;
  int64_t pixel, pixels, channels, p;
};

// Two rows of tiles of channels × two columns of tiles of filters: products summed over pixels, and added to the sums.
struct Bfloat16Outer {
  const uint16_t* x[2];       // channels' planes, from the first pixel on; 16 each
  int64_t plane;              // elements from a channel to the next
  const uint16_t* grad_y[2];  // 16 filters, two pixels next to one another
  int64_t pixels;             // a multiple of 32
  float* sums[2][2];          // by x and grad_y
  bool first;                 // there are no sums yet
};

struct Bfloat16Kernels {
  void (*convolve)(const Bfloat16Work&);
  // Each residue's channels to an image, `residue` elements for a pixel, `image` from one image to the next. An image
  // is written up to 32 elements too far.
  void (*sort)(const Bfloat16Strip& strip, uint16_t* to, int64_t residue, int64_t image);
  // Each channel to a plane of its own, those of one residue next to one another. Pixels are a multiple of 32.
  void (*planes)(const Bfloat16Strip& strip, uint16_t* to, int64_t plane);
  // Filters in tiles of 16 of one residue, `tile` elements apart, and `residue` elements from residue to residue; two
  // pixels next to one another. Pixels are even, and channels a multiple of 32.
  void (*pairs)(const Bfloat16Strip& strip, uint16_t* to, int64_t tile, int64_t residue);
  void (*begin_outer)();  // on this thread, before the products of it, and after them
  void (*outer)(const Bfloat16Outer&, int channels, int filters);  // so many of the tiles: 1 or 2
  void (*end_outer)();
};

extern const Bfloat16Kernels bfloat16_kernels_avx512_amx;

const Bfloat16Kernels* bfloat16_kernels();  // of the instruction set chosen; null where it has none

}  // namespace hetconv
