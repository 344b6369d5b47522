// What is between a network's convolutions: quantizing, additions of u8, other arrangements of channels.
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

int64_t pixels_of(const Value& value, int64_t batch) { return batch * value.height * value.width; }

class Quantize : public Step {
 public:
  Quantize(float factor, int32_t zero) : factor_(factor), zero_(zero) {
    check_step(std::isfinite(factor) && zero >= 0 && zero <= 255, "a tensor's range explodes");
  }
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs[0].type == Int8Output::float32, "what is quantized must be float32");
    return uint8_value(inputs[0].channels, inputs[0].height, inputs[0].width);
  }
  bool wants_finite() const override { return true; }
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
    check_step(inputs[0].type == Int8Output::uint8, "what is dequantized must be u8");
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

class Add : public Step {
 public:
  Add(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most)
      : terms_(terms), zero_(zero), least_(least), most_(most) {
    double largest = 0;
    for (const Term& term : terms) largest += 255.0 * std::abs(static_cast<double>(term.scale));
    check_step(!terms.empty() && terms.size() <= 2, "one or two values are added");
    check_step(largest < std::numeric_limits<int32_t>::max() / 2, "an addition's range explodes");
  }
  Value output(const std::vector<Value>& inputs) const override {
    for (const Value& value : inputs) {
      check_step(value.type == Int8Output::uint8 && value.channels == inputs[0].channels &&
                     value.height == inputs[0].height && value.width == inputs[0].width,
                 "what is added must be u8 of one size");
    }
    check_step(inputs.size() == terms_.size(), "an addition has another number of inputs");
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

// Channels of a pixel to those from `first` on of another.
void copy_channels(const Value& x, const void* from, void* to, int64_t first) {
  if (x.type == Int8Output::float32) {
    std::copy_n(static_cast<const float*>(from), x.channels, static_cast<float*>(to) + first);
    return;
  }
  const auto* const bytes = static_cast<const uint8_t*>(from);
  auto* const out = static_cast<uint8_t*>(to);
  if (first % kBlock == 0) {  // a block holds them as they are
    std::memcpy(out + first, bytes, static_cast<size_t>(whole_blocks(x.channels)));
    return;
  }
  for (int64_t c = 0; c < x.channels; ++c) out[byte_of(first + c)] = bytes[byte_of(c)];
}

const void* pixel_of(const void* data, const Value& value, int64_t pixel) {
  return static_cast<const char*>(data) + pixel * value.pixel_bytes();
}

class PadChannels : public Step {
 public:
  PadChannels(int64_t before, int64_t after, int32_t zero) : before_(before), after_(after), zero_(zero) {
    check_step(before >= 0 && after >= 0 && zero >= 0 && zero <= 255, "channels cannot be padded by less than none");
    check_step(before <= INT32_MAX && after <= INT32_MAX, "channels are padded by too many");
  }
  Value output(const std::vector<Value>& inputs) const override {
    return inputs[0].of_size(before_ + inputs[0].channels + after_, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    const int filler = y.type == Int8Output::uint8 ? zero_ : 0;
    const int64_t end_of_x = before_ + x.channels;  // behind it a copied block holds anything
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, pixels_of(y, batch), y.pixel_bytes() * 2, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          char* const to = static_cast<char*>(out) + pixel * y.pixel_bytes();
          std::memset(to, filler, static_cast<size_t>(y.pixel_bytes()));
          copy_channels(x, pixel_of(in[0], x, pixel), to, before_);
          if (y.type == Int8Output::float32) continue;
          for (int64_t c = end_of_x; c < whole_blocks(end_of_x); ++c) to[byte_of(c)] = static_cast<char>(filler);
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
      check_step(value.type == inputs[0].type && value.height == inputs[0].height && value.width == inputs[0].width,
                 "what is concatenated must be of one type and size");
      channels += value.channels;
    }
    return inputs[0].of_size(channels, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    return [=](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, pixels_of(y, batch), y.pixel_bytes() * 2, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          char* const to = static_cast<char*>(out) + pixel * y.pixel_bytes();
          int64_t first = 0;
          for (size_t i = 0; i < inputs.size(); ++i) {
            copy_channels(inputs[i], pixel_of(in[i], inputs[i], pixel), to, first);
            first += inputs[i].channels;
          }
        }
      });
    };
  }
};

class Flatten : public Step {
 public:
  explicit Flatten(int64_t wanted) : wanted_(wanted) { check_step(wanted >= 0, "numbers are fewer than none"); }
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    const int64_t numbers = x.channels * x.height * x.width;
    check_step(wanted_ == 0 || wanted_ == numbers, "images flatten to another number of values than they did");
    return x.of_size(numbers, 1, 1);
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

 private:
  int64_t wanted_;
};

}  // namespace

std::unique_ptr<Step> quantize_step(float factor, int32_t zero) { return std::make_unique<Quantize>(factor, zero); }
std::unique_ptr<Step> dequantize_step(float scale, int32_t zero) { return std::make_unique<Dequantize>(scale, zero); }
std::unique_ptr<Step> add_step(const std::vector<Term>& terms, int32_t zero, int32_t least, int32_t most) {
  return std::make_unique<Add>(terms, zero, least, most);
}
std::unique_ptr<Step> concatenate_step() { return std::make_unique<Concatenate>(); }
std::unique_ptr<Step> pad_channels_step(int64_t before, int64_t after, int32_t zero) {
  return std::make_unique<PadChannels>(before, after, zero);
}
std::unique_ptr<Step> flatten_step(int64_t wanted) { return std::make_unique<Flatten>(wanted); }

}  // namespace hetconv
