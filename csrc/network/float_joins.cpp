// What is between a network's convolutions, in float32.
#include <algorithm>
#include <stdexcept>

#include "../kernels.h"
#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// activation(a + b), or of another function. The second may be one pixel that stands for all of its image.
class FloatJoin : public Step {
 public:
  FloatJoin(Joining joining, Activation activation) : joining_(joining), activation_(activation) {}
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
                          static_cast<float*>(out) + at, std::min(piece, all_elements - at), joining_, activation_});
        }
      });
    };
  }

 private:
  static constexpr int64_t kPiece = 1024;
  Joining joining_;
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

}  // namespace

std::unique_ptr<Step> float_join_step(Joining joining, Activation activation) {
  return std::make_unique<FloatJoin>(joining, activation);
}
std::unique_ptr<Step> float_affine_step(int64_t channels, Activation activation, const float* scale,
                                        const float* shift) {
  return std::make_unique<FloatAffine>(channels, activation, scale, shift);
}

}  // namespace hetconv
