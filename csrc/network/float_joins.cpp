// What is between a network's convolutions, in float32.
#include <algorithm>
#include <stdexcept>

#include "../kernels.h"
#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// activation(a + b), or of the product. The second may be one pixel that stands for all of its image.
class FloatJoin : public Step {
 public:
  FloatJoin(bool product, Activation activation) : product_(product), activation_(activation) {}
  Value output(const std::vector<Value>& inputs) const override { return joined(inputs, Int8Output::float32); }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    const bool alike = inputs[1].height == y.height && inputs[1].width == y.width;
    // Pieces that are joined at once: whole ones of all that is there, or pixels.
    const int64_t piece = alike ? kPiece : y.pixel, all_elements = batch * y.height * y.width * y.pixel;
    const int64_t image = y.height * y.width * y.pixel, pieces = (all_elements + piece - 1) / piece;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, pieces, piece * 12, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t at = i * piece, other = alike ? at : at / image * y.pixel;
          kernels().join({static_cast<const float*>(in[0]) + at, static_cast<const float*>(in[1]) + other,
                          static_cast<float*>(out) + at, std::min(piece, all_elements - at), product_, activation_});
        }
      });
    };
  }

 private:
  static constexpr int64_t kPiece = 1024;
  bool product_;
  Activation activation_;
};

// activation(x · scale + shift), each of one number or one for each channel.
class FloatAffine : public Step {
 public:
  FloatAffine(int64_t channels, Activation activation, const float* scale, const float* shift)
      : activation_(activation), scale_(scale, scale + channels), shift_(shift, shift + channels) {}
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_step(x.type == Int8Output::float32, "an affine map is of float32");
    check_step(scale_.size() == 1 || static_cast<int64_t>(scale_.size()) == x.channels,
               "an affine map is of another number of channels");
    return x;
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    const auto each = [&](const std::vector<float>& numbers) {
      return numbers.size() == 1 ? std::vector<float>(static_cast<size_t>(inputs[0].channels), numbers[0]) : numbers;
    };
    return [=, this, scale = each(scale_), shift = each(shift_)](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height * y.width, y.pixel * 8, [&](int64_t begin, int64_t end) {
        for (int64_t at = begin * y.pixel; at < end * y.pixel; at += y.pixel) {
          kernels().affine({static_cast<const float*>(in[0]) + at, scale.data(), shift.data(),
                            static_cast<float*>(out) + at, y.channels, activation_});
        }
      });
    };
  }
  int64_t bytes() const override { return static_cast<int64_t>(scale_.size() + shift_.size()) * 4; }

 private:
  Activation activation_;
  std::vector<float> scale_, shift_;
};

// Some of the channels.
class Slice : public Step {
 public:
  Slice(int64_t begin, int64_t end) : begin_(begin), end_(end) {
    check_step(begin >= 0 && begin < end, "a slice has no channels");
  }
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs[0].type == Int8Output::float32, "a slice is of float32");
    check_step(end_ <= inputs[0].channels, "a slice ends behind the last channel");
    return float_value(end_ - begin_, inputs[0].height, inputs[0].width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height * y.width, y.pixel * 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::copy_n(static_cast<const float*>(in[0]) + i * x.pixel + begin_, y.channels,
                      static_cast<float*>(out) + i * y.pixel);
        }
      });
    };
  }

 private:
  int64_t begin_, end_;
};

// Zeros around an image.
class PadImage : public Step {
 public:
  explicit PadImage(const Sides& sides) : sides_(sides) {
    check_step(std::min({sides.top, sides.bottom, sides.left, sides.right}) >= 0, "an image is padded by less than 0");
  }
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_step(x.type == Int8Output::float32, "zeros are padded to float32");
    check_within({sides_.top, sides_.bottom, x.height});
    check_within({sides_.left, sides_.right, x.width});
    return float_value(x.channels, sides_.top + x.height + sides_.bottom, sides_.left + x.width + sides_.right);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      const int64_t line = y.width * y.pixel;
      parallel_where_it_pays(all, batch * y.height, line * 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          float* const to = static_cast<float*>(out) + i * line;
          const int64_t row = i % y.height - sides_.top;
          std::fill_n(to, line, 0.0f);
          if (row < 0 || row >= x.height) continue;
          const int64_t from = (i / y.height * x.height + row) * x.width * x.pixel;
          std::copy_n(static_cast<const float*>(in[0]) + from, x.width * x.pixel, to + sides_.left * y.pixel);
        }
      });
    };
  }

 private:
  static void check_within(std::initializer_list<int64_t> lengths) {
    int64_t sum = 0;
    for (const int64_t length : lengths) sum += length > INT32_MAX ? INT32_MAX + int64_t{1} : length;
    check_step(sum <= INT32_MAX, "an image is padded by too much");
  }

  Sides sides_;
};

}  // namespace

std::unique_ptr<Step> float_join_step(bool product, Activation activation) {
  return std::make_unique<FloatJoin>(product, activation);
}
std::unique_ptr<Step> float_affine_step(int64_t channels, Activation activation, const float* scale,
                                        const float* shift) {
  return std::make_unique<FloatAffine>(channels, activation, scale, shift);
}
std::unique_ptr<Step> slice_step(int64_t begin, int64_t end) { return std::make_unique<Slice>(begin, end); }
std::unique_ptr<Step> pad_image_step(const Sides& sides) { return std::make_unique<PadImage>(sides); }

}  // namespace hetconv
