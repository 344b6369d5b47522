// Layer norm over each pixel's channels, of float32.
#include <algorithm>
#include <cmath>

#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// Of the terms of `count` numbers, in 16 sums side by side.
template <class Term>
float sum_of(const float* x, int64_t count, const Term& term) {
  float sums[16] = {}, sum = 0;
  int64_t at = 0;
  for (; at + 16 <= count; at += 16) {
    for (int k = 0; k < 16; ++k) sums[k] += term(x[at + k]);
  }
  for (; at < count; ++at) sums[at % 16] += term(x[at]);
  for (const float some : sums) sum += some;
  return sum;
}

class LayerNorm : public Step {
 public:
  LayerNorm(int64_t channels, float epsilon, const float* weight, const float* bias)
      : epsilon_(epsilon), weight_(weight, weight + channels), bias_(bias, bias + channels) {}
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_step(x.type == Int8Output::float32, "a layer norm is of float32");
    check_step(static_cast<int64_t>(weight_.size()) == x.channels, "a layer norm is of another number of channels");
    return x;
  }
  Run prepare(const std::vector<Value>&, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height * y.width, y.pixel * 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          normalize(static_cast<const float*>(in[0]) + i * y.pixel, static_cast<float*>(out) + i * y.pixel, y.channels);
        }
      });
    };
  }
  int64_t bytes() const override { return static_cast<int64_t>(weight_.size() + bias_.size()) * 4; }

 private:
  void normalize(const float* x, float* y, int64_t channels) const {
    const float count = static_cast<float>(channels);
    const float mean = sum_of(x, channels, [](float number) { return number; }) / count;
    const float variance = sum_of(x, channels, [=](float number) { return (number - mean) * (number - mean); }) / count;
    const float factor = 1 / std::sqrt(variance + epsilon_);
    const float *const weight = weight_.data(), *const bias = bias_.data();
    for (int64_t c = 0; c < channels; ++c) y[c] = (x[c] - mean) * factor * weight[c] + bias[c];
  }

  float epsilon_;
  std::vector<float> weight_, bias_;
};

}  // namespace

std::unique_ptr<Step> layer_norm_step(int64_t channels, float epsilon, const float* weight, const float* bias) {
  return std::make_unique<LayerNorm>(channels, epsilon, weight, bias);
}

}  // namespace hetconv
