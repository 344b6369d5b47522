// Every entry point on random layers of small integers, where sums are exact and compared with ==, for every
// instruction set and 1 to 3 threads; Winograd, whose fractions round, within a budget. Buffers are exactly as large as
// needed, so that AddressSanitizer sees each access outside.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../bfloat16.h"
#include "../bfloat16/amx.h"
#include "../het_conv.h"
#include "../winograd.h"
#include "buffer.h"

using namespace hetconv;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <int count>
void for_each(int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context) {
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < count; ++t) {
    if (size * t / count < size * (t + 1) / count) {
      threads.emplace_back(body, context, size * t / count, size * (t + 1) / count);
    }
  }
  for (std::thread& thread : threads) thread.join();
}

constexpr Threads kThreads[] = {{1, for_each<1>}, {2, for_each<2>}, {3, for_each<3>}};

std::mt19937 generator(0);

int64_t pick(std::initializer_list<int64_t> values) { return values.begin()[generator() % values.size()]; }

void fill(Buffer& buffer) {
  for (int64_t i = 0; i < buffer.size; ++i) buffer.data[i] = static_cast<float>(static_cast<int>(generator() % 7) - 3);
}

// Every second one can be computed with Winograd.
Shape random_shape(bool for_winograd) {
  Shape shape{};
  shape.p = pick({1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 20, 24, 32, 48, 64});
  shape.in_channels = shape.p * pick({1, 2, 3, 5, 8});
  shape.out_channels = shape.p * pick({1, 2, 3, 4, 7});
  shape.batch = pick({1, 2, 3, 3, 2, 1, 0});
  shape.in_height = pick({1, 2, 4, 7, 9});
  shape.in_width = pick({1, 2, 4, 7, 13, 17});
  shape.kernel_height = for_winograd ? 3 : pick({1, 3, 3, 5});
  shape.kernel_width = for_winograd ? 3 : pick({1, 3, 3, 5});
  shape.stride_height = for_winograd ? 1 : pick({1, 1, 2, 3});
  shape.stride_width = for_winograd ? 1 : pick({1, 1, 2, 3});
  shape.padding_height = pick({0, 1, 1, 2, 4});
  shape.padding_width = pick({0, 1, 1, 2, 4});
  shape.dilation_height = pick({1, 1, 2});
  shape.dilation_width = pick({1, 1, 2});
  shape.shifted = generator() % 3 != 0;
  const auto out = [](int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    const int64_t room = in + 2 * padding - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
  };
  shape.out_height =
      out(shape.in_height, shape.kernel_height, shape.stride_height, shape.padding_height, shape.dilation_height);
  shape.out_width =
      out(shape.in_width, shape.kernel_width, shape.stride_width, shape.padding_width, shape.dilation_width);
  return shape;
}

// One that AMX can compute, unless the image is smaller than the kernel.
Shape random_amx_shape() {
  Shape shape = random_shape(generator() % 2 == 0);
  shape.p = pick({1, 2, 3, 4, 4, 8, 12, 16});
  shape.in_channels = shape.p * pick({2, 4, 6, 12, 16, 28, 32, 40});
  shape.out_channels = shape.p * pick({2, 4, 10, 16, 20, 32});
  return shape;
}

std::string describe(const Shape& s) {
  char text[256];
  std::snprintf(text, sizeof text,
                "M%ld N%ld P%ld %s B%ld %ldx%ld kernel %ldx%ld stride %ld,%ld padding %ld,%ld dilation %ld,%ld",
                s.in_channels, s.out_channels, s.p, s.shifted ? "shifted" : "blocked", s.batch, s.in_height, s.in_width,
                s.kernel_height, s.kernel_width, s.stride_height, s.stride_width, s.padding_height, s.padding_width,
                s.dilation_height, s.dilation_width);
  return text;
}

