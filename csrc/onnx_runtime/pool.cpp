// MaxPool2d and AveragePool2d for ONNX Runtime, whose own take images channels-first only: between two layers they
// would cost two transpositions.
//
//   input       x (B, H, W, C)
//   attributes  kernel, stride, padding: two integers each; ceil: 1 if a last window may reach beyond the padding,
//   which
//               MaxPool2d allows; count_padding: 1 if AveragePool2d counts the zeros of the padding
//   output      (B, H', W', C)
#include <algorithm>
#include <limits>
#include <memory>

#include "../parallel.h"
#include "operators.h"

namespace hetconv::ort {
namespace {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HETCONV_EVERY_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HETCONV_EVERY_ISA
#endif

HETCONV_EVERY_ISA void take_larger(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

HETCONV_EVERY_ISA void add(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] += x[i];
}

HETCONV_EVERY_ISA void scale(float by, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] *= by;
}

struct Axis {
  int64_t kernel, stride, padding;

  int64_t outputs(int64_t size, bool ceil) const {
    const int64_t room = size + 2 * padding - kernel;
    if (room < 0) return 0;
    const int64_t count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
    return count > 1 && (count - 1) * stride >= size + padding ? count - 1 : count;  // none starts behind the image
  }
  int64_t begin(int64_t output) const { return std::max<int64_t>(0, output * stride - padding); }
  int64_t end(int64_t output, int64_t size) const { return std::min(size, output * stride - padding + kernel); }
};

class Pool : public Kernel {
 public:
  Pool(const Node& node, bool mean) : mean_(mean) {
    const Pair kernel = node.pair("kernel"), stride = node.pair("stride"), padding = node.pair("padding");
    (mean ? count_padding_ : ceil_) = node.integer(mean ? "count_padding" : "ceil") != 0;
    check_range("kernel", kernel, 1);
    check_geometry(stride, padding, {1, 1});
    if (2 * padding.height > kernel.height || 2 * padding.width > kernel.width) {
      throw Error("attribute padding must be at most half of the kernel");
    }
    row_ = {kernel.height, stride.height, padding.height};
    column_ = {kernel.width, stride.width, padding.width};
  }

  void run(const Call& call) const override;

 private:
  Axis row_, column_;
  bool mean_, ceil_ = false, count_padding_ = false;

  void pixel(const Tensor& x, int64_t image, int64_t row, int64_t column, float* y) const;
};

void Pool::pixel(const Tensor& x, int64_t image, int64_t row, int64_t column, float* y) const {
  const int64_t height = x.sizes[1], width = x.sizes[2], channels = x.sizes[3];
  const int64_t top = row_.begin(row), bottom = row_.end(row, height);
  const int64_t left = column_.begin(column), right = column_.end(column, width);
  std::fill(y, y + channels, mean_ ? 0.0f : -std::numeric_limits<float>::infinity());
  for (int64_t i = top; i < bottom; ++i) {
    for (int64_t j = left; j < right; ++j) {
      (mean_ ? add : take_larger)(x.data + ((image * height + i) * width + j) * channels, y, channels);
    }
  }
  if (!mean_) return;
  const int64_t count = count_padding_ ? row_.kernel * column_.kernel : (bottom - top) * (right - left);
  scale(1.0f / static_cast<float>(count), y, channels);
}

void Pool::run(const Call& call) const {
  const Tensor x = *call.tensor(0);
  if (x.sizes.size() != 4) throw Error("x is " + words(x.sizes) + "; it must be (batch, height, width, channels)");
  check_range("image size", {x.sizes[1], x.sizes[2]}, 0);
  const int64_t rows = row_.outputs(x.sizes[1], ceil_), columns = column_.outputs(x.sizes[2], ceil_);
  if (rows < 1 || columns < 1) throw Error("x is " + words(x.sizes) + "; the kernel is larger than the padded image");
  float* const y = call.output({x.sizes[0], rows, columns, x.sizes[3]});
  if (x.sizes[3] == 0) return;
  parallel(call.threads(), x.sizes[0] * rows, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      for (int64_t column = 0; column < columns; ++column) {
        pixel(x, line / rows, line % rows, column, y + (line * columns + column) * x.sizes[3]);
      }
    }
  });
}

}  // namespace

std::unique_ptr<Kernel> max_pool2d(Table, const Node& node) { return std::make_unique<Pool>(node, false); }

std::unique_ptr<Kernel> average_pool2d(Table, const Node& node) { return std::make_unique<Pool>(node, true); }

}  // namespace hetconv::ort
