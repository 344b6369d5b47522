// HetConv on activations and weights of 8 bits: u8 × s8 products, summed in int32, exactly.
//
// Activations are channels-last. A pixel's channels lie in blocks of 64: byte 4·l + v of a block is its channel
// 16·v + l, so that the four channels of a quad (4 bytes) have one residue mod P for every P that divides 16, and quads
// are to these kernels what channels are to those of float32. The last block is padded with channels of any value.
#pragma once

#include <cstdint>
#include <vector>

#include "../het_conv.h"

namespace hetconv {

constexpr int64_t kBlock = 64;
inline int64_t whole_blocks(int64_t channels) { return (channels + kBlock - 1) / kBlock * kBlock; }

// Where a channel is in a pixel, in bytes.
inline int64_t byte_of(int64_t channel) { return channel / kBlock * kBlock + channel % 16 * 4 + channel % kBlock / 16; }

// What is done to the sum of filter n before it is stored: the only definition of how 8 bits are rounded.
//
//   real   = float(start[n] + sum) · scale[n] + float(residual − residual_zero) · residual_scale
//   stored = clamp(nearest(real) + zero, least, most)          of 8 bits, halves to even
//          = clamp(real, least, most)                          of float32
//
// Each of the conversions, products and the sum of real is rounded to float32, none of them fused. |real| of 8 bits
// must be below 2^31.
struct Int8Epilogue {
  const int32_t* start;               // of all filters, up to whole blocks
  const float* scale;                 // the same
  const uint8_t* residual = nullptr;  // laid out as the output
  float residual_scale = 0;
  int32_t residual_zero = 0;
  int32_t zero = 0;
  float least = 0, most = 255;
};

// What a layer reads: u8 in blocks, or images of float32 in their channels' natural order, which are then quantized as
// they are read: clamp(nearest(x · factor) + zero, 0, 255). Only a layer of P = 1 and few channels reads float32.
struct Int8Input {
  const void* data;
  uint8_t zero;      // what stands for 0, and is around the images
  float factor = 0;  // of float32
};
constexpr int64_t kMostFloatChannels = 16;

enum class Int8Output : int32_t { uint8, float32 };

// As multiply_adds, of 8 bits.
int64_t int8_multiply_adds(int64_t rounds);

// The layer as the kernels compute it: with the largest P that divides 16 and whose pattern holds the layer's own.
Shape int8_kernel_shape(const Shape& layer);

class Int8Packing;  // natural.h
class Int8Unpacking;

// Packed weights depend on the instruction set, channels, p, and kernel. Of a shape for the kernels; in bytes, aligned
// to 64.
int64_t int8_packed_size(const Shape& shape);
void pack_int8(const Shape& shape, const Int8Packing& weights, char* packed);
void unpack_int8(const Shape& shape, const char* packed, const Int8Unpacking& weights);

}  // namespace hetconv