// Calls visit(input element, output element, spatial index or -1, pointwise index or -1) for every multiply-add.
template <class Visit>
void for_each_multiply_add(const Shape& s, const Strides& x, const Strides& y, const Visit& visit) {
  const int64_t own = s.in_channels / s.p, taps = s.kernel_height * s.kernel_width;
  for (int64_t n = 0; n < s.out_channels; ++n) {
    int64_t chunk = 0, rest = 0;
    for (int64_t m = 0; m < s.in_channels; ++m) {
      const bool spatial = s.shifted ? m % s.p == n % s.p : m / own == n / (s.out_channels / s.p);
      for (int64_t tap = 0; tap < taps; ++tap) {
        if (!spatial && tap != taps / 2) continue;
        const int64_t kernel_row = tap / s.kernel_width, kernel_column = tap % s.kernel_width;
        for (int64_t b = 0; b < s.batch; ++b) {
          for (int64_t row = 0; row < s.out_height; ++row) {
            for (int64_t column = 0; column < s.out_width; ++column) {
              const int64_t i = row * s.stride_height - s.padding_height + kernel_row * s.dilation_height;
              const int64_t j = column * s.stride_width - s.padding_width + kernel_column * s.dilation_width;
              if (i < 0 || i >= s.in_height || j < 0 || j >= s.in_width) continue;
              visit(b * x.batch + i * x.row + j * x.column + m, b * y.batch + row * y.row + column * y.column + n,
                    spatial ? (n * own + chunk) * taps + tap : -1, spatial ? -1 : n * (s.in_channels - own) + rest);
            }
          }
        }
      }
      (spatial ? chunk : rest) += 1;
    }
  }
}

bool equal(const char* what, const Buffer& got, const Buffer& expected, const Shape& shape) {
  for (int64_t i = 0; i < got.size; ++i) {
    const bool both_nan = std::isnan(got.data[i]) && std::isnan(expected.data[i]);
    if (got.data[i] != expected.data[i] && !both_nan) {
      std::printf("%s, %s: element %ld of %s is %g, not %g\n", instruction_set(), describe(shape).c_str(), i, what,
                  got.data[i], expected.data[i]);
      return false;
    }
  }
  return true;
}

// As `equal`, but for rounding errors of sums of the layer's products of up to 3 × 3.
bool close(const char* what, const Buffer& got, const Buffer& expected, const Shape& shape, int64_t channels) {
  const float allowed = 1e-6f * 9 * static_cast<float>(channels + 8 * channels / shape.p + 3);
  Buffer rounded(got.size, 0);
  for (int64_t i = 0; i < got.size; ++i) {
    const bool near = std::fabs(got.data[i] - expected.data[i]) <= allowed;
    rounded.data[i] = near ? expected.data[i] : got.data[i];
  }
  return equal(what, rounded, expected, shape);
}

struct Case {
  Shape shape;
  Strides x_strides, y_strides;
  Buffer x, y, spatial, pointwise, bias, grad_x, grad_spatial, grad_pointwise;

  static Strides strides(int64_t channels, int64_t gap, int64_t height, int64_t width) {
    return {height * width * (channels + gap), width * (channels + gap), channels + gap};
  }
  static int64_t span(int64_t batch, int64_t height, int64_t width, const Strides& strides, int64_t gap) {
    return batch * height * width * strides.column - (batch * height * width > 0 ? gap : 0);
  }

