// What is between a network's convolutions: quantizing, pools, additions.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "../int8/kernels.h"
#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

void check(bool holds, const char* reason) {
  if (!holds) throw std::invalid_argument(reason);
}

int64_t pixels_of(const Value& value, int64_t batch) { return batch * value.height * value.width; }

class Quantize : public Step {
 public:
  Quantize(float factor, int32_t zero) : factor_(factor), zero_(zero) {
    check(std::isfinite(factor) && zero >= 0 && zero <= 255, "a tensor's range explodes");
  }
  Value output(const std::vector<Value>& inputs) const override {
    check(inputs[0].type == Int8Output::float32, "what is quantized must be float32");
    return uint8_value(inputs[0].channels, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const int64_t pixels = pixels_of(output, batch), from_step = inputs[0].pixel, to_step = output.pixel;
    const int64_t channels = output.channels, whole = channels / kBlock;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, pixels, [&](int64_t begin, int64_t end) {
        const Int8Kernels& kernels = int8_kernels();
        if (channels % kBlock == 0 && from_step == to_step) {
          kernels.quantize(static_cast<const float*>(in[0]) + begin * from_step,
                           static_cast<uint8_t*>(out) + begin * to_step, (end - begin) * whole, factor_, zero_);
          return;
        }
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          const float* const from = static_cast<const float*>(in[0]) + pixel * from_step;
          uint8_t* const to = static_cast<uint8_t*>(out) + pixel * to_step;
          kernels.quantize(from, to, whole, factor_, zero_);
          if (channels % kBlock == 0) continue;
          float last[kBlock] = {};
          std::copy(from + whole * kBlock, from + channels, last);
          kernels.quantize(last, to + whole * kBlock, 1, factor_, zero_);
        }
      });
    };
  }

 private:
  float factor_;
  int32_t zero_;
};

class Dequantize : public Step {
 public:
  Dequantize(float scale, int32_t zero) : scale_(scale), zero_(zero) {}
  Value output(const std::vector<Value>& inputs) const override {
    check(inputs[0].type == Int8Output::uint8, "what is dequantized must be u8");
    return float_value(inputs[0].channels, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const int64_t pixels = pixels_of(output, batch), from_step = inputs[0].pixel, channels = output.channels;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, pixels, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          const uint8_t* const from = static_cast<const uint8_t*>(in[0]) + pixel * from_step;
          float* const to = static_cast<float*>(out) + pixel * channels;
          for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<float>(from[byte_of(c)] - zero_) * scale_;
        }
      });
    };
  }

 private:
  float scale_;
  int32_t zero_;
};

// Visits each output pixel with the pixels of its window that are inside the image.
class Pool : public Step {
 public:
  Pool(const Window& window, bool count_padding) : window_(window), count_padding_(count_padding) {
    check(2 * window.padding_height <= window.kernel_height && 2 * window.padding_width <= window.kernel_width,
          "a pool is padded by more than half of its window");
  }
  Value output(const std::vector<Value>& inputs) const override {
    check(inputs[0].type == Int8Output::uint8, "pools are of u8");
    return uint8_value(inputs[0].channels, window_.out_height(inputs[0].height), window_.out_width(inputs[0].width));
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, batch * y.height, [&](int64_t begin, int64_t end) {
        std::vector<const uint8_t*> inside(static_cast<size_t>(window_.kernel_height * window_.kernel_width));
        for (int64_t line = begin; line < end; ++line) {
          const uint8_t* const image =
              static_cast<const uint8_t*>(in[0]) + line / y.height * x.height * x.width * x.pixel;
          for (int64_t column = 0; column < y.width; ++column) {
            const int64_t top = line % y.height * window_.stride_height - window_.padding_height;
            const int64_t left = column * window_.stride_width - window_.padding_width;
            size_t count = 0;
            for (int64_t i = 0; i < window_.kernel_height; ++i) {
              for (int64_t j = 0; j < window_.kernel_width; ++j) {
                const int64_t row = top + i * window_.dilation_height, at = left + j * window_.dilation_width;
                if (row < 0 || row >= x.height || at < 0 || at >= x.width) continue;
                inside[count++] = image + (row * x.width + at) * x.pixel;
              }
            }
            const int64_t bottom = std::min(top + window_.kernel_height, x.height + window_.padding_height);
            const int64_t right = std::min(left + window_.kernel_width, x.width + window_.padding_width);
            const int64_t counted = count_padding_ ? (bottom - top) * (right - left) : static_cast<int64_t>(count);
            pool(inside.data(), static_cast<int64_t>(count), counted, y.pixel,
                 static_cast<uint8_t*>(out) + (line * y.width + column) * y.pixel);
          }
        }
      });
    };
  }

 protected:
  virtual void pool(const uint8_t* const* pixels, int64_t count, int64_t counted, int64_t bytes, uint8_t* to) const = 0;

 private:
  Window window_;
  bool count_padding_;
};

