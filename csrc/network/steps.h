// The steps of a network.
#pragma once

#include <memory>
#include <vector>

#include "network.h"

namespace hetconv {

// Sides of the window that a convolution or a pool moves over the image.
struct Window {
  int64_t kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width, dilation_height,
      dilation_width;
  bool ceil;  // pools only: whether a last window that begins inside may end outside

  int64_t out_height(int64_t height) const;
  int64_t out_width(int64_t width) const;
};

// Each throws std::invalid_argument, whose text is the reason, where its numbers cannot be computed exactly.

// float32 to u8: clamp(nearest(x · factor) + zero, 0, 255)
std::unique_ptr<Step> quantize_step(float factor, int32_t zero);
// u8 to float32: (x − zero) · scale
std::unique_ptr<Step> dequantize_step(float scale, int32_t zero);

struct Int8Layer {
  int64_t in_channels, out_channels, p;  // P divides 16
  Window window;
  int32_t in_zero;
  Int8Output to;
  bool residual;  // the second input is added
  float residual_scale;
  int32_t residual_zero, zero;
  float least, most;
  const int8_t* weights;  // (N, M, Kh, Kw), 0 where the layer has none
  const int32_t* start;   // (N)
  const float* scale;     // (N)
};
std::unique_ptr<Step> int8_convolution_step(const Int8Layer& layer);

struct FloatLayer {
  int64_t in_channels, out_channels, p;
  Window window;
  bool shifted;
  bool residual;
  Activation activation;
  const float *spatial, *pointwise, *bias;
};
std::unique_ptr<Step> float_convolution_step(const FloatLayer& layer);

std::unique_ptr<Step> max_pool_step(const Window& window);
// Of u8, at one scale: padding counts as `zero`, where it counts.
std::unique_ptr<Step> average_pool_step(const Window& window, int32_t zero, bool count_padding);
// u8 to float32
std::unique_ptr<Step> global_average_step(float scale, int32_t zero);

struct Term {
  float scale;
  int32_t zero;
};
// u8 + u8: clamp(nearest((a − a.zero) · a.scale + (b − b.zero) · b.scale) + zero, least, most); of one input without b
std::unique_ptr<Step> add_step(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most);
// The channels of several u8 values of one scale.
std::unique_ptr<Step> concatenate_step();
// More channels around those of a u8 value, all of `zero`.
std::unique_ptr<Step> pad_channels_step(int64_t before, int64_t after, int32_t zero);
// An image's numbers as the channels of one pixel, in the order of (C, H, W).
std::unique_ptr<Step> flatten_step();

}  // namespace hetconv
