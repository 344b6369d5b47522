// HetConv2d for ONNX Runtime: activation(het_conv2d(x) + bias + residual), images channels-last.
//
//   inputs      x (B, H, W, M), weight_spatial (N, M/P, Kh, Kw), weight_pointwise (N, M - M/P) where P > 1,
//               bias (N) or none, residual (B, H', W', N) or none
//   attributes  p; stride, padding, dilation: two integers each; arrangement: shifted or blocked;
//               activation: none, relu, relu6 or silu
//   output      (B, H', W', N)
#include <atomic>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>

#include "../checked.h"
#include "../scratch.h"
#include "operators.h"

namespace hetconv::ort {
namespace {

enum Input : size_t { kX, kSpatial, kPointwise, kBias, kResidual };

template <class Choice>
Choice chosen(const std::string& name, const std::string& value,
              std::initializer_list<std::pair<const char*, Choice>> known) {
  std::string names;
  for (const auto& [word, choice] : known) {
    if (value == word) return choice;
    names += (names.empty() ? "" : ", ") + std::string(word);
  }
  throw Error("attribute " + name + "=" + value + " must be one of " + names);
}

// What the attributes say; channels and the kernel's size are the weights'.
Layer layer_of_node(const Node& node) {
  Layer layer{};
  layer.p = node.integer("p");
  layer.stride = node.pair("stride");
  layer.padding = node.pair("padding");
  layer.dilation = node.pair("dilation");
  layer.shifted = chosen<bool>("arrangement", node.text("arrangement"), {{"shifted", true}, {"blocked", false}});
  check_p(layer.p);
  check_geometry(layer.stride, layer.padding, layer.dilation);
  return layer;
}

Activation activation_of_node(const Node& node) {
  return chosen<Activation>("activation", node.text("activation"),
                            {{"none", Activation::none},
                             {"relu", Activation::relu},
                             {"relu6", Activation::relu6},
                             {"silu", Activation::silu}});
}

Shape shape_of(Layer layer, const Tensor& spatial, const std::optional<Tensor>& pointwise) {
  if (spatial.sizes.size() != 4 || spatial.sizes[0] % layer.p != 0) {
    throw Error("weight_spatial is " + words(spatial.sizes) +
                "; it must be (N, M/P, K, K), with N divisible by p=" + std::to_string(layer.p));
  }
  check_range("sizes of weight_spatial", {spatial.sizes[0], spatial.sizes[1]}, 1);
  layer.out_channels = spatial.sizes[0];
  layer.in_channels = spatial.sizes[1] * layer.p;
  layer.kernel = {spatial.sizes[2], spatial.sizes[3]};
  const Ints wanted{layer.out_channels, layer.in_channels - spatial.sizes[1]};
  if (pointwise.has_value() ? pointwise->sizes != wanted : layer.p > 1) {
    throw Error("weight_pointwise is " + (pointwise.has_value() ? words(pointwise->sizes) : std::string("missing")) +
                "; it must be " + words(wanted));
  }
  return checked(layer);
}

void set_images(Shape& shape, const Tensor& x) {
  if (x.sizes.size() != 4 || x.sizes[3] != shape.in_channels) {
    throw Error("x is " + words(x.sizes) + "; it must be (batch, height, width, " + std::to_string(shape.in_channels) +
                ")");
  }
  hetconv::set_images(shape, x.sizes[0], x.sizes[1], x.sizes[2]);
}

Strides strides(int64_t height, int64_t width, int64_t channels) {
  return {height * width * channels, width * channels, channels};
}

class HetConv2d : public Kernel {
 public:
  HetConv2d(Table api, const Node& node) : layer_(layer_of_node(node)), activation_(activation_of_node(node)) {
    const Value* const spatial = node.constant(kSpatial);
    const Value* const pointwise = layer_.p > 1 ? node.constant(kPointwise) : nullptr;
    if (spatial == nullptr || (layer_.p > 1 && pointwise == nullptr)) return;
    constant_.emplace(
        Weights{tensor(api, spatial), pointwise == nullptr ? std::nullopt : std::optional(tensor(api, pointwise))});
    shape_ = shape_of(layer_, constant_->spatial, constant_->pointwise);
  }

  void run(const Call& call) const override;

 private:
  struct Weights {
    Tensor spatial;
    std::optional<Tensor> pointwise;
  };
  struct Packed {
    std::mutex packing;
    Scratch memory;
    std::atomic<const float*> data = nullptr;
  };

  Layer layer_;
  Shape shape_{};  // where weights are constant
  Activation activation_;
  std::optional<Weights> constant_;
  mutable Packed kept_[2];  // of constant weights, for each algorithm that was needed

  const float* packed(const Shape& shape, const Threads& threads) const;
};

const float* pack(const Shape& shape, const Tensor& spatial, const std::optional<Tensor>& pointwise, Scratch& memory,
                  const Threads& threads) {
  float* const packed = memory.get(packed_size(shape));
  hetconv::pack(shape, {spatial.data, pointwise.has_value() ? pointwise->data : nullptr}, packed, threads);
  return packed;
}

const float* HetConv2d::packed(const Shape& shape, const Threads& threads) const {
  Packed& kept = kept_[shape.algorithm == Algorithm::winograd];
  if (const float* const data = kept.data.load(std::memory_order_acquire)) return data;
  const std::lock_guard lock(kept.packing);
  if (kept.data == nullptr) kept.data = pack(shape, constant_->spatial, constant_->pointwise, kept.memory, threads);
  return kept.data;
}

void HetConv2d::run(const Call& call) const {
  Shape shape = shape_;
  Weights given;
  if (!constant_.has_value()) {
    given = {*call.tensor(kSpatial), layer_.p > 1 ? call.tensor(kPointwise) : std::nullopt};
    shape = shape_of(layer_, given.spatial, given.pointwise);
  }
  const Tensor x = *call.tensor(kX);
  set_images(shape, x);
  shape.algorithm = choose_algorithm(shape, false, !constant_.has_value());
  static thread_local Scratch scratch;
  const float* const weights = constant_.has_value()
                                   ? packed(shape, call.threads())
                                   : pack(shape, given.spatial, given.pointwise, scratch, call.threads());
  const std::optional<Tensor> bias = call.tensor(kBias), residual = call.tensor(kResidual);
  const Ints sizes{shape.batch, shape.out_height, shape.out_width, shape.out_channels};
  if (bias.has_value() && bias->sizes != Ints{shape.out_channels}) {
    throw Error("bias is " + words(bias->sizes) + "; it must be " + words({shape.out_channels}));
  }
  if (residual.has_value() && residual->sizes != sizes) {
    throw Error("residual is " + words(residual->sizes) + "; it must be as the output, " + words(sizes));
  }
  forward(shape, {x.data, strides(shape.in_height, shape.in_width, shape.in_channels)}, weights,
          {bias.has_value() ? bias->data : nullptr, residual.has_value() ? residual->data : nullptr, activation_},
          {call.output(sizes), strides(shape.out_height, shape.out_width, shape.out_channels)}, call.threads());
}

}  // namespace

std::unique_ptr<Kernel> het_conv2d(Table api, const Node& node) { return std::make_unique<HetConv2d>(api, node); }

}  // namespace hetconv::ort
