// The operators' CPU kernels, for PyTorch, on its stable C interface only, so that one binary serves every PyTorch from
// 2.11 on. Schemas, fake kernels and gradients are in src/hetconv/ops.
#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bfloat16.h"
#include "checked.h"
#include "entries.h"
#include "packed_weights.h"
#include "scratch.h"
#include "torch/library.h"
#include "torch/tensor.h"

namespace torch = hetconv::torch;

namespace {

using hetconv::Activation;
using hetconv::checked;
using hetconv::Input;
using hetconv::Output;
using hetconv::Pair;
using hetconv::set_images;
using hetconv::Shape;
using hetconv::Strides;
using hetconv::Threads;
using torch::MemoryFormat;
using torch::ScalarType;
using torch::Tensor;
using Ints = std::vector<int64_t>;

void for_each(int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context) {
  torch::parallel_for(0, size, 1, [&](int64_t begin, int64_t end) { body(context, begin, end); });
}

Threads threads() { return hetconv::process_threads(); }

Tensor empty(const Ints& size, const Ints& strides, ScalarType type = ScalarType::Float) {
  AtenTensorHandle handle = nullptr;
  torch::call(aoti_torch_empty_strided(static_cast<int64_t>(size.size()), size.data(), strides.data(), type.code,
                                       torch::kCpu, 0, &handle));
  return Tensor(handle);
}

Tensor empty(int64_t size) { return empty({size}, {1}); }

// Packed weights of the call under way.
float* scratch(int64_t elements) {
  static thread_local hetconv::Scratch kept;
  return kept.get(elements);
}

hetconv::Type type_of(const Tensor& x) {
  return x.scalar_type() == ScalarType::BFloat16 ? hetconv::Type::bfloat16 : hetconv::Type::float32;
}

// The values of a contiguous tensor as float32: the tensor itself, or a copy.
Tensor widened(const Tensor& x) {
  if (x.scalar_type() == ScalarType::Float) return x;
  const Tensor wide = empty(x.numel());
  const auto* const from = static_cast<const uint16_t*>(x.const_data_ptr());
  std::transform(from, from + x.numel(), wide.mutable_data_ptr<float>(), hetconv::widen);
  return wide;
}

// A contiguous float32 tensor rounded to the type; itself if that is float32.
Tensor rounded(const Tensor& x, ScalarType type, const Ints& size, const Ints& strides) {
  if (type == ScalarType::Float) return x;
  const Tensor narrow = empty(size, strides, type);
  const float* const from = x.const_data_ptr<float>();
  std::transform(from, from + x.numel(), static_cast<uint16_t*>(narrow.mutable_data_ptr()), hetconv::narrow);
  return narrow;
}

// As Tensor::suggest_memory_format: the fake kernels decide by the same rule.
bool is_channels_last(const Tensor& x) {
  if (x.stride(1) == 0) return false;
  int64_t least = 0;
  for (const int64_t dim : {1, 3, 2, 0}) {
    if (x.size(dim) == 0 || x.stride(dim) < least || (dim == 0 && least == x.stride(1))) return false;
    least = x.stride(dim) * x.size(dim);
  }
  return true;
}

Tensor empty_image(int64_t batch, int64_t channels, int64_t height, int64_t width, bool channels_last,
                   ScalarType type) {
  const Ints size{batch, channels, height, width};
  if (channels_last) return empty(size, {height * width * channels, 1, width * channels, channels}, type);
  const auto one = [](int64_t n) { return n > 1 ? n : 1; };  // as for contiguous tensors with an empty dimension
  return empty(size, {one(channels) * one(height) * one(width), one(height) * one(width), one(width), 1}, type);
}

bool adjacent_channels(const Tensor& x) { return x.size(1) == 1 || x.stride(1) == 1; }

// Two values of bfloat16 are read as one word.
bool whole_words(const Tensor& x) {
  return x.scalar_type() != ScalarType::BFloat16 || (x.stride(0) | x.stride(2) | x.stride(3)) % 2 == 0;
}

// Along a dimension of one element a tensor may have any stride: these are what a dense tensor has there.
Strides strides(const Tensor& x) {
  const int64_t column = x.size(3) > 1 ? x.stride(3) : x.size(1);
  const int64_t row = x.size(2) > 1 ? x.stride(2) : x.size(3) * column;
  return {x.size(0) > 1 ? x.stride(0) : x.size(2) * row, row, column};
}

// A tensor whose channels are adjacent, and of bfloat16 in whole words if it has whole ones: itself, or a copy.
class Image {
 public:
  explicit Image(const Tensor& x)
      : kept_(adjacent_channels(x) && whole_words(x) ? x : torch::contiguous(x, MemoryFormat::ChannelsLast)) {}
  Input input() const { return {kept_.const_data_ptr(), strides(kept_), type_of(kept_)}; }