class MaxPool : public Pool {
 public:
  explicit MaxPool(const Window& window) : Pool(window, false) {}
  void pool(const uint8_t* const* pixels, int64_t count, int64_t, int64_t bytes, uint8_t* to) const override {
    int8_kernels().max(pixels, count, bytes, to);
  }
};

class AveragePool : public Pool {
 public:
  AveragePool(const Window& window, int32_t zero, bool count_padding) : Pool(window, count_padding), zero_(zero) {}
  void pool(const uint8_t* const* pixels, int64_t count, int64_t counted, int64_t bytes, uint8_t* to) const override {
    const float share = 1.0f / static_cast<float>(counted);
    for (int64_t block = 0; block < bytes; block += kBlock) {
      int32_t sums[kBlock];
      const uint8_t* here[64];
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
};

class GlobalAverage : public Step {
 public:
  GlobalAverage(float scale, int32_t zero) : scale_(scale), zero_(zero) {}
  Value output(const std::vector<Value>& inputs) const override {
    check(inputs[0].type == Int8Output::uint8, "a global average is of u8");
    return float_value(inputs[0].channels, 1, 1);
  }
  Run prepare(const std::vector<Value>& inputs, const Value&, int64_t batch, int) const override {
    const Value x = inputs[0];
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, batch, [&](int64_t begin, int64_t end) {
        const int64_t count = x.height * x.width;
        std::vector<const uint8_t*> pixels(static_cast<size_t>(count));
        std::vector<int32_t> sums(static_cast<size_t>(x.pixel));
        for (int64_t b = begin; b < end; ++b) {
          for (int64_t i = 0; i < count; ++i) {
            pixels[static_cast<size_t>(i)] = static_cast<const uint8_t*>(in[0]) + (b * count + i) * x.pixel;
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

class Add : public Step {
 public:
  Add(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most)
      : terms_(terms), zero_(zero), least_(least), most_(most) {
    double largest = 0;
    for (const Term& term : terms) largest += 255.0 * std::abs(static_cast<double>(term.scale));
    check(!terms.empty() && terms.size() <= 2, "one or two values are added");
    check(largest < std::numeric_limits<int32_t>::max() / 2, "an addition's range explodes");
  }
  Value output(const std::vector<Value>& inputs) const override {
    for (const Value& value : inputs) {
      check(value.type == Int8Output::uint8 && value.channels == inputs[0].channels &&
                value.height == inputs[0].height && value.width == inputs[0].width,
            "what is added must be u8 of one size");
    }
    check(inputs.size() == terms_.size(), "an addition has another number of inputs");
    return inputs[0];
  }
  Run prepare(const std::vector<Value>& inputs, const Value&, int64_t batch, int) const override {
    const int64_t blocks = inputs[0].bytes(batch) / kBlock;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, blocks, [&](int64_t begin, int64_t end) {
        const auto term = [&](size_t i) -> Int8Term {
          if (i >= terms_.size()) return {nullptr, 0, 0};
          return {static_cast<const uint8_t*>(in[i]) + begin * kBlock, terms_[i].scale, terms_[i].zero};
        };
        int8_kernels().add(term(0), term(1), {static_cast<uint8_t*>(out) + begin * kBlock, zero_, least_, most_},
                           (end - begin) * kBlock / 4);
      });
    };
  }

 private:
  std::vector<Term> terms_;
  int32_t zero_, least_, most_;
};

// Channels of a pixel to those from `first` on of another, where a block holds them as they are or elsewhere.
void copy_channels(const uint8_t* from, int64_t channels, uint8_t* to, int64_t first) {
  if (first % kBlock == 0) {
    std::memcpy(to + first, from, static_cast<size_t>(whole_blocks(channels)));
    return;
  }
  for (int64_t c = 0; c < channels; ++c) to[byte_of(first + c)] = from[byte_of(c)];
}

class PadChannels : public Step {
 public:
  PadChannels(int64_t before, int64_t after, int32_t zero) : before_(before), after_(after), zero_(zero) {
    check(before >= 0 && after >= 0 && zero >= 0 && zero <= 255, "channels cannot be padded by less than none");
  }
  Value output(const std::vector<Value>& inputs) const override {
    check(inputs[0].type == Int8Output::uint8, "channels of u8 are padded");
    return uint8_value(before_ + inputs[0].channels + after_, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel(all, pixels_of(y, batch), [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          uint8_t* const to = static_cast<uint8_t*>(out) + pixel * y.pixel;
          std::memset(to, zero_, static_cast<size_t>(y.pixel));
          const uint8_t* const from = static_cast<const uint8_t*>(in[0]) + pixel * x.pixel;
          for (int64_t c = 0; c < x.channels; ++c) to[byte_of(before_ + c)] = from[byte_of(c)];
        }
      });
    };
  }

 private:
  int64_t before_, after_;
  int32_t zero_;
};

class Concatenate : public Step {
 public:
  Value output(const std::vector<Value>& inputs) const override {
    int64_t channels = 0;
    for (const Value& value : inputs) {
      check(value.type == Int8Output::uint8 && value.height == inputs[0].height && value.width == inputs[0].width,
            "what is concatenated must be u8 of one size");
      channels += value.channels;
    }
    return uint8_value(channels, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    return [=](const void* const* in, void* out, const Threads& all) {
      parallel(all, pixels_of(y, batch), [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          uint8_t* const to = static_cast<uint8_t*>(out) + pixel * y.pixel;
          int64_t first = 0;
          for (size_t i = 0; i < inputs.size(); ++i) {
            const Value& x = inputs[i];
            copy_channels(static_cast<const uint8_t*>(in[i]) + pixel * x.pixel, x.channels, to, first);
            first += x.channels;
          }
        }
      });
    };
  }
};

class Flatten : public Step {
 public:
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    Value made = x.type == Int8Output::uint8 ? uint8_value(x.channels * x.height * x.width, 1, 1)
                                             : float_value(x.channels * x.height * x.width, 1, 1);
    return made;
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=](const void* const* in, void* out, const Threads&) {
      const int64_t area = x.height * x.width;
      if (area == 1 && x.pixel == y.pixel) {
        std::memcpy(out, in[0], static_cast<size_t>(x.bytes(batch)));
        return;
      }
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t i = 0; i < area; ++i) {
          for (int64_t c = 0; c < x.channels; ++c) {
            const int64_t from = (b * area + i) * x.pixel, to = b * y.pixel, at = c * area + i;
            if (x.type == Int8Output::uint8) {
              static_cast<uint8_t*>(out)[to + byte_of(at)] = static_cast<const uint8_t*>(in[0])[from + byte_of(c)];
            } else {
              static_cast<float*>(out)[to + at] = static_cast<const float*>(in[0])[from + c];
            }
          }
        }
      }
    };
  }
};

}  // namespace

std::unique_ptr<Step> quantize_step(float factor, int32_t zero) { return std::make_unique<Quantize>(factor, zero); }
std::unique_ptr<Step> dequantize_step(float scale, int32_t zero) { return std::make_unique<Dequantize>(scale, zero); }
std::unique_ptr<Step> max_pool_step(const Window& window) { return std::make_unique<MaxPool>(window); }
std::unique_ptr<Step> average_pool_step(const Window& window, int32_t zero, bool count_padding) {
  return std::make_unique<AveragePool>(window, zero, count_padding);
}
std::unique_ptr<Step> global_average_step(float scale, int32_t zero) {
  return std::make_unique<GlobalAverage>(scale, zero);
}
std::unique_ptr<Step> add_step(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most) {
  return std::make_unique<Add>(terms, zero, least, most);
}
std::unique_ptr<Step> concatenate_step() { return std::make_unique<Concatenate>(); }
std::unique_ptr<Step> pad_channels_step(int64_t before, int64_t after, int32_t zero) {
  return std::make_unique<PadChannels>(before, after, zero);
}
std::unique_ptr<Step> flatten_step() { return std::make_unique<Flatten>(); }

}  // namespace hetconv
