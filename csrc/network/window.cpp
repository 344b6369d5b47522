#include <algorithm>

#include "steps.h"

namespace hetconv {
namespace {

int64_t positions(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil) {
  const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  if (room < 0) return 0;
  int64_t count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  if (ceil && (count - 1) * stride >= size + padding) --count;  // the last window must begin inside
  return count;
}

}  // namespace

int64_t Window::out_height(int64_t height) const {
  return positions(height, kernel_height, stride_height, padding_height, dilation_height, ceil);
}

int64_t Window::out_width(int64_t width) const {
  return positions(width, kernel_width, stride_width, padding_width, dilation_width, ceil);
}

}  // namespace hetconv