 private:
  Tensor kept_;
};

// Where an output is computed: in place, or in a copy whose channels are adjacent.
class Canvas {
 public:
  explicit Canvas(const Tensor& y)
      : y_(y),
        drawn_(adjacent_channels(y) ? y
                                    : empty_image(y.size(0), y.size(1), y.size(2), y.size(3), true, y.scalar_type())) {}
  Output output() const { return {drawn_.mutable_data_ptr(), strides(drawn_), type_of(drawn_)}; }
  Tensor finish() {
    if (!adjacent_channels(y_)) torch::copy_(y_, drawn_);
    return y_;
  }

 private:
  Tensor y_, drawn_;
};

Tensor unstrided(const Tensor& x) { return widened(x.is_contiguous() ? x : torch::contiguous(x)); }

// weight_spatial as (N, M/P, Kh, Kw) in float32; a copy if a network in channels-last memory holds it.
Tensor in_order(const Tensor& spatial, const Shape& shape) {
  if (spatial.is_contiguous()) return widened(spatial);
  const int64_t channels = spatial.size(1), row = spatial.size(3) * channels, filter = spatial.size(2) * row;
  if (spatial.scalar_type() != ScalarType::Float || spatial.stride(0) != filter || spatial.stride(1) != 1 ||
      spatial.stride(2) != row || spatial.stride(3) != channels) {
    return widened(torch::contiguous(spatial));
  }
  const Tensor ordered = empty(spatial.numel());
  hetconv::gather_taps(shape, spatial.const_data_ptr<float>(), ordered.mutable_data_ptr<float>(), threads());
  return ordered;
}

void check_weights(const Tensor& x, const Tensor& spatial, const Tensor& pointwise) {
  STD_TORCH_CHECK(x.dim() == 4 && spatial.dim() == 4 && pointwise.dim() == 2,
                  "hetconv: x and weight_spatial must have 4 dimensions, weight_pointwise 2");
  STD_TORCH_CHECK(spatial.scalar_type() == x.scalar_type() && pointwise.scalar_type() == x.scalar_type(),
                  "hetconv: weights must have the dtype of x");
  STD_TORCH_CHECK(spatial.is_cpu() && pointwise.is_cpu(), "hetconv: weights must be on the CPU, as x is");
  STD_TORCH_CHECK(spatial.size(0) == pointwise.size(0), "hetconv: weight_spatial has ", spatial.size(0),
                  " filters and weight_pointwise ", pointwise.size(0));
}

Pair pair(const char* name, const Ints& numbers) {
  STD_TORCH_CHECK(numbers.size() == 2, "hetconv: ", name, " must be two numbers");
  return {numbers[0], numbers[1]};
}

Shape shape_of_weights(const Tensor& spatial, const Tensor& pointwise, const Ints& stride, const Ints& padding,
                       const Ints& dilation, bool shifted) {
  hetconv::check_range("channels of the weights", {spatial.size(1), pointwise.size(1)}, 0);
  const int64_t in_channels = spatial.size(1) + pointwise.size(1);
  STD_TORCH_CHECK(spatial.size(1) > 0 && in_channels % spatial.size(1) == 0, "hetconv: weight_spatial has ",
                  spatial.size(1), " of ", in_channels, " channels; it must have M/P");
  return checked({in_channels,
                  spatial.size(0),
                  in_channels / spatial.size(1),
                  {spatial.size(2), spatial.size(3)},
                  pair("stride", stride),
                  pair("padding", padding),
                  pair("dilation", dilation),
                  shifted});
}

void check_images(const Shape& shape, const Tensor& x, const Tensor& y) {
  STD_TORCH_CHECK(x.size(1) == shape.in_channels, "hetconv: x has ", x.size(1), " channels, not ", shape.in_channels);
  STD_TORCH_CHECK(y.dim() == 4 && y.size(0) == shape.batch && y.size(1) == shape.out_channels &&
                      y.size(2) == shape.out_height && y.size(3) == shape.out_width,
                  "hetconv: the output gradient has not the output's shape");
}

const float* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<float>() : nullptr;
}

