// The kernels of 8 bits, compiled once per instruction set (HETCONV_ISA names it). No standard library here, for the
// reason that ../kernels.cpp tells.
#include "kernels.h"

#include "amx_tile.h"
#include "memory.h"
#include "peak.h"
#include "tile.h"

namespace hetconv {
namespace {

// Sums 4 · R, quads kWords · R, and weights fill the registers.
#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int kPixels = 6;
#elif defined(__AVX512F__) || defined(HETCONV_NEON)
constexpr int kPixels = 4;
#elif defined(__AVXVNNI__)
constexpr int kPixels = 3;
#else
constexpr int kPixels = 2;
#endif

template <int R>
constexpr void add_tiles(Int8Kernels& kernels) {
  if constexpr (R > 0) {
    kernels.to_uint8[R] = &int8_tiles<R, Int8Output::uint8>;
    kernels.to_float32[R] = &int8_tiles<R, Int8Output::float32>;
    add_tiles<R - 1>(kernels);
  }
}

constexpr Int8Kernels make_kernels() {
  Int8Kernels kernels{};
  kernels.lanes = kLanes;
  kernels.words = kWords;
  kernels.offset = kOffset;
  kernels.max_pixels = kPixels;
  kernels.multiply_adds = &int8_multiply_adds_in_registers;
#if defined(__AMX_INT8__)
  kernels.multiply_adds = &amx_multiply_adds;
  kernels.amx = &amx_tiles;
  kernels.amx_deal = &amx_deal;
#endif
  kernels.quantize = &quantize_blocks;
  kernels.quantize_to_quads = &quantize_to_quads;
  kernels.add = &add_quads;
  kernels.max = &max_bytes;
  kernels.sum = &sum_bytes;
  add_tiles<kPixels>(kernels);
  return kernels;
}

}  // namespace

#define HETCONV_CONCAT(a, b) a##b
#define HETCONV_KERNELS(isa) HETCONV_CONCAT(int8_kernels_, isa)

constexpr Int8Kernels HETCONV_KERNELS(HETCONV_ISA) = make_kernels();

}  // namespace hetconv
