// Convolutions as steps: of 8 bits, and of float32.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "../checked.h"
#include "../int8/convolution.h"
#include "../int8/packed_weights.h"
#include "../packed_weights.h"
#include "../parallel.h"
#include "../prepared.h"
#include "aligned.h"
#include "steps.h"

namespace hetconv {
namespace {

Shape shape_of(int64_t in_channels, int64_t out_channels, int64_t p, const Window& window, bool shifted) {
  return checked({in_channels,
                  out_channels,
                  p,
                  {window.kernel_height, window.kernel_width},
                  {window.stride_height, window.stride_width},
                  {window.padding_height, window.padding_width},
                  {window.dilation_height, window.dilation_width},
                  shifted});
}

// The shape with its images, whose output is what the step said it makes.
Shape placed(Shape shape, int64_t batch, const Value& x, const Value& y) {
  set_images(shape, batch, x.height, x.width);
  if (shape.out_height != y.height || shape.out_width != y.width) {
    throw std::invalid_argument("a convolution's last window begins outside; ceil is for pools");
  }
  return shape;
}

void check_channels(const Value& x, int64_t channels, Int8Output type) {
  if (x.channels == channels && x.type == type) return;
  throw std::invalid_argument("a convolution of " + std::to_string(channels) + " channels is given " +
                              std::to_string(x.channels) + " or another type");
}

bool is_byte(double number) { return number >= 0 && number <= 255; }

const Int8Layer& checked(const Int8Layer& layer, const Shape& kernel_shape) {
  const bool stored = layer.to == Int8Output::float32 || (is_byte(layer.least) && is_byte(layer.most));
  const bool reads = layer.in_factor == 0 || (kernel_shape.p == 1 && layer.in_channels <= kMostFloatChannels);
  if (!std::isfinite(layer.in_factor)) throw std::invalid_argument("a tensor's range explodes");
  if (!reads) throw std::invalid_argument("only a layer of p = 1 and few channels reads float32");
  if (!stored || !is_byte(layer.zero) || !is_byte(layer.in_zero)) throw std::invalid_argument("a zero is no u8");
  return layer;
}

class Int8ConvolutionStep : public Step {
 public:
  explicit Int8ConvolutionStep(const Int8Layer& layer)
      : layer_shape_(shape_of(layer.in_channels, layer.out_channels, layer.p, layer.window, layer.shifted)),
        shape_(int8_kernel_shape(layer_shape_)),
        layer_(checked(layer, shape_)) {
    if (!is_packed()) {
      throw std::invalid_argument("the weights were packed for another layer or instruction set");
    }
    check();
    start_.assign(layer.start, layer.start + layer.out_channels);
    scale_.assign(layer.scale, layer.scale + layer.out_channels);
    start_.resize(static_cast<size_t>(whole_blocks(layer.out_channels)));
    scale_.resize(start_.size());
    layer_.start = nullptr, layer_.scale = nullptr;
  }

  Value output(const std::vector<Value>& inputs) const override {
    check_channels(inputs[0], layer_.in_channels, from_float() ? Int8Output::float32 : Int8Output::uint8);
    const int64_t height = layer_.window.out_height(inputs[0].height), width = layer_.window.out_width(inputs[0].width);
    const Value made = uint8_value(layer_.out_channels, height, width);
    if (layer_.residual) check_residual(inputs.at(1), made);
    return layer_.to == Int8Output::uint8 ? made : float_value(layer_.out_channels, height, width);
  }

  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int threads) const override {
    if (!is_packed()) {
      throw std::invalid_argument("the network was made for another instruction set; make it again");
    }
    const Shape shape = placed(shape_, batch, inputs[0], output);
    const int64_t pixels = batch * output.height * output.width, block = whole_blocks(output.channels);
    const bool whole = output.type == Int8Output::uint8 || output.channels == block;  // the kernels store whole blocks
    const auto blocks = whole ? nullptr : std::make_shared<Aligned>(pixels * block * 4);
    return [this, pixels, block, blocks, channels = output.channels,
            weights = int8_weights_of_kernels(layer_shape_, layer_.packed),
            convolution = std::make_shared<Int8Convolution>(shape, from_float(), threads)](
               const void* const* in, void* out, const Threads& all) {
      Int8Epilogue epilogue{start_.data(), scale_.data()};
      if (layer_.residual) epilogue.residual = static_cast<const uint8_t*>(in[1]);
      epilogue.residual_scale = layer_.residual_scale;
      epilogue.residual_zero = layer_.residual_zero;
      epilogue.zero = layer_.zero;
      epilogue.least = layer_.least;
      epilogue.most = layer_.most;
      convolution->run({in[0], static_cast<uint8_t>(layer_.in_zero), layer_.in_factor}, weights, epilogue,
                       blocks == nullptr ? out : blocks->data(), layer_.to, all);
      if (blocks == nullptr) return;
      parallel(all, pixels, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::memcpy(static_cast<float*>(out) + i * channels, blocks->data() + i * block * 4,
                      static_cast<size_t>(channels) * sizeof(float));
        }
      });
    };
  }

  int64_t bytes() const override { return int8_packed_size(shape_); }
  bool wants_finite() const override { return from_float(); }

 private:
  bool is_packed() const { return is_packed_int8_for(layer_shape_, layer_.packed, layer_.bytes); }
  bool from_float() const { return layer_.in_factor != 0; }

  // That no sum leaves int32, and no output is rounded where it would.
  void check() const {
    constexpr double most = std::numeric_limits<int32_t>::max();
    for (int64_t n = 0; n < layer_.out_channels; ++n) {
      const double sum =
          std::abs(static_cast<double>(layer_.start[n])) + static_cast<double>(int8_largest_sum(layer_.packed, n));
      if (!(sum <= most)) throw std::invalid_argument("filter " + std::to_string(n) + "'s sums can exceed 32 bits");
      const double real = sum * std::abs(static_cast<double>(layer_.scale[n])) +
                          255.0 * std::abs(static_cast<double>(layer_.residual_scale));
      if (!std::isfinite(real) || (layer_.to == Int8Output::uint8 && real > most / 2)) {
        throw std::invalid_argument("filter " + std::to_string(n) + "'s range explodes: outputs of up to " +
                                    std::to_string(real));
      }
    }
  }

  Shape layer_shape_, shape_;  // as the layer is, and as the kernels compute it
  Int8Layer layer_;
  std::vector<int32_t> start_;
  std::vector<float> scale_;
};

