// Integers of a caller, made into a Shape: the only way from outside. Each integer is checked against its range, and
// every product of them that the kernels form fits into its type. What is refused is said in one line.
#pragma once

#include <initializer_list>
#include <stdexcept>

#include "het_conv.h"

namespace hetconv {

// One line for the user.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Pair {
  int64_t height, width;
};

struct Layer {
  int64_t in_channels, out_channels, p;
  Pair kernel;
  Pair stride{1, 1}, padding{0, 0}, dilation{1, 1};
  bool shifted = true;
};

// The layer without its images. Throws Refused.
Shape checked(const Layer& layer);

// Gives the shape its images. Throws Refused.
void set_images(Shape& shape, int64_t batch, int64_t height, int64_t width);

// That this many elements of memory can be counted, in bytes too. Throws Refused.
void check_elements(std::initializer_list<int64_t> sizes);

// Of one layer or node, before its weights are known. Throw Refused.
void check_p(int64_t p);
void check_geometry(const Pair& stride, const Pair& padding, const Pair& dilation);
void check_range(const char* name, const Pair& pair, int64_t least);

// How many weights a checked layer has.
int64_t spatial_weights(const Shape& shape);
int64_t pointwise_weights(const Shape& shape);

}  // namespace hetconv