  explicit Case(const Shape& s, int64_t gap)
      : shape(s),
        x_strides(strides(s.in_channels, gap, s.in_height, s.in_width)),
        y_strides(strides(s.out_channels, gap, s.out_height, s.out_width)),
        x(span(s.batch, s.in_height, s.in_width, x_strides, gap), 0),
        y(span(s.batch, s.out_height, s.out_width, y_strides, gap), 0),
        spatial(s.out_channels * (s.in_channels / s.p) * s.kernel_height * s.kernel_width, 0),
        pointwise(s.out_channels * (s.in_channels - s.in_channels / s.p), 0),
        bias(s.out_channels, 0),
        grad_x(x.size, kNan),
        grad_spatial(spatial.size, 0),
        grad_pointwise(pointwise.size, 0) {
    for (Buffer* buffer : {&x, &spatial, &pointwise, &bias}) fill(*buffer);
    fill(y);  // as the output gradient first
    for (int64_t i = 0; i < x.size; ++i) {
      if (i % x_strides.column < s.in_channels) grad_x.data[i] = 0;
    }
    for_each_multiply_add(s, x_strides, y_strides, [&](int64_t in, int64_t out, int64_t wide, int64_t narrow) {
      grad_x.data[in] += y.data[out] * (wide >= 0 ? spatial.data[wide] : pointwise.data[narrow]);
      (wide >= 0 ? grad_spatial.data[wide] : grad_pointwise.data[narrow]) += y.data[out] * x.data[in];
    });
  }

  bool check_gradients(const Threads& threads) const {
    Buffer packed(packed_size_input_grad(shape), kNan), got(grad_x.size, kNan);
    pack_input_grad(shape, {spatial.data, pointwise.data}, packed.data, threads);
    input_grad(shape, {y.data, y_strides}, packed.data, {got.data, x_strides}, threads);
    Buffer scratch(weight_grad_scratch(shape, Type::float32), kNan), wide(spatial.size, kNan),
        narrow(pointwise.size, kNan);
    weight_grad(shape, {y.data, y_strides}, {x.data, x_strides}, scratch.data, wide.data, narrow.data, threads);
    return equal("grad_x", got, grad_x, shape) && equal("grad_spatial", wide, grad_spatial, shape) &&
           equal("grad_pointwise", narrow, grad_pointwise, shape);
  }

  // As float32, but for the type of what is read and written: sums are exact, and rounded once.
  bool check_bfloat16(const Threads& threads) const {
    std::vector<uint16_t> x16(static_cast<size_t>(x.size)), y16(static_cast<size_t>(y.size), narrow(kNan));
    for (int64_t i = 0; i < x.size; ++i) x16[static_cast<size_t>(i)] = narrow(x.data[i]);
    Buffer expected(y.size, kNan), got(y.size, kNan), packed(packed_size(shape), kNan);
    for (int64_t i = 0; i < y.size; ++i) {
      if (i % y_strides.column < shape.out_channels) expected.data[i] = 0;
    }
    for_each_multiply_add(shape, x_strides, y_strides, [&](int64_t in, int64_t out, int64_t wide, int64_t narrow) {
      expected.data[out] += x.data[in] * (wide >= 0 ? spatial.data[wide] : pointwise.data[narrow]);
    });
    pack(shape, {spatial.data, pointwise.data}, packed.data, threads);
    forward(shape, {x16.data(), x_strides, Type::bfloat16}, packed.data, {nullptr, nullptr, Activation::none},
            {y16.data(), y_strides, Type::bfloat16}, threads);
    for (int64_t i = 0; i < y.size; ++i) {
      expected.data[i] = widen(narrow(expected.data[i]));
      got.data[i] = widen(y16[static_cast<size_t>(i)]);
    }
    return equal("y in bfloat16", got, expected, shape);
  }

  // All three, in bfloat16 on AMX, whether it is the faster way or not; of images without gaps.
  bool check_amx(const Threads& threads) const {
    const bool no_gaps = x_strides.column == shape.in_channels;
    if (!amx_serves(shape, Direction::forward) || !no_gaps || x.size == 0 || y.size == 0) return true;
    const std::vector<uint16_t> x16 = narrowed(x), y16 = narrowed(y);
    const Input input{x16.data(), x_strides, Type::bfloat16}, grad_y{y16.data(), y_strides, Type::bfloat16};
    Buffer expected(y.size, 0), sums(amx_weight_sums(shape), kNan), wide(spatial.size, kNan);
    Buffer narrow(pointwise.size, kNan);
    for (int64_t i = 0; i < y.size; ++i) expected.data[i] = bias.data[i % y_strides.column];
    for_each_multiply_add(shape, x_strides, y_strides, [&](int64_t in, int64_t out, int64_t wide, int64_t narrow) {
      expected.data[out] += x.data[in] * (wide >= 0 ? spatial.data[wide] : pointwise.data[narrow]);
    });
    amx_weight_grad(shape, grad_y, input, sums.data, wide.data, narrow.data, threads);
    return amx_convolves(Direction::forward, input, bias.data, y_strides, expected, threads) &&
           (!amx_serves(shape, Direction::input_grad) ||
            amx_convolves(Direction::input_grad, grad_y, nullptr, x_strides, grad_x, threads)) &&
           equal("grad_spatial, AMX", wide, grad_spatial, shape) &&
           equal("grad_pointwise, AMX", narrow, grad_pointwise, shape);
  }