class FloatConvolutionStep : public Step {
 public:
  explicit FloatConvolutionStep(const FloatLayer& layer)
      : layer_(layer), shape_(shape_of(layer.in_channels, layer.out_channels, layer.p, layer.window, layer.shifted)) {
    if (!is_packed_for(shape_, layer.packed, layer.elements)) {
      throw std::invalid_argument("the weights were packed for another layer or instruction set");
    }
    bias_.assign(layer.bias, layer.bias + layer.out_channels);
    layer_.bias = nullptr;
  }

  Value output(const std::vector<Value>& inputs) const override {
    check_channels(inputs[0], layer_.in_channels, Int8Output::float32);
    const Value made = float_value(layer_.out_channels, layer_.window.out_height(inputs[0].height),
                                   layer_.window.out_width(inputs[0].width));
    if (layer_.residual) check_residual(inputs.at(1), made);
    return made;
  }

  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int threads) const override {
    Value x = inputs[0], y = output;
    const Window& window = layer_.window;
    const bool points = x.height == 1 && x.width == 1 && window.kernel_height == 1 && window.kernel_width == 1 &&
                        window.padding_height == 0 && window.padding_width == 0 && window.stride_height == 1 &&
                        window.stride_width == 1;
    if (points) x.width = y.width = batch;  // a matrix product: the images are the pixels of one
    Shape shape = shape_;
    if (!is_packed_for(shape, layer_.packed, layer_.elements)) {
      throw std::invalid_argument("the network was made for another instruction set; make it again");
    }
    shape = placed(shape_, points ? 1 : batch, x, y);
    shape.algorithm = choose_algorithm(shape, false, false);
    const std::shared_ptr<const Aligned> other = shape.algorithm == shape_.algorithm ? nullptr : packed_again(shape);
    const float* const packed = other == nullptr ? layer_.packed : reinterpret_cast<const float*>(other->data());
    const int used = multiply_adds_of(shape) / 4 >= kWorthAThread ? threads : 1;
    const auto prepared = std::make_shared<const Prepared>(shape, Direction::forward, used);
    const Strides in{x.height * x.width * x.pixel, x.width * x.pixel, x.pixel};
    const Strides out{y.height * y.width * y.pixel, y.width * y.pixel, y.pixel};
    return [=, this](const void* const* inputs_, void* to, const Threads& all) {
      convolve(*prepared, {inputs_[0], in}, packed + (other == nullptr ? kHeader : 0),
               {bias_.data(), layer_.residual ? inputs_[1] : nullptr, layer_.activation}, {to, out},
               used == 1 ? Threads{1, nullptr} : all);
    };
  }

  int64_t bytes() const override { return layer_.elements * 4; }

 private:
  // Its weights for the other algorithm, which they were not packed for, but is faster at this size.
  std::shared_ptr<const Aligned> packed_again(const Shape& shape) const {
    return packed_.of(shape.algorithm, [&] {
      Shape before = shape;
      before.algorithm = shape_.algorithm;
      const Threads alone{1, nullptr};
      std::vector<float> spatial(static_cast<size_t>(spatial_weights(shape))),
          pointwise(static_cast<size_t>(pointwise_weights(shape)));
      unpack_weights(before, layer_.packed, spatial.data(), pointwise.data(), alone);
      auto made = std::make_shared<Aligned>(packed_size(shape) * 4);
      pack(shape, {spatial.data(), pointwise.data()}, reinterpret_cast<float*>(made->data()), alone);
      return made;
    });
  }

  FloatLayer layer_;
  Shape shape_;
  std::vector<float> bias_;
  PackedByAlgorithm packed_;
};

}  // namespace

std::unique_ptr<Step> int8_convolution_step(const Int8Layer& layer) {
  return std::make_unique<Int8ConvolutionStep>(layer);
}

std::unique_ptr<Step> float_convolution_step(const FloatLayer& layer) {
  return std::make_unique<FloatConvolutionStep>(layer);
}

}  // namespace hetconv