Tensor het_conv2d(Tensor x, Tensor weight_spatial, Tensor weight_pointwise, std::optional<Tensor> bias, Ints stride,
                  Ints padding, Ints dilation, bool shifted) {
  check_weights(x, weight_spatial, weight_pointwise);
  Shape shape = shape_of_weights(weight_spatial, weight_pointwise, stride, padding, dilation, shifted);
  STD_TORCH_CHECK(x.size(1) == shape.in_channels, "hetconv: x has ", x.size(1), " channels, not ", shape.in_channels);
  STD_TORCH_CHECK(!bias.has_value() || (bias->dim() == 1 && bias->size(0) == shape.out_channels &&
                                        bias->scalar_type() == x.scalar_type()),
                  "hetconv: bias must have one number for each filter");
  set_images(shape, x.size(0), x.size(2), x.size(3));
  const Tensor spatial = in_order(weight_spatial, shape), pointwise = unstrided(weight_pointwise);
  if (bias.has_value()) bias = unstrided(*bias);
  shape.algorithm = hetconv::choose_algorithm(shape, false, true, type_of(x));
  float* const packed = scratch(hetconv::packed_size(shape));
  hetconv::pack(shape, {spatial.const_data_ptr<float>(), pointwise.const_data_ptr<float>()}, packed, threads());
  Canvas y(empty_image(shape.batch, shape.out_channels, shape.out_height, shape.out_width, is_channels_last(x),
                       x.scalar_type()));
  hetconv::forward(shape, Image(x).input(), packed, {data_or_null(bias), nullptr, Activation::none}, y.output(),
                   threads());
  return y.finish();
}

Tensor het_conv2d_input_grad(Tensor grad_output, Tensor weight_spatial, Tensor weight_pointwise, Ints input_size,
                             Ints stride, Ints padding, Ints dilation, bool shifted) {
  check_weights(grad_output, weight_spatial, weight_pointwise);
  Shape shape = shape_of_weights(weight_spatial, weight_pointwise, stride, padding, dilation, shifted);
  const Pair size = pair("input_size", input_size);
  set_images(shape, grad_output.size(0), size.height, size.width);
  STD_TORCH_CHECK(grad_output.size(1) == shape.out_channels && grad_output.size(2) == shape.out_height &&
                      grad_output.size(3) == shape.out_width,
                  "hetconv: grad_output has not the output's shape");
  Canvas grad_x(empty_image(shape.batch, shape.in_channels, shape.in_height, shape.in_width,
                            is_channels_last(grad_output), grad_output.scalar_type()));
  const Tensor spatial = in_order(weight_spatial, shape), pointwise = unstrided(weight_pointwise);
  shape.algorithm = hetconv::choose_algorithm(shape, true, true, type_of(grad_output));
  float* const packed = scratch(hetconv::packed_size_input_grad(shape));
  hetconv::pack_input_grad(shape, {spatial.const_data_ptr<float>(), pointwise.const_data_ptr<float>()}, packed,
                           threads());
  hetconv::input_grad(shape, Image(grad_output).input(), packed, grad_x.output(), threads());
  return grad_x.finish();
}

std::tuple<Tensor, Tensor> het_conv2d_weight_grad(Tensor grad_output, Tensor x, Ints kernel_size, int64_t p,
                                                  Ints stride, Ints padding, Ints dilation, bool shifted) {
  STD_TORCH_CHECK(grad_output.dim() == 4 && x.dim() == 4, "hetconv: x and grad_output must have 4 dimensions");
  STD_TORCH_CHECK(x.scalar_type() == grad_output.scalar_type() && x.is_cpu(),
                  "hetconv: x and grad_output must have one dtype and device");
  Shape shape = checked({x.size(1), grad_output.size(1), p, pair("kernel_size", kernel_size), pair("stride", stride),
                         pair("padding", padding), pair("dilation", dilation), shifted});
  set_images(shape, x.size(0), x.size(2), x.size(3));
  check_images(shape, x, grad_output);
  const int64_t own = shape.in_channels / p, rest = shape.in_channels - own, taps = kernel_size[0] * kernel_size[1];
  const Ints spatial_size{shape.out_channels, own, kernel_size[0], kernel_size[1]};
  const Ints spatial_strides{own * taps, taps, kernel_size[1], 1};
  const Ints pointwise_size{shape.out_channels, rest}, pointwise_strides{rest > 1 ? rest : 1, 1};
  const Tensor spatial = empty(spatial_size, spatial_strides), pointwise = empty(pointwise_size, pointwise_strides);
  float* const sums = scratch(hetconv::weight_grad_scratch(shape, type_of(x)));
  hetconv::weight_grad(shape, Image(grad_output).input(), Image(x).input(), sums, spatial.mutable_data_ptr<float>(),
                       pointwise.mutable_data_ptr<float>(), threads());
  return {rounded(spatial, x.scalar_type(), spatial_size, spatial_strides),
          rounded(pointwise, x.scalar_type(), pointwise_size, pointwise_strides)};
}

