// Pools as steps, of u8 and of float32.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "../int8/kernels.h"
#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

using Bytes = const uint8_t*;

constexpr int64_t kMostBytes = 1 << 23;  // so many sum to an int32

void check_sums(int64_t pixels) { check_step(pixels <= kMostBytes, "a mean is of more than 2^23 pixels of 8 bits"); }

// Visits each output pixel with the pixels of its window that are inside the image.
class Pool : public Step {
 public:
  Pool(const Window& window, bool count_padding) : window_(window), count_padding_(count_padding) {
    check_step(2 * window.padding_height <= window.kernel_height && 2 * window.padding_width <= window.kernel_width,
               "a pool is padded by more than half of its window");
  }
  Value output(const std::vector<Value>& inputs) const override {
    const int64_t height = window_.out_height(inputs[0].height), width = window_.out_width(inputs[0].width);
    return inputs[0].of_size(inputs[0].channels, height, width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height, y.width * y.pixel_bytes() * 9, [&](int64_t begin, int64_t end) {
        std::vector<Bytes> inside;
        for (int64_t line = begin; line < end; ++line) {
          const Bytes image = static_cast<Bytes>(in[0]) + line / y.height * x.height * x.width * x.pixel_bytes();
          uint8_t* const to = static_cast<uint8_t*>(out) + line * y.width * y.pixel_bytes();
          for (int64_t column = 0; column < y.width; ++column) {
            const int64_t top = line % y.height * window_.stride_height - window_.padding_height;
            const int64_t left = column * window_.stride_width - window_.padding_width;
            inside.clear();
            const Range rows = taps_inside(top, x.height, window_.kernel_height, window_.dilation_height);
            const Range columns = taps_inside(left, x.width, window_.kernel_width, window_.dilation_width);
            for (int64_t i = rows.begin; i < rows.end; ++i) {
              for (int64_t j = columns.begin; j < columns.end; ++j) {
                const int64_t row = top + i * window_.dilation_height, at = left + j * window_.dilation_width;
                inside.push_back(image + (row * x.width + at) * x.pixel_bytes());
              }
            }
            const int64_t count = static_cast<int64_t>(inside.size());
            const int64_t bottom = std::min(top + window_.kernel_height, x.height + window_.padding_height);
            const int64_t right = std::min(left + window_.kernel_width, x.width + window_.padding_width);
            const int64_t counted = count_padding_ ? (bottom - top) * (right - left) : count;
            pool(inside.data(), count, counted, y, to + column * y.pixel_bytes());
          }
        }
      });
    };
  }

 protected:
  virtual void pool(const Bytes* pixels, int64_t count, int64_t counted, const Value& y, uint8_t* to) const = 0;

 private:
  Window window_;
  bool count_padding_;
};

const float* const* floats(const Bytes* pixels) { return reinterpret_cast<const float* const*>(pixels); }

class MaxPool : public Pool {
 public:
  explicit MaxPool(const Window& window) : Pool(window, false) {}
  void pool(const Bytes* pixels, int64_t count, int64_t, const Value& y, uint8_t* to) const override {
    float* const real = reinterpret_cast<float*>(to);
    if (count == 0) {  // a dilated window can have all of its taps outside
      if (y.type == Int8Output::uint8) std::fill(to, to + y.pixel, uint8_t{0});
      if (y.type == Int8Output::float32) std::fill(real, real + y.pixel, -std::numeric_limits<float>::infinity());
      return;
    }
    y.type == Int8Output::uint8 ? int8_kernels().max(pixels, count, y.pixel, to)
                                : kernels().max(floats(pixels), count, y.channels, real);
  }
};

