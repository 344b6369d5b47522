// Layers of 8 bits against plain loops over their definition, with ==, for every instruction set and 1 to 3 threads.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <thread>
#include <vector>

#include "../checked.h"
#include "../int8/convolution.h"
#include "../int8/packed_weights.h"

using namespace hetconv;

namespace {

template <class Number>
struct Buffer {  // exactly as large as needed, so that AddressSanitizer sees each access outside
  Number* data;
  int64_t size;
  Buffer(int64_t size, Number value) : data(nullptr), size(size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, static_cast<size_t>(std::max<int64_t>(size, 1)) * sizeof(Number)) != 0)
      std::abort();
    data = static_cast<Number*>(memory);
    std::fill(data, data + size, value);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data); }
  Number& operator[](int64_t i) { return data[i]; }
  const Number& operator[](int64_t i) const { return data[i]; }
};

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
int64_t between(int64_t least, int64_t most) {
  return least + static_cast<int64_t>(generator() % static_cast<uint64_t>(most - least + 1));
}

Shape random_shape() {
  Shape shape{};
  shape.p = pick({1, 2, 4, 8, 16});
  shape.in_channels = pick({1, 3, 16, 20, 40, 64, 70, 128, 192, 256});
  shape.out_channels = pick({1, 5, 16, 33, 64, 65, 128, 192, 256});
  while (shape.in_channels % shape.p != 0 || shape.out_channels % shape.p != 0) shape.p /= 2;
  shape.batch = pick({1, 2, 3});
  shape.in_height = pick({1, 2, 4, 7, 9, 30});
  shape.in_width = pick({1, 2, 4, 7, 13, 31});
  shape.kernel_height = pick({1, 3, 3, 5});
  shape.kernel_width = pick({1, 3, 3, 5});
  shape.stride_height = pick({1, 1, 2, 3});
  shape.stride_width = pick({1, 1, 2, 3});
  shape.padding_height = pick({0, 1, 1, 2});
  shape.padding_width = pick({0, 1, 1, 2});
  shape.dilation_height = pick({1, 1, 2});
  shape.dilation_width = pick({1, 1, 2});
  shape.shifted = true;
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

struct Case {
  Shape shape;
  Buffer<uint8_t> x;
  Buffer<float> images;  // of float32: the same numbers
  Buffer<uint8_t> residual;
  Buffer<int8_t> weights;
  Buffer<int32_t> start;
  Buffer<float> scale;
  uint8_t padding;
  Int8Epilogue epilogue;
  int64_t outputs;  // elements, up to whole blocks

  explicit Case(const Shape& s, bool far)
      : shape(s),
        x(s.batch * s.in_height * s.in_width * whole_blocks(s.in_channels), 0),
        images(s.p == 1 && s.in_channels <= kMostFloatChannels ? s.batch * s.in_height * s.in_width * s.in_channels : 0,
               0),
        residual(s.batch * s.out_height * s.out_width * whole_blocks(s.out_channels), 0),
        weights(s.out_channels * s.in_channels * s.kernel_height * s.kernel_width, 0),
        start(whole_blocks(s.out_channels), 0),
        scale(whole_blocks(s.out_channels), 0),
        padding(static_cast<uint8_t>(pick({0, 0, 3, 128, 255}))),
        outputs(residual.size) {
    const int64_t end = pick({0, 255});
    for (int64_t i = 0; i < x.size; ++i) x[i] = static_cast<uint8_t>(far ? end : between(0, 255));
    for (int64_t i = 0; i < residual.size; ++i) residual[i] = static_cast<uint8_t>(between(0, 255));
    const int64_t taps = s.kernel_height * s.kernel_width;
    for (int64_t i = 0; i < weights.size; ++i) {
      const int64_t n = i / taps / s.in_channels, m = i / taps % s.in_channels;
      const bool there = m % s.p == n % s.p || i % taps == taps / 2;
      // all as large as can be: what saturates on the way shows
      if (there) weights[i] = static_cast<int8_t>(far ? (n % 2 == 0 ? 127 : -128) : between(-128, 127));
    }
    for (int64_t n = 0; n < s.out_channels; ++n) {
      start[n] = static_cast<int32_t>(between(-100000, 100000));
      scale[n] = static_cast<float>(between(1, 1000)) / 1e7f;
    }
    for (int64_t i = 0; i < images.size; ++i) {
      const int64_t at = i / s.in_channels * whole_blocks(s.in_channels) + byte_of(i % s.in_channels);
      const float distance = static_cast<float>(x[at] - padding);
      const float beyond = x[at] == 0 ? -1000.0f : x[at] == 255 ? 1000.0f : 0.25f;
      images[i] = (distance + beyond) * 0.5f;
    }
    epilogue = {start.data, scale.data};
    if (pick({0, 1}) != 0) {
      epilogue.residual = residual.data;
      epilogue.residual_scale = static_cast<float>(between(1, 1000)) / 700;
      epilogue.residual_zero = static_cast<int32_t>(pick({0, 7, 128}));
    }
    epilogue.zero = static_cast<int32_t>(pick({0, 0, 11, 128}));
    epilogue.least = static_cast<float>(pick({0, epilogue.zero}));
    epilogue.most = static_cast<float>(pick({255, 255, 200}));
  }

  bool from_float() const { return images.size > 0; }
  Int8Input input() const {
    if (!from_float()) return {x.data, padding};
    return {images.data, padding, 2.0f};
  }

  int32_t sum(int64_t b, int64_t row, int64_t column, int64_t n) const {
    const Shape& s = shape;
    int32_t sum = start[n];
    for (int64_t m = 0; m < s.in_channels; ++m) {
      for (int64_t i = 0; i < s.kernel_height; ++i) {
        for (int64_t j = 0; j < s.kernel_width; ++j) {
          const int64_t y = row * s.stride_height - s.padding_height + i * s.dilation_height;
          const int64_t x_ = column * s.stride_width - s.padding_width + j * s.dilation_width;
          const bool inside = y >= 0 && y < s.in_height && x_ >= 0 && x_ < s.in_width;
          const int64_t at = ((b * s.in_height + y) * s.in_width + x_) * whole_blocks(s.in_channels) + byte_of(m);
          sum += (inside ? x[at] : padding) *
                 weights[((n * s.in_channels + m) * s.kernel_height + i) * s.kernel_width + j];
        }
      }
    }
    return sum;
  }

  float real(int64_t pixel, int32_t sum, int64_t n) const {
    float real = static_cast<float>(sum) * scale[n];
    if (epilogue.residual != nullptr) {
      const int32_t added = residual[pixel * whole_blocks(shape.out_channels) + byte_of(n)] - epilogue.residual_zero;
      real += static_cast<float>(added) * epilogue.residual_scale;
    }
    return real;
  }
};

// Calls visit(pixel, filter, real) for every output.
template <class Visit>
void for_each_output(const Case& c, const Visit& visit) {
  const Shape& s = c.shape;
  for (int64_t b = 0, pixel = 0; b < s.batch; ++b) {
    for (int64_t row = 0; row < s.out_height; ++row) {
      for (int64_t column = 0; column < s.out_width; ++column, ++pixel) {
        for (int64_t n = 0; n < s.out_channels; ++n) visit(pixel, n, c.real(pixel, c.sum(b, row, column, n), n));
      }
    }
  }
}

int failures = 0;

// Packs the weights; and they are unpacked bit by bit.
void check_packing(const Case& c, char* packed, int64_t bytes, const char* set) {
  const Shape& s = c.shape;
  const int64_t taps = s.kernel_height * s.kernel_width, own = s.in_channels / s.p;
  Buffer<int8_t> spatial(spatial_weights(s), 0), pointwise(pointwise_weights(s), 0);
  std::vector<int64_t> sums;
  int64_t others = 0;
  for (int64_t n = 0; n < s.out_channels; ++n) {
    int64_t largest[2] = {};
    for (int64_t m = 0; m < s.in_channels; ++m) {
      const int8_t* const kernel = c.weights.data + (n * s.in_channels + m) * taps;
      for (int64_t tap = 0; tap < taps; ++tap) largest[kernel[tap] > 0] += 255 * std::abs(kernel[tap]);
      if (m % s.p == n % s.p) {
        std::copy_n(kernel, taps, spatial.data + (n * own + m / s.p) * taps);
      } else {
        pointwise[others++] = kernel[taps / 2];
      }
    }
    sums.push_back(std::max(largest[0], largest[1]));
  }
  pack_int8_weights(s, spatial.data, pointwise.data, packed);
  Buffer<int8_t> spatial_again(spatial.size, 55), pointwise_again(pointwise.size, 55);
  bool right = is_packed_int8_for(s, packed, bytes) && !is_packed_int8_for(s, packed, bytes - 1);
  if (right) unpack_int8_weights(s, packed, spatial_again.data, pointwise_again.data);
  right = right && std::equal(spatial.data, spatial.data + spatial.size, spatial_again.data) &&
          std::equal(pointwise.data, pointwise.data + pointwise.size, pointwise_again.data);
  for (int64_t n = 0; n < s.out_channels; ++n) right &= int8_largest_sum(packed, n) == sums[static_cast<size_t>(n)];
  if (right) return;
  ++failures;
  std::printf("%s: weights are not unpacked: M%ld N%ld P%ld\n", set, s.in_channels, s.out_channels, s.p);
}

void check(const Case& c, const std::vector<float>& reals, const char* set, const Threads& threads) {
  const int64_t blocks = whole_blocks(c.shape.out_channels);
  const int64_t size = int8_packed_weights_size(c.shape), before = size - int8_packed_size(c.shape);
  Buffer<char> memory(size, 77);
  check_packing(c, memory.data, size, set);
  const char* const packed = memory.data + before;
  Buffer<uint8_t> bytes(c.outputs, 99);
  Buffer<float> floats(c.outputs, NAN);
  const Int8Convolution layer(c.shape, c.from_float(), threads.count);
  layer.run(c.input(), packed, c.epilogue, bytes.data, Int8Output::uint8, threads);
  Int8Epilogue real_epilogue = c.epilogue;
  real_epilogue.least = -1e30f;
  real_epilogue.most = 1e30f;
  layer.run(c.input(), packed, real_epilogue, floats.data, Int8Output::float32, threads);
  int64_t wrong = 0;
  for (size_t i = 0; i < reals.size(); ++i) {
    const int64_t pixel = static_cast<int64_t>(i) / c.shape.out_channels,
                  n = static_cast<int64_t>(i) % c.shape.out_channels;
    const float want =
        std::clamp(std::nearbyint(reals[i]) + static_cast<float>(c.epilogue.zero), c.epilogue.least, c.epilogue.most);
    wrong += bytes[pixel * blocks + byte_of(n)] != want;
    wrong += floats[pixel * blocks + n] != reals[i];
  }
  if (wrong == 0) return;
  ++failures;
  const Shape& s = c.shape;
  std::printf(
      "%s, %d threads: %ld wrong: M%ld N%ld P%ld B%ld %ldx%ld kernel %ldx%ld stride %ld,%ld padding %ld,%ld "
      "dilation %ld,%ld\n",
      set, threads.count, wrong, s.in_channels, s.out_channels, s.p, s.batch, s.in_height, s.in_width, s.kernel_height,
      s.kernel_width, s.stride_height, s.stride_width, s.padding_height, s.padding_width, s.dilation_height,
      s.dilation_width);
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 300;
  if (argc > 2) generator.seed(static_cast<unsigned>(std::atoi(argv[2])));
  const char* const every_set[] = {"avx512_amx", "avx512_vnni",  "avx512", "avx2_vnni", "avx2",
                                   "neon_i8mm",  "neon_dotprod", "neon",   "portable"};
  std::vector<const char*> sets;
  std::copy_if(std::begin(every_set), std::end(every_set), std::back_inserter(sets), choose_instruction_set);
  int run = 0;
  while (run < cases) {
    const Shape shape = random_shape();
    if (shape.out_height == 0 || shape.out_width == 0) continue;
    const Case c(shape, run % 10 == 0);
    std::vector<float> reals;
    for_each_output(c, [&](int64_t, int64_t, float real) { reals.push_back(real); });
    for (const char* set : sets) {
      choose_instruction_set(set);
      check(c, reals, set, kThreads[run % 3]);
    }
    ++run;
  }
  std::printf("%d cases of 8 bits, %d failures:", cases, failures);
  for (const char* set : sets) std::printf(" %s", set);
  std::printf("\n");
  return failures == 0 ? 0 : 1;
}
