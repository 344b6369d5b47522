#include "checked.h"

#include <algorithm>
#include <string>

namespace hetconv {
namespace {

constexpr int64_t kMost = INT32_MAX;          // of each integer
constexpr int64_t kMostElements = 1LL << 56;  // of images and dense weights: times 36 and some rounding up, int64
constexpr int64_t kMostStrip = 1LL << 28;     // of what one output reads, which is copied: 1 GiB
constexpr int64_t kCacheLine = 16;            // what pixels of a strip are rounded up to, in elements

std::string words(const Pair& pair) {
  return "(" + std::to_string(pair.height) + ", " + std::to_string(pair.width) + ")";
}

void check(const char* name, int64_t value, int64_t least) {
  if (value >= least && value <= kMost) return;
  throw Refused(std::string(name) + "=" + std::to_string(value) + " must be from " + std::to_string(least) + " to " +
                std::to_string(kMost));
}

// Whether a product of numbers that are not negative is at most this.
bool within(int64_t most, std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (const int64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product) || product > most) return false;
  }
  return true;
}

int64_t reach(int64_t kernel, int64_t dilation) { return dilation * (kernel - 1) + 1; }

// Lines of the input that one output has in a strip, along one axis. The input gradient of a layer with a stride has
// lines between those that it reads.
int64_t lines(int64_t kernel, int64_t stride, int64_t dilation) {
  return stride == 1 ? kernel : std::max(kernel, (reach(kernel, dilation) - 1) / stride + 2);
}

int64_t positions(int64_t padded, int64_t reach, int64_t stride) {
  return padded < reach ? 0 : (padded - reach) / stride + 1;
}

}  // namespace

void check_range(const char* name, const Pair& pair, int64_t least) {
  if (std::min(pair.height, pair.width) >= least && std::max(pair.height, pair.width) <= kMost) return;
  throw Refused(std::string(name) + "=" + words(pair) + " must be from " + std::to_string(least) + " to " +
                std::to_string(kMost));
}

void check_elements(std::initializer_list<int64_t> sizes) {
  for (const int64_t size : sizes) check("size", size, 0);
  if (!within(kMostElements, sizes)) throw Refused("an image has too many elements");
}

void check_p(int64_t p) { check("p", p, 1); }

void check_geometry(const Pair& stride, const Pair& padding, const Pair& dilation) {
  check_range("stride", stride, 1);
  check_range("padding", padding, 0);
  check_range("dilation", dilation, 1);
}

Shape checked(const Layer& layer) {
  check("in_channels", layer.in_channels, 1);
  check("out_channels", layer.out_channels, 1);
  check_p(layer.p);
  check_range("kernel_size", layer.kernel, 1);
  check_geometry(layer.stride, layer.padding, layer.dilation);
  if (layer.in_channels % layer.p != 0 || layer.out_channels % layer.p != 0) {
    throw Refused("p=" + std::to_string(layer.p) + " must divide in_channels=" + std::to_string(layer.in_channels) +
                  " and out_channels=" + std::to_string(layer.out_channels));
  }
  if (layer.kernel.height % 2 == 0 || layer.kernel.width % 2 == 0) {
    throw Refused("kernel_size=" + words(layer.kernel) + " must be odd");
  }
  const Pair &kernel = layer.kernel, &stride = layer.stride, &dilation = layer.dilation;
  const int64_t channels = std::max(layer.in_channels, layer.out_channels);
  const bool fits = within(kMost - 1, {dilation.height, kernel.height - 1}) &&
                    within(kMost - 1, {dilation.width, kernel.width - 1}) &&
                    within(kMostStrip, {lines(kernel.height, stride.height, dilation.height),
                                        lines(kernel.width, stride.width, dilation.width), channels + kCacheLine}) &&
                    within(kMostElements, {layer.in_channels, layer.out_channels, kernel.height, kernel.width});
  if (!fits) {
    throw Refused("kernel_size=" + words(kernel) + " with dilation=" + words(dilation) + " and " +
                  std::to_string(channels) + " channels reads too much for one output; use fewer");
  }
  Shape shape{};
  shape.in_channels = layer.in_channels;
  shape.out_channels = layer.out_channels;
  shape.p = layer.p;
  shape.kernel_height = layer.kernel.height;
  shape.kernel_width = layer.kernel.width;
  shape.stride_height = layer.stride.height;
  shape.stride_width = layer.stride.width;
  shape.padding_height = layer.padding.height;
  shape.padding_width = layer.padding.width;
  shape.dilation_height = layer.dilation.height;
  shape.dilation_width = layer.dilation.width;
  shape.shifted = layer.shifted;
  return shape;
}

void set_images(Shape& shape, int64_t batch, int64_t height, int64_t width) {
  check("batch", batch, 0);
  check_range("image size", {height, width}, 0);
  const int64_t rows = height + 2 * shape.padding_height, columns = width + 2 * shape.padding_width;
  const Pair padding{shape.padding_height, shape.padding_width};
  if (!within(kMostElements, {std::max<int64_t>(batch, 1), std::max<int64_t>(rows, 1), std::max<int64_t>(columns, 1),
                              std::max(shape.in_channels, shape.out_channels)})) {
    throw Refused("images of " + words({height, width}) + " with padding=" + words(padding) +
                  " have too many pixels; pad less");
  }
  shape.batch = batch;
  shape.in_height = height;
  shape.in_width = width;
  shape.out_height = positions(rows, reach(shape.kernel_height, shape.dilation_height), shape.stride_height);
  shape.out_width = positions(columns, reach(shape.kernel_width, shape.dilation_width), shape.stride_width);
  if (shape.out_height < 1 || shape.out_width < 1) {
    throw Refused("the kernel is larger than the padded input: images of " + words({height, width}) +
                  " with padding=" + words(padding));
  }
}

int64_t spatial_weights(const Shape& shape) {
  return shape.out_channels * (shape.in_channels / shape.p) * shape.kernel_height * shape.kernel_width;
}

int64_t pointwise_weights(const Shape& shape) {
  return shape.out_channels * (shape.in_channels - shape.in_channels / shape.p);
}

}  // namespace hetconv
