// The steps of a network.
#pragma once

#include <algorithm>
#include <memory>
#include <stdexcept>
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

inline void check_step(bool holds, const char* reason) {
  if (!holds) throw std::invalid_argument(reason);
}

// That a value can be added to the sum.
inline void check_residual(const Value& added, const Value& sum) {
  check_step(added.type == sum.type && added.channels == sum.channels && added.height == sum.height &&
                 added.width == sum.width,
             "a residual has not the size of what it is added to");
}

// The output of a function of two values alike; the second may be one pixel that stands for all of its image.
inline Value joined(const std::vector<Value>& inputs, Int8Output type) {
  check_step(inputs.size() == 2, "two values are joined");
  const Value &a = inputs[0], &b = inputs[1];
  check_step(a.type == type && b.type == type, "what is joined is of another type");
  const bool one_pixel = b.height == 1 && b.width == 1;
  check_step(a.channels == b.channels && (one_pixel || (a.height == b.height && a.width == b.width)),
             "what is joined has another size");
  return a;
}

inline int64_t multiply_adds_of(const Shape& shape) {
  const int64_t own = shape.in_channels / shape.p * shape.kernel_height * shape.kernel_width;
  return shape.batch * shape.out_height * shape.out_width * shape.out_channels *
         (own + shape.in_channels - shape.in_channels / shape.p);
}

struct Range {
  int64_t begin, end;
};

inline int64_t divide_up(int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }

// The taps of a window, the first of which reads line `first`, that are inside an image of `size` lines.
inline Range taps_inside(int64_t first, int64_t size, int64_t kernel, int64_t dilation) {
  const int64_t begin = std::min(kernel, divide_up(-first, dilation));
  return {begin, std::max(begin, std::min(kernel, divide_up(size - first, dilation)))};
}

// Each throws std::invalid_argument, whose text is the reason, where its numbers cannot be computed exactly.

// float32 to u8: clamp(nearest(x · factor) + zero, 0, 255)
std::unique_ptr<Step> quantize_step(float factor, int32_t zero);
// u8 to float32: (x − zero) · scale
std::unique_ptr<Step> dequantize_step(float scale, int32_t zero);

struct Int8Layer {
  int64_t in_channels, out_channels, p;
  Window window;
  bool shifted;
  int32_t in_zero;
  float in_factor;  // of images of float32, which it quantizes; 0 of u8
  Int8Output to;
  bool residual;  // the second input is added
  float residual_scale;
  int32_t residual_zero, zero;
  float least, most;
  const char* packed;  // as int8/packed_weights.h says; borrowed: they must outlive the step
  int64_t bytes;
  const int32_t* start;  // (N)
  const float* scale;    // (N)
};
std::unique_ptr<Step> int8_convolution_step(const Int8Layer& layer);

struct FloatLayer {
  int64_t in_channels, out_channels, p;
  Window window;
  bool shifted;
  bool residual;
  Activation activation;
  const float* packed;  // as packed_weights.h says; borrowed: they must outlive the step
  int64_t elements;
  const float* bias;
};
std::unique_ptr<Step> float_convolution_step(const FloatLayer& layer);

// A standard convolution in groups, or with a kernel of even size.
struct GroupedLayer {
  int64_t in_channels, out_channels, groups;
  Window window;
  bool residual;
  Activation activation;
  const float* weights;  // (N, M / groups, Kh, Kw)
  const float* bias;
};
std::unique_ptr<Step> grouped_convolution_step(const GroupedLayer& layer);

std::unique_ptr<Step> max_pool_step(const Window& window);
// Padding counts as `zero` of u8, and as 0 of float32, where it counts.
std::unique_ptr<Step> average_pool_step(const Window& window, int32_t zero, bool count_padding);
// u8 to float32
std::unique_ptr<Step> global_average_step(float scale, int32_t zero);

// Of float32, to any size.
std::unique_ptr<Step> adaptive_average_step(int64_t height, int64_t width);

// float32: activation of the sum of a and b, or of another function; b may be one pixel, for all of an image
std::unique_ptr<Step> float_join_step(Joining joining, Activation activation);
// float32: activation(x · scale + shift), by channel; `channels` is 1 where one number is for all
std::unique_ptr<Step> float_affine_step(int64_t channels, Activation activation, const float* scale,
                                        const float* shift);
// Layer norm over each pixel's channels, of float32.
std::unique_ptr<Step> layer_norm_step(int64_t channels, float epsilon, const float* weight, const float* bias);
// Some of the channels, in any order.
std::unique_ptr<Step> select_channels_step(int64_t count, const int32_t* channels);
// Images of another size: of so many lines and columns; or of the second input's; or, where a size is 0, scaled.
enum class Sampling : int32_t { nearest, nearest_exact, bilinear, bilinear_corners };
constexpr int64_t kSamplings = 4;
struct Resizing {
  Sampling sampling;
  int64_t height, width;
  float scale_height, scale_width;
};
std::unique_ptr<Step> resize_step(const Resizing& resizing);
// Zeros around an image; of u8, `zero`.
struct Sides {
  int64_t top, bottom, left, right;
};
std::unique_ptr<Step> pad_image_step(const Sides& sides, int32_t zero);

struct Term {
  float scale;
  int32_t zero;
};
// u8 + u8: clamp(nearest((a − a.zero) · a.scale + (b − b.zero) · b.scale) + zero, least, most); of one input without b
std::unique_ptr<Step> add_step(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most);
// u8 to u8: table[x], 256 of them
std::unique_ptr<Step> table_step(const uint8_t* table);
// u8 × u8: clamp(nearest((a − a_zero) · (b − b_zero) · scale) + zero, 0, 255); b may be one pixel, for all of an image
struct ByteProduct {
  float scale;
  int32_t a_zero, b_zero, zero;
};
std::unique_ptr<Step> product_step(const ByteProduct& product);
// The channels of several values of one type; of u8, of one scale.
std::unique_ptr<Step> concatenate_step();
// More channels around those of a value, all of `zero` of u8, or 0.
std::unique_ptr<Step> pad_channels_step(int64_t before, int64_t after, int32_t zero);
// An image's numbers as the channels of one pixel, in the order of (C, H, W): `wanted` of them, or any where that is 0.
std::unique_ptr<Step> flatten_step(int64_t wanted);

}  // namespace hetconv