  static std::vector<uint16_t> narrowed(const Buffer& buffer) {
    std::vector<uint16_t> all(static_cast<size_t>(buffer.size));
    std::transform(buffer.data, buffer.data + buffer.size, all.begin(), narrow);
    return all;
  }

  bool amx_convolves(Direction direction, const Input& from, const float* with_bias, const Strides& strides,
                     const Buffer& expected, const Threads& threads) const {
    Buffer packed(amx_packed_size(shape, direction), kNan), got(expected.size, kNan), rounded(expected.size, 0);
    amx_pack(shape, direction, {spatial.data, pointwise.data}, packed.data, threads);
    std::vector<uint16_t> to(static_cast<size_t>(expected.size), narrow(kNan));
    amx_convolve(shape, direction, from, packed.data, with_bias, {to.data(), strides, Type::bfloat16}, threads);
    std::transform(to.begin(), to.end(), got.data, widen);
    std::transform(expected.data, expected.data + expected.size, rounded.data,
                   [](float value) { return widen(narrow(value)); });
    return equal(direction == Direction::forward ? "y, AMX" : "grad_x, AMX", got, rounded, shape);
  }

  bool check_winograd(const Threads& threads) const {
    Shape fast = shape;
    fast.algorithm = Algorithm::winograd;
    if (!uses_winograd(fast)) return true;
    Buffer expected(y.size, kNan), got_y(y.size, kNan), got_x(grad_x.size, kNan);
    for (int64_t i = 0; i < y.size; ++i) {
      if (i % y_strides.column < shape.out_channels) expected.data[i] = bias.data[i % y_strides.column];
    }
    for_each_multiply_add(shape, x_strides, y_strides, [&](int64_t in, int64_t out, int64_t wide, int64_t narrow) {
      expected.data[out] += x.data[in] * (wide >= 0 ? spatial.data[wide] : pointwise.data[narrow]);
    });
    Buffer packed(packed_size(fast), kNan), packed_grad(packed_size_input_grad(fast), kNan);
    pack(fast, {spatial.data, pointwise.data}, packed.data, threads);
    forward(fast, {x.data, x_strides}, packed.data, {bias.data, nullptr, Activation::none}, {got_y.data, y_strides},
            threads);
    pack_input_grad(fast, {spatial.data, pointwise.data}, packed_grad.data, threads);
    input_grad(fast, {y.data, y_strides}, packed_grad.data, {got_x.data, x_strides}, threads);
    return close("y, Winograd", got_y, expected, shape, shape.in_channels) &&
           close("grad_x, Winograd", got_x, grad_x, shape, shape.out_channels) && check_winograd_memory(fast);
  }

  // Transformed inputs, products and sums of at most so many squares.
  bool check_winograd_memory(const Shape& fast) const {
    if (y.size == 0) return true;
    const Plan plan = plan_forward(fast);
    const Strips strips(plan, 1);
    const int64_t most = most_squares(plan), vectors = static_cast<int64_t>(plan.vectors.size()) * kernels().lanes;
    const int64_t elements = WinogradRing(plan, strips).elements();
    if (elements <= most * (kPositions * (shape.in_channels + vectors) + 16 * vectors) + kPositions * 32 * (most + 2))
      return true;
    std::printf("%s: Winograd needs %ld elements\n", describe(shape).c_str(), elements);
    return false;
  }

