// The kernels, compiled once per instruction set (HETCONV_ISA names it). No standard library here: an inline function
// of it, compiled for AVX-512, could be the copy that the linker keeps for every processor.
#include "kernels.h"

#include "copy.h"
#include "depthwise.h"
#include "elementwise.h"
#include "forward_tile.h"
#include "peak.h"
#include "simd.h"
#include "transpose.h"
#include "winograd_transforms.h"

namespace hetconv {
namespace {

// Accumulators C * R, weights C and one chunk fill the registers.
constexpr bool kMany = kRegisters == 32;
constexpr int kPixels[kMaxVectors + 1] = {0, kMany ? 12 : 6, kMany ? 12 : 6, 0, kMany ? 6 : 0};

template <int R, int C>
constexpr void add_tiles(Kernels& kernels) {
  if constexpr (R > 0) {
    if constexpr (R <= 4 || R % 2 == 0) {  // an odd number of pixels is rounded up
      kernels.tile[C][R] = &forward_tiles<R, C>;
      kernels.products[C][R] = &product_tiles<R, C>;
    }
    add_tiles<R - 1, C>(kernels);
  }
}

constexpr Kernels make_kernels(const char* name) {
  Kernels kernels{};
  kernels.name = name;
  kernels.lanes = kLanes;
  for (int c = 0; c <= kMaxVectors; ++c) kernels.max_pixels[c] = kPixels[c];
  kernels.multiply_adds = &multiply_adds;
  kernels.copy = &copy;
  kernels.depthwise = &depthwise;
  kernels.join = &join;
  kernels.affine = &affine;
  kernels.max = &max_of_pixels;
  kernels.mean = &mean_of_pixels;
  kernels.winograd_patch = &winograd_patch;
  kernels.winograd_kernel = &winograd_kernel;
  kernels.winograd_outputs = &winograd_outputs;
  kernels.rows_to_lanes = &rows_to_lanes;
  kernels.lanes_to_rows = &lanes_to_rows;
  add_tiles<kPixels[1], 1>(kernels);
  add_tiles<kPixels[2], 2>(kernels);
  add_tiles<kPixels[4], 4>(kernels);
  return kernels;
}

}  // namespace

#define HETCONV_CONCAT(a, b) a##b
#define HETCONV_KERNELS(isa) HETCONV_CONCAT(kernels_, isa)
#define HETCONV_STRING_(x) #x
#define HETCONV_STRING(x) HETCONV_STRING_(x)

constexpr Kernels HETCONV_KERNELS(HETCONV_ISA) = make_kernels(HETCONV_STRING(HETCONV_ISA));

}  // namespace hetconv