// layer: out_channels, p, kernel size, stride, padding, dilation (2 numbers each), shifted, activation. One list, since
// unpacking each argument costs time at every call.
Tensor het_conv2d_packed(Tensor x, Tensor packed, std::optional<Tensor> bias, std::optional<Tensor> residual,
                         Ints layer) {
  STD_TORCH_CHECK(x.dim() == 4 && layer.size() == 12, "hetconv: x must have 4 dimensions, layer 12 numbers");
  const int64_t activation = layer[11];
  STD_TORCH_CHECK((x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::BFloat16) &&
                      packed.scalar_type() == ScalarType::Float && packed.is_cpu() && packed.is_contiguous(),
                  "hetconv: packed layers take float32 or bfloat16 tensors on the CPU, and float32 weights");
  STD_TORCH_CHECK(activation >= 0 && activation < hetconv::kActivations, "hetconv: unknown activation");
  Shape shape = checked({x.size(1),
                         layer[0],
                         layer[1],
                         {layer[2], layer[3]},
                         {layer[4], layer[5]},
                         {layer[6], layer[7]},
                         {layer[8], layer[9]},
                         layer[10] != 0});
  set_images(shape, x.size(0), x.size(2), x.size(3));
  const float* const weights = packed.const_data_ptr<float>();
  STD_TORCH_CHECK(hetconv::is_packed_for(shape, weights, packed.numel()),
                  "hetconv: the weights were packed for another layer or instruction set; pack them here");
  STD_TORCH_CHECK(!bias.has_value() || (bias->numel() == shape.out_channels && bias->is_contiguous() &&
                                        bias->scalar_type() == ScalarType::Float),
                  "hetconv: bias must have one number for each filter");
  const bool channels_last = is_channels_last(x);
  Canvas y(
      empty_image(shape.batch, shape.out_channels, shape.out_height, shape.out_width, channels_last, x.scalar_type()));
  std::optional<Tensor> added;  // laid out as the canvas
  if (residual.has_value()) {
    check_images(shape, x, *residual);
    STD_TORCH_CHECK(residual->scalar_type() == x.scalar_type() && residual->is_cpu(), "hetconv: residual must be as x");
    const Strides want = y.output().strides, have = strides(*residual);
    const bool same =
        adjacent_channels(*residual) && want.batch == have.batch && want.row == have.row && want.column == have.column;
    added = *residual;
    if (!same) {
      added = empty_image(shape.batch, shape.out_channels, shape.out_height, shape.out_width, true, x.scalar_type());
      torch::copy_(*added, *residual);
    }
  }
  hetconv::forward(
      shape, Image(x).input(), weights + hetconv::kHeader,
      {data_or_null(bias), added.has_value() ? added->const_data_ptr() : nullptr, static_cast<Activation>(activation)},
      y.output(), threads());
  return y.finish();
}

// What is refused is an error of PyTorch's own.
template <torch::Boxed native>
void checked_call(StableIValue* stack, uint64_t inputs, uint64_t outputs) {
  try {
    native(stack, inputs, outputs);
  } catch (const hetconv::Refused& refusal) {
    torch::refuse(std::string("hetconv: ") + refusal.what());
  }
}

// float32 and bfloat16 run here; for other types the operator's decomposed form takes the same arguments.
template <torch::Boxed native, const char* const& decomposed>
void dispatch(StableIValue* stack, uint64_t inputs, uint64_t outputs) {
  int32_t dtype = 0;
  torch::call(aoti_torch_get_dtype(reinterpret_cast<AtenTensorHandle>(stack[0]), &dtype));
  if (ScalarType{dtype} == ScalarType::Float || ScalarType{dtype} == ScalarType::BFloat16) {
    checked_call<native>(stack, inputs, outputs);
  } else {
    torch::call(torch_call_dispatcher(decomposed, "", stack, torch::kVersion));
  }
}

constexpr const char* kForward = "hetconv::het_conv2d_decomposed";
constexpr const char* kInputGrad = "hetconv::het_conv2d_input_grad_decomposed";
constexpr const char* kWeightGrad = "hetconv::het_conv2d_weight_grad_decomposed";

// This one is defined here and not in src/hetconv/ops, so that it is there without Python too, for compiled packages.
const torch::Library schemas("hetconv", [](torch::Library& library) {
  library.def("het_conv2d_packed(Tensor x, Tensor packed, Tensor? bias, Tensor? residual, int[] layer) -> Tensor");
});

const torch::Library kernels("hetconv", "CPU", [](torch::Library& library) {
  library.impl("het_conv2d", &dispatch<torch::box<&het_conv2d>, kForward>);
  library.impl("het_conv2d_input_grad", &dispatch<torch::box<&het_conv2d_input_grad>, kInputGrad>);
  library.impl("het_conv2d_weight_grad", &dispatch<torch::box<&het_conv2d_weight_grad>, kWeightGrad>);
  library.impl("het_conv2d_packed", &checked_call<torch::box<&het_conv2d_packed>>);
});

}  // namespace

namespace hetconv {

Threads process_threads() { return {static_cast<int>(torch::get_num_threads()), &for_each}; }

}  // namespace hetconv