  // A strip is at most 96 Ki elements, or what one output pixel reads; pixels are set apart by a cache line at most.
  bool check_memory() const {
    if (y.size == 0) return true;
    const Plan plan = plan_forward(shape);
    const Strips strips(plan, 1);
    const int64_t channels = shape.in_channels, pixel = shape.kernel_height * shape.kernel_width * channels;
    const int64_t most = std::max<int64_t>(96 * 1024, pixel);
    if (strips.elements() <= most + most / channels * 16 + 16) return true;
    std::printf("%s: a strip of %ld elements\n", describe(shape).c_str(), strips.elements());
    return false;
  }

  bool check_forward(const Threads& threads, bool with_bias, bool with_residual, Activation activation) const {
    Buffer expected(y.size, kNan), residual(y.size, kNan), got(y.size, kNan), packed(packed_size(shape), kNan);
    fill(residual);
    for (int64_t i = 0; i < y.size; ++i) {
      const int64_t n = i % y_strides.column;
      if (n < shape.out_channels) {
        expected.data[i] = (with_bias ? bias.data[n] : 0) + (with_residual ? residual.data[i] : 0);
      }
    }
    for_each_multiply_add(shape, x_strides, y_strides, [&](int64_t in, int64_t out, int64_t wide, int64_t narrow) {
      expected.data[out] += x.data[in] * (wide >= 0 ? spatial.data[wide] : pointwise.data[narrow]);
    });
    for (int64_t i = 0; i < y.size; ++i) {
      float& value = expected.data[i];
      if (activation == Activation::relu || activation == Activation::relu6) value = value < 0 ? 0 : value;
      if (activation == Activation::relu6) value = value > 6 ? 6 : value;
      if (activation == Activation::silu) value = value / (1 + std::exp(-value));
    }
    pack(shape, {spatial.data, pointwise.data}, packed.data, threads);
    forward(shape, {x.data, x_strides}, packed.data,
            {with_bias ? bias.data : nullptr, with_residual ? residual.data : nullptr, activation},
            {got.data, y_strides}, threads);
    if (activation == Activation::silu) {
      for (int64_t i = 0; i < y.size; ++i) {
        if (std::fabs(got.data[i] - expected.data[i]) <= 3e-7f * std::fabs(expected.data[i]) + 1e-35f) {
          got.data[i] = expected.data[i];
        }
      }
    }
    return equal("y", got, expected, shape);
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 300;
  if (argc > 2) generator.seed(static_cast<unsigned>(std::atoi(argv[2])));
  const char* const every_set[] = {"avx512", "avx2", "neon", "portable"};
  std::vector<const char*> sets;
  std::copy_if(std::begin(every_set), std::end(every_set), std::back_inserter(sets), choose_instruction_set);
  int failures = 0, checked = 0;
  for (int i = 0; i < cases; ++i) {
    const Shape shape = random_shape(i % 2 == 1);
    const Case layer(shape, static_cast<int64_t>(generator() % 3));
    const Threads& threads = kThreads[i % 3];
    for (const char* name : sets) {
      choose_instruction_set(name);
      const bool right = layer.check_gradients(threads) &&
                         layer.check_forward(threads, false, false, Activation::none) &&
                         layer.check_forward(threads, true, i % 2 == 0, static_cast<Activation>(i % 4)) &&
                         layer.check_bfloat16(threads) && layer.check_winograd(threads) && layer.check_memory();
      failures += !right;
      ++checked;
    }
  }
  for (int i = 0; i < cases / 2 && choose_instruction_set("avx512_amx"); ++i, ++checked) {
    failures += !Case(random_amx_shape(), 0).check_amx(kThreads[i % 3]);
  }
  std::printf("%d layers checked, %d wrong:", checked, failures);
  for (const char* set : sets) std::printf(" %s", set);
  std::printf("\n");
  return failures != 0;
}