class AveragePool : public Pool {
 public:
  AveragePool(const Window& window, int32_t zero, bool count_padding) : Pool(window, count_padding), zero_(zero) {
    check_step(window.dilation_height == 1 && window.dilation_width == 1, "an average has no dilation");
    area_ = window.kernel_height * window.kernel_width;
  }
  Value output(const std::vector<Value>& inputs) const override {
    if (inputs[0].type == Int8Output::uint8) check_sums(area_);
    return Pool::output(inputs);
  }
  void pool(const Bytes* pixels, int64_t count, int64_t counted, const Value& y, uint8_t* to) const override {
    if (y.type == Int8Output::float32) {
      kernels().mean(floats(pixels), count, y.channels, static_cast<float>(counted), reinterpret_cast<float*>(to));
      return;
    }
    const float share = 1.0f / static_cast<float>(counted);
    for (int64_t block = 0; block < y.pixel; block += kBlock) {
      int32_t sums[kBlock];
      Bytes here[64];
      std::fill(sums, sums + kBlock, static_cast<int32_t>(counted - count) * zero_);
      for (int64_t first = 0; first < count; first += 64) {  // a window of any size
        const int64_t some = std::min<int64_t>(64, count - first);
        for (int64_t i = 0; i < some; ++i) here[i] = pixels[first + i] + block;
        int32_t part[kBlock];
        int8_kernels().sum(here, some, kBlock, part);
        for (int64_t k = 0; k < kBlock; ++k) sums[k] += part[k];
      }
      for (int64_t k = 0; k < kBlock; ++k) {
        to[block + k] = static_cast<uint8_t>(std::nearbyint(static_cast<float>(sums[k]) * share));
      }
    }
  }

 private:
  int32_t zero_;
  int64_t area_;
};

class GlobalAverage : public Step {
 public:
  GlobalAverage(float scale, int32_t zero) : scale_(scale), zero_(zero) {}
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs[0].type == Int8Output::uint8, "a global average is of u8");
    check_sums(inputs[0].height * inputs[0].width);
    return float_value(inputs[0].channels, 1, 1);
  }
  Run prepare(const std::vector<Value>& inputs, const Value&, int64_t batch, int) const override {
    const Value x = inputs[0];
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch, x.bytes(1), [&](int64_t begin, int64_t end) {
        const int64_t count = x.height * x.width;
        std::vector<Bytes> pixels(static_cast<size_t>(count));
        std::vector<int32_t> sums(static_cast<size_t>(x.pixel));
        for (int64_t b = begin; b < end; ++b) {
          for (int64_t i = 0; i < count; ++i) {
            pixels[static_cast<size_t>(i)] = static_cast<Bytes>(in[0]) + (b * count + i) * x.pixel;
          }
          int8_kernels().sum(pixels.data(), count, x.pixel, sums.data());
          float* const to = static_cast<float*>(out) + b * x.channels;
          const float share = scale_ / static_cast<float>(count);
          for (int64_t c = 0; c < x.channels; ++c) {
            to[c] =
                static_cast<float>(sums[static_cast<size_t>(byte_of(c))] - static_cast<int32_t>(count) * zero_) * share;
          }
        }
      });
    };
  }

 private:
  float scale_;
  int32_t zero_;
};

class AdaptiveAverage : public Step {
 public:
  AdaptiveAverage(int64_t height, int64_t width) : height_(height), width_(width) {}
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs[0].type == Int8Output::float32, "an adaptive average is of float32");
    return float_value(inputs[0].channels, height_, width_);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=](const void* const* in, void* out, const Threads& all) {
      const int64_t cells = y.height * y.width;
      parallel_where_it_pays(all, batch * cells, x.bytes(1) / cells, [&](int64_t begin, int64_t end) {
        std::vector<const float*> pixels;
        for (int64_t at = begin; at < end; ++at) {
          const int64_t row = at % cells / y.width, column = at % y.width;
          const float* const image = static_cast<const float*>(in[0]) + at / cells * x.height * x.width * x.pixel;
          pixels.clear();
          for (int64_t i = row * x.height / y.height; i * y.height < (row + 1) * x.height; ++i) {
            for (int64_t j = column * x.width / y.width; j * y.width < (column + 1) * x.width; ++j) {
              pixels.push_back(image + (i * x.width + j) * x.pixel);
            }
          }
          const int64_t count = static_cast<int64_t>(pixels.size());
          kernels().mean(pixels.data(), count, x.channels, static_cast<float>(count),
                         static_cast<float*>(out) + at * y.pixel);
        }
      });
    };
  }

 private:
  int64_t height_, width_;
};

}  // namespace

std::unique_ptr<Step> max_pool_step(const Window& window) { return std::make_unique<MaxPool>(window); }
std::unique_ptr<Step> average_pool_step(const Window& window, int32_t zero, bool count_padding) {
  return std::make_unique<AveragePool>(window, zero, count_padding);
}
std::unique_ptr<Step> global_average_step(float scale, int32_t zero) {
  return std::make_unique<GlobalAverage>(scale, zero);
}
std::unique_ptr<Step> adaptive_average_step(int64_t height, int64_t width) {
  return std::make_unique<AdaptiveAverage>(height, width);
}

}  // namespace hetconv
