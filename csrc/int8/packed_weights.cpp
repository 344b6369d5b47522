#include "packed_weights.h"

#include <algorithm>
#include <cstring>

#include "../checked.h"
#include "natural.h"

namespace hetconv {
namespace {

struct Header {
  int64_t layer[6];
  char instruction_set[16];
};
static_assert(sizeof(Header) == 64);

Header header_of(const Shape& s) {
  Header header{{s.in_channels, s.out_channels, s.p, s.kernel_height, s.kernel_width, s.shifted}, {}};
  std::strncpy(header.instruction_set, instruction_set(), sizeof header.instruction_set - 1);
  return header;
}

int64_t bytes_before_weights(const Shape& layer) {
  return static_cast<int64_t>(sizeof(Header)) + (layer.out_channels * 8 + 63) / 64 * 64;
}

// Of activations that are as large as can be where its weights have one sign, and else 0.
int64_t largest_sum(const int8_t* spatial, int64_t spatial_count, const int8_t* pointwise, int64_t pointwise_count) {
  int64_t positive = 0, negative = 0;
  const auto add = [&](const int8_t* weights, int64_t count) {
    for (int64_t i = 0; i < count; ++i) (weights[i] > 0 ? positive : negative) += weights[i];
  };
  add(spatial, spatial_count), add(pointwise, pointwise_count);
  return 255 * std::max(positive, -negative);
}

}  // namespace

int64_t int8_packed_weights_size(const Shape& layer) {
  return bytes_before_weights(layer) + int8_packed_size(int8_kernel_shape(layer));
}

void pack_int8_weights(const Shape& layer, const int8_t* spatial, const int8_t* pointwise, char* packed) {
  const Header header = header_of(layer);
  std::memcpy(packed, &header, sizeof header);
  std::memset(packed + sizeof header, 0, static_cast<size_t>(bytes_before_weights(layer)) - sizeof header);
  const int64_t own = spatial_weights(layer) / layer.out_channels,
                others = pointwise_weights(layer) / layer.out_channels;
  for (int64_t n = 0; n < layer.out_channels; ++n) {
    const int64_t sum = largest_sum(spatial + n * own, own, pointwise + n * others, others);
    std::memcpy(packed + sizeof header + n * 8, &sum, sizeof sum);
  }
  pack_int8(int8_kernel_shape(layer), {layer, spatial, pointwise}, packed + bytes_before_weights(layer));
}

bool is_packed_int8_for(const Shape& layer, const char* packed, int64_t bytes) {
  const Header header = header_of(layer);
  if (bytes < static_cast<int64_t>(sizeof header) || std::memcmp(packed, &header, sizeof header) != 0) return false;
  // A layer with more weights than that is not planned at all, which would take as much memory as they do.
  return bytes >= spatial_weights(layer) + pointwise_weights(layer) && bytes == int8_packed_weights_size(layer);
}

void unpack_int8_weights(const Shape& layer, const char* packed, int8_t* spatial, int8_t* pointwise) {
  unpack_int8(int8_kernel_shape(layer), int8_weights_of_kernels(layer, packed), {layer, spatial, pointwise});
}

int64_t int8_largest_sum(const char* packed, int64_t filter) {
  int64_t sum;
  std::memcpy(&sum, packed + sizeof(Header) + filter * 8, sizeof sum);
  return sum;
}

const char* int8_weights_of_kernels(const Shape& layer, const char* packed) {
  return packed + bytes_before_weights(layer);
}

}  // namespace hetconv
