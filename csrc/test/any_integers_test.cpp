// Any integers at every border: Python's entries, what PyTorch's operators do, and the operators of ONNX Runtime. Each
// call is refused, or computes. Buffers are exactly as large as needed, and the sanitizers see each access outside of
// them and each overflow.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../checked.h"
#include "../entries.h"
#include "../network/api.h"
#include "../onnx_runtime/operators.h"
#include "../packed_weights.h"
#include "../winograd.h"
#include "buffer.h"

using namespace hetconv;

namespace {

constexpr int64_t kSmall = 1 << 14;  // elements of tensors that are made, and multiply-adds for each

std::mt19937_64 generator(0);

int64_t up_to(int64_t most) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(most + 1)); }

// Near a power of two, of either sign, or any bits.
int64_t hostile() {
  if (up_to(7) == 0) return static_cast<int64_t>(generator());
  const int64_t near = static_cast<int64_t>((uint64_t{1} << up_to(63)) + static_cast<uint64_t>(up_to(8)) - 4);
  return up_to(3) == 0 ? static_cast<int64_t>(-static_cast<uint64_t>(near)) : near;
}

// One number in `one_in` is hostile.
struct Numbers {
  int64_t one_in;
  int64_t some(int64_t least, int64_t most) const {
    return up_to(one_in - 1) == 0 ? hostile() : least + up_to(most - least);
  }
  Pair pair(int64_t least, int64_t most) const { return {some(least, most), some(least, most)}; }
};

Layer random_layer(const Numbers& any) {
  Layer layer{};
  layer.p = any.some(1, 4);
  const int64_t factor = layer.p > 0 && layer.p < kSmall ? layer.p : 1;
  layer.in_channels = any.some(1, 5);
  layer.out_channels = any.some(1, 5);
  if (layer.in_channels > 0 && layer.in_channels < kSmall) layer.in_channels *= factor;
  if (layer.out_channels > 0 && layer.out_channels < kSmall) layer.out_channels *= factor;
  layer.kernel = {any.some(0, 2), any.some(0, 2)};
  if (layer.kernel.height >= 0 && layer.kernel.height < 3) layer.kernel.height = 2 * layer.kernel.height + 1;
  if (layer.kernel.width >= 0 && layer.kernel.width < 3) layer.kernel.width = 2 * layer.kernel.width + 1;
  layer.stride = any.pair(1, 3);
  layer.padding = any.pair(0, 3);
  layer.dilation = any.pair(1, 3);
  layer.shifted = up_to(1) == 0;
  if (up_to(4) == 0) {  // far reaching, but possible: dilation and padding together
    layer.dilation.width = hostile();
    layer.padding.width = layer.dilation.width;
  }
  return layer;
}

bool small(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (const int64_t factor : factors) {
    if (factor < 0 || factor > kSmall) return false;
    product *= std::max<int64_t>(factor, 1);
    if (product > kSmall) return false;
  }
  return true;
}

bool small_weights(const Shape& s) { return small({s.in_channels, s.out_channels, s.kernel_height, s.kernel_width}); }

bool small_images(const Shape& s) {
  return small({s.batch, s.in_height, s.in_width, s.in_channels}) &&
         small({s.batch, s.out_height, s.out_width, s.out_channels});
}

Strides dense(int64_t height, int64_t width, int64_t channels) {
  return {height * width * channels, width * channels, channels};
}

// Whether it ran.
bool operators(const Numbers& any) {
  Shape shape;
  try {
    shape = checked(random_layer(any));
    set_images(shape, any.some(0, 2), any.some(0, 9), any.some(0, 9));
  } catch (const Refused&) {
    return false;
  }
  choose_algorithm(shape, false, true);
  shape.algorithm = Algorithm::winograd;
  if (up_to(1) == 0 || !uses_winograd(shape)) shape.algorithm = Algorithm::direct;
  if (!small_weights(shape) || !small_images(shape)) return false;
  const Threads threads = process_threads();
  const Buffer x(shape.batch * shape.in_height * shape.in_width * shape.in_channels, 1), grad_x(x.size, 1),
      y(shape.batch * shape.out_height * shape.out_width * shape.out_channels, 1), spatial(spatial_weights(shape), 1),
      pointwise(pointwise_weights(shape), 1), bias(shape.out_channels, 1), packed(packed_size(shape), 1),
      packed_grad(packed_size_input_grad(shape), 1);
  const Strides in = dense(shape.in_height, shape.in_width, shape.in_channels);
  const Strides out = dense(shape.out_height, shape.out_width, shape.out_channels);
  pack(shape, {spatial.data, pointwise.data}, packed.data, threads);
  forward(shape, {x.data, in}, packed.data, {bias.data, nullptr, Activation::relu}, {y.data, out}, threads);
  pack_input_grad(shape, {spatial.data, pointwise.data}, packed_grad.data, threads);
  input_grad(shape, {y.data, out}, packed_grad.data, {grad_x.data, in}, threads);
  shape.algorithm = Algorithm::direct;
  const Buffer scratch(packed_size(shape), 1);
  weight_grad(shape, {y.data, out}, {x.data, in}, scratch.data, spatial.data, pointwise.data, threads);
  return true;
}

// As another layer's, or other numbers of weights: it may fit, and then only as many are written.
void unpack_as(const Layer& layer, const Buffer& packed, int64_t elements, int64_t spatial, int64_t pointwise) {
  const int64_t numbers[6] = {layer.in_channels,   layer.out_channels, layer.p,
                              layer.kernel.height, layer.kernel.width, layer.shifted};
  const Buffer into(std::clamp<int64_t>(spatial, 0, kSmall), 0), others(std::clamp<int64_t>(pointwise, 0, kSmall), 0);
  if (into.size == spatial && others.size == pointwise) {
    hetconv_unpack(numbers, packed.data, std::min(elements, packed.size), into.data, spatial, others.data, pointwise);
  }
}

struct Counts {
  int64_t spatial, pointwise;
};

// How many weights the caller says there are: mostly the layer's own. Refused if those were too many to be made.
bool choose_counts(const Numbers& any, const Layer& layer, Counts& counts) {
  counts = {any.some(0, 9), any.some(0, 9)};
  if (up_to(7) == 0) return true;
  if (!small({layer.in_channels, layer.out_channels, layer.kernel.height, layer.kernel.width}) || layer.p < 1) {
    return false;
  }
  const int64_t own = layer.in_channels / layer.p;
  counts.spatial = layer.out_channels * own * layer.kernel.height * layer.kernel.width;
  counts.pointwise = layer.out_channels * (layer.in_channels - own);
  return true;
}

// Whether an entry that gives a size gave one; it says why not.
bool accepted(int64_t size) {
  if (size < 0 && std::strlen(hetconv_error()) == 0) std::printf("refused without a reason\n"), std::abort();
  return size >= 0;
}

bool entries(const Numbers& any) {
  const Layer layer = random_layer(any);
  const int64_t numbers[15] = {layer.in_channels,   layer.out_channels,    layer.p,
                               layer.kernel.height, layer.kernel.width,    layer.shifted,
                               layer.stride.height, layer.stride.width,    layer.padding.height,
                               layer.padding.width, layer.dilation.height, layer.dilation.width,
                               any.some(0, 3),      any.some(0, 9),        any.some(0, 9)};
  const int algorithm = static_cast<int>(any.some(0, 1));
  hetconv_choose_algorithm(numbers);
  const int64_t rounds = any.some(0, 100);
  if (rounds < 1000) hetconv_multiply_adds(rounds);
  Counts counts;
  if (!choose_counts(any, layer, counts)) return false;
  const auto [spatial, pointwise] = counts;
  const int64_t size = hetconv_pack(numbers, algorithm, nullptr, spatial, nullptr, pointwise, nullptr);
  if (!accepted(size)) return false;
  const Buffer from(spatial, 2), others(pointwise, 3), packed(size, 0), back(spatial, 0), others_back(pointwise, 0);
  if (hetconv_pack(numbers, algorithm, from.data, spatial, others.data, pointwise, packed.data) != size) std::abort();
  unpack_as(random_layer(any), packed, any.some(0, size), spatial, pointwise);
  unpack_as(layer, packed, size, any.some(0, 99), pointwise);
  unpack_as(layer, packed, any.some(0, size), spatial, pointwise);
  if (hetconv_unpack(numbers, packed.data, size, back.data, spatial, others_back.data, pointwise) != 0) std::abort();
  return std::equal(from.data, from.data + spatial, back.data) &&
         std::equal(others.data, others.data + pointwise, others_back.data);
}

using Bytes = std::vector<int8_t>;
using PackedBytes = std::vector<char>;

std::vector<int64_t> unplaced(const Layer& layer) {
  return {layer.in_channels, layer.out_channels, layer.p, layer.kernel.height, layer.kernel.width, layer.shifted};
}

Bytes any_bytes(int64_t count) {
  Bytes bytes(static_cast<size_t>(count));
  for (int8_t& byte : bytes) byte = static_cast<int8_t>(up_to(255) - 128);
  return bytes;
}

// As unpack_as; `forged` are packed weights whose header is made to be that of the layer.
void unpack_bytes_as(const Layer& layer, PackedBytes packed, int64_t bytes, const Counts& counts, bool forged) {
  if (std::clamp<int64_t>(counts.spatial, 0, kSmall) != counts.spatial ||
      std::clamp<int64_t>(counts.pointwise, 0, kSmall) != counts.pointwise) {
    return;
  }
  const std::vector<int64_t> numbers = unplaced(layer);
  if (forged && packed.size() >= 48) std::memcpy(packed.data(), numbers.data(), 48);
  packed.resize(std::min(packed.size(), static_cast<size_t>(std::max<int64_t>(bytes, 0))));
  packed.shrink_to_fit();
  Bytes spatial(static_cast<size_t>(counts.spatial)), pointwise(static_cast<size_t>(counts.pointwise));
  hetconv_unpack_int8(numbers.data(), packed.data(), std::min(bytes, static_cast<int64_t>(packed.size())),
                      spatial.data(), counts.spatial, pointwise.data(), counts.pointwise);
}

bool entries_of_8_bits(const Numbers& any) {
  const Layer layer = random_layer(any);
  const std::vector<int64_t> numbers = unplaced(layer);
  const int64_t rounds = any.some(0, 100);
  if (rounds < 1000) hetconv_int8_multiply_adds(rounds);
  Counts counts;
  if (!choose_counts(any, layer, counts)) return false;
  const int64_t size = hetconv_pack_int8(numbers.data(), nullptr, counts.spatial, nullptr, counts.pointwise, nullptr);
  if (!accepted(size)) return false;
  const Bytes spatial = any_bytes(counts.spatial), pointwise = any_bytes(counts.pointwise);
  PackedBytes packed(static_cast<size_t>(size));
  if (hetconv_pack_int8(numbers.data(), spatial.data(), counts.spatial, pointwise.data(), counts.pointwise,
                        packed.data()) != size) {
    std::abort();
  }
  const bool forged = up_to(1) == 0;
  unpack_bytes_as(random_layer(any), packed, any.some(0, size), counts, forged);
  unpack_bytes_as(layer, packed, size, {any.some(0, 99), counts.pointwise}, forged);
  unpack_bytes_as(layer, packed, any.some(0, size), counts, forged);
  Bytes spatial_again(spatial.size()), pointwise_again(pointwise.size());
  if (hetconv_unpack_int8(numbers.data(), packed.data(), size, spatial_again.data(), counts.spatial,
                          pointwise_again.data(), counts.pointwise) != 0) {
    std::abort();
  }
  if (spatial_again != spatial || pointwise_again != pointwise) {
    std::printf("weights of 8 bits are not unpacked\n"), std::abort();
  }
  return true;
}

// One step of a network: its kind, as many numbers as it has, and how large its arrays are.
struct AnyStep {
  const char* kind;
  std::vector<int64_t> numbers;
  std::vector<int64_t> sizes = {};
};

AnyStep any_convolution(const Numbers& any, const std::vector<int64_t>& window) {
  const Layer layer = random_layer(any);
  std::vector<int64_t> numbers{layer.in_channels, layer.out_channels, up_to(1) == 0 ? layer.p : any.some(1, 6)};
  numbers.insert(numbers.end(), window.begin(), window.begin() + 9);
  const bool known = small({layer.in_channels, layer.out_channels, window[0], window[1], numbers[2]});
  const int64_t factor = std::max<int64_t>(numbers[2], 1);
  if (known && up_to(2) > 0) {
    numbers.insert(numbers.end(), {any.some(0, 1), any.some(0, 7)});
    const int64_t weights = layer.out_channels * (layer.in_channels / factor) * window[0] * window[1];
    return {"grouped_convolution", numbers, {weights, layer.out_channels}};
  }
  const int64_t spatial = layer.out_channels * (layer.in_channels / factor) * window[0] * window[1];
  const int64_t pointwise = layer.out_channels * (layer.in_channels - layer.in_channels / factor);
  const int64_t unplaced[6] = {numbers[0], numbers[1], numbers[2], window[0], window[1], layer.shifted};
  const int64_t filters = known ? layer.out_channels : 0;
  if (up_to(1) == 0) {
    const int64_t bytes =
        known ? hetconv_pack_int8(unplaced, nullptr, spatial, nullptr, pointwise, nullptr) : any.some(0, 99);
    numbers.insert(numbers.end(), {layer.shifted, any.some(0, 255), any.some(0, 1), any.some(0, 1), any.some(0, 255),
                                   any.some(0, 255)});
    return {"int8_convolution", numbers, {std::clamp<int64_t>(bytes, 0, 4 * kSmall) / 4, filters, filters}};
  }
  const int64_t packed =
      known ? hetconv_pack(unplaced, 0, nullptr, spatial, nullptr, pointwise, nullptr) : any.some(0, 99);
  numbers.insert(numbers.end(), {layer.shifted, any.some(0, 1), any.some(0, 7)});
  return {"float_convolution", numbers, {std::clamp<int64_t>(packed, 0, kSmall), filters}};
}

AnyStep any_step(const Numbers& any, const std::vector<int64_t>& window) {
  switch (up_to(14)) {
    case 13:
      return {"resize", {any.some(0, 3), any.some(0, 9), any.some(0, 9)}};
    case 14: {
      const int64_t channels = std::min(any.some(1, 5), kSmall);
      return {"layer_norm", {channels}, {std::clamp<int64_t>(channels, 0, kSmall)}};
    }
    case 10:
      return {"quantize", {any.some(0, 255)}};
    case 11:
      return {"table", {}, {64}};
    case 12:
      return {"product", {any.some(0, 255), any.some(0, 255), any.some(0, 255)}};
    case 0:
      return {"max_pool", {window.begin(), window.begin() + 9}};
    case 1:
      return {"average_pool", {window.begin(), window.begin() + 11}};
    case 2:
      return {"adaptive_average", {any.some(1, 5), any.some(1, 5)}};
    case 3:
      return {"float_join", {any.some(0, 5), any.some(0, 7)}};
    case 4: {
      const int64_t channels = std::min(any.some(1, 5), kSmall);  // the caller has as many
      return {"float_affine", {channels, any.some(0, 7)}, {std::clamp<int64_t>(channels, 0, kSmall)}};
    }
    case 5: {
      const int64_t count = std::min(any.some(1, 5), kSmall);
      return {"select_channels", {count}, {std::clamp<int64_t>(count, 0, kSmall)}};
    }
    case 6:
      return {"pad_image", {any.some(0, 3), any.some(0, 3), any.some(0, 3), any.some(0, 3), any.some(0, 255)}};
    case 7:
      return {"pad_channels", {any.some(0, 3), any.some(0, 3), any.some(0, 255)}};
    case 8:
      return {up_to(1) == 0 ? "concatenate" : "flatten", {}};
    default:
      return {"flatten_to", {any.some(0, 99)}};
  }
}

// The arrays of a step, each exactly as large as the numbers say; packed weights are packed ones.
std::list<Buffer> arrays_of(const AnyStep& step) {
  std::list<Buffer> arrays;
  const auto is = [&](const char* kind) { return std::strcmp(step.kind, kind) == 0; };
  const float filler = is("select_channels") ? 0.0f : 1.0f;  // as an integer, the first channel
  for (const int64_t size : step.sizes) arrays.emplace_back(size, filler);
  if (is("float_affine") || is("layer_norm")) arrays.emplace_back(step.sizes[0], 1.0f);
  const bool int8 = is("int8_convolution");
  if ((!int8 && !is("float_convolution")) || arrays.back().size == 0) return arrays;
  const std::vector<int64_t>& n = step.numbers;
  const int64_t unplaced[6] = {n[0], n[1], n[2], n[3], n[4], n[12]};
  const int64_t own = n[0] / std::max<int64_t>(n[2], 1);
  const Buffer spatial(n[1] * own * n[3] * n[4], 1), pointwise(n[1] * (n[0] - own), 1);
  const int64_t elements = arrays.front().size;
  if (int8) {
    const Bytes bytes(static_cast<size_t>(spatial.size), 1), others(static_cast<size_t>(pointwise.size), 1);
    if (hetconv_pack_int8(unplaced, nullptr, spatial.size, nullptr, pointwise.size, nullptr) == elements * 4) {
      hetconv_pack_int8(unplaced, bytes.data(), spatial.size, others.data(), pointwise.size,
                        reinterpret_cast<char*>(arrays.front().data));
    }
    return arrays;
  }
  if (hetconv_pack(unplaced, 0, nullptr, spatial.size, nullptr, pointwise.size, nullptr) == elements) {
    hetconv_pack(unplaced, 0, spatial.data, spatial.size, pointwise.data, pointwise.size, arrays.front().data);
  }
  return arrays;
}

// The type and size of each array as the step's kind wants them, or now and then others, of no more bytes.
std::vector<int64_t> types_and_sizes(const Numbers& any, const AnyStep& step, const std::list<Buffer>& arrays) {
  const bool int8 = std::strcmp(step.kind, "int8_convolution") == 0;
  const bool bytes = int8 || std::strcmp(step.kind, "table") == 0;
  const bool selects = std::strcmp(step.kind, "select_channels") == 0;
  std::vector<int64_t> found;
  for (const Buffer& array : arrays) {
    const bool first = found.empty();
    found.push_back(up_to(99) == 0                           ? any.some(0, 3)
                    : first && bytes                         ? 2
                    : selects || (int8 && found.size() == 2) ? 1
                                                             : 0);
    const int64_t size = first && bytes ? 4 * array.size : array.size;
    found.push_back(up_to(99) == 0 ? std::clamp<int64_t>(any.some(0, 99), 0, size) : size);
  }
  return found;
}

// A network of any steps, on images of small sizes.
bool networks(const Numbers& any) {
  const int64_t in_channels = any.some(1, 4);
  std::list<std::list<Buffer>> kept;  // packed weights must outlive the network
  const std::unique_ptr<Network, void (*)(Network*)> network(hetconv_network_new(in_channels), hetconv_network_delete);
  const int64_t height = any.some(1, 9), width = any.some(1, 9), batch = any.some(1, 2);
  int64_t value = 0, sizes[3] = {};
  for (int64_t steps = up_to(4); steps >= 0; --steps) {
    const Layer layer = random_layer(any);
    const bool even = up_to(3) == 0 && layer.kernel.height < kSmall;
    const std::vector<int64_t> window{layer.kernel.height + even, layer.kernel.width,   layer.stride.height,
                                      layer.stride.width,         layer.padding.height, layer.padding.width,
                                      layer.dilation.height,      layer.dilation.width, any.some(0, 1),
                                      any.some(0, 255),           any.some(0, 1)};
    const AnyStep step = up_to(2) > 0 ? any_convolution(any, window) : any_step(any, window);
    kept.emplace_back(arrays_of(step));
    std::vector<const void*> arrays;
    for (const Buffer& array : kept.back()) arrays.push_back(array.data);
    const int64_t inputs[2] = {up_to(5) == 0 ? any.some(0, 2) : value, up_to(5) == 0 ? any.some(0, 2) : value};
    const float reals[4] = {1, 1, 2, up_to(1) == 0 ? 0.0f : 1.0f};  // a convolution that quantizes has the last
    const std::string kind = step.kind;
    const int64_t wanted = kind == "int8_convolution"                                        ? 4
                           : kind == "resize"                                                ? 2
                           : kind == "quantize" || kind == "product" || kind == "layer_norm" ? 1
                                                                                             : 0;
    const auto size = [&](int64_t right) { return up_to(99) == 0 ? up_to(right) : right; };
    const int64_t counts[4] = {up_to(30) == 0 ? 0 : 1 + up_to(1), size(static_cast<int64_t>(step.numbers.size())),
                               size(wanted), size(static_cast<int64_t>(arrays.size()))};
    const int64_t made = hetconv_network_add(network.get(), step.kind, counts, inputs, step.numbers.data(), reals,
                                             arrays.data(), types_and_sizes(any, step, kept.back()).data());
    if (made < 0) continue;
    value = made;
    if (!hetconv_network_result(network.get(), height, width, sizes)) return false;
    if (!small({batch, sizes[0], sizes[1], sizes[2]})) return false;
  }
  if (value == 0 || !small({batch, height, width, in_channels})) return false;
  const Buffer x(batch * height * width * in_channels, 1), y(batch * sizes[0] * sizes[1] * sizes[2], 0);
  const int64_t numbers[8] = {batch, in_channels,         height,     width, height * width * in_channels,
                              1,     width * in_channels, in_channels};
  return hetconv_network_run(network.get(), numbers, x.data, y.data) == 1;
}

// ONNX Runtime's side of its interface, as far as operators ask: one node, with attributes and inputs.
namespace runtime {

using namespace hetconv::ort;
using hetconv::ort::Value;

struct Tensor {
  Ints sizes;
  Buffer* data;
};

struct Node {
  std::vector<std::pair<std::string, Ints>> integers;
  std::vector<Tensor> inputs;
  bool constant;
  std::unique_ptr<Buffer> output;
  Tensor output_tensor;
} node;

Status* const kFailed = reinterpret_cast<Status*>(&node);

template <class Handle>
Handle* handle(const void* thing) {
  return static_cast<Handle*>(const_cast<void*>(thing));
}

const Tensor& of(const void* value) { return *static_cast<const Tensor*>(value); }

const Ints* attribute(const char* name) {
  for (const auto& [known, values] : node.integers) {
    if (known == name) return &values;
  }
  return nullptr;
}

Status* integer(const KernelInfo*, const char* name, int64_t* value) {
  const Ints* const found = attribute(name);
  if (found == nullptr) return kFailed;
  *value = found->front();
  return nullptr;
}

Status* integers(const KernelInfo*, const char* name, int64_t* values, size_t* size) {
  const Ints* const found = attribute(name);
  if (found == nullptr) return kFailed;
  *size = found->size();
  if (values != nullptr) std::copy(found->begin(), found->end(), values);
  return nullptr;
}

Status* text(const KernelInfo*, const char* name, char* value, size_t* size) {
  const std::string found = std::strcmp(name, "arrangement") == 0 ? "shifted" : "relu";
  *size = found.size() + 1;
  if (value != nullptr) std::memcpy(value, found.c_str(), *size);
  return nullptr;
}

Status* count_inputs(const KernelInfo*, size_t* count) {
  *count = node.inputs.size();
  return nullptr;
}

Status* constant_input(const KernelInfo*, size_t index, int* constant, const Value** value) {
  *constant = node.constant && index > 0;
  *value = handle<Value>(&node.inputs[index]);
  return nullptr;
}

Status* count_call_inputs(const KernelContext*, size_t* count) { return count_inputs(nullptr, count); }

Status* input(const KernelContext*, size_t index, const Value** value) {
  *value = handle<Value>(&node.inputs[index]);
  return nullptr;
}

Status* output(KernelContext*, size_t, const int64_t* sizes, size_t dims, Value** value) {
  node.output_tensor.sizes.assign(sizes, sizes + dims);
  int64_t elements = 1;
  for (size_t i = 0; i < dims; ++i) {
    if (sizes[i] < 0) std::printf("a negative size\n"), std::abort();
    if (sizes[i] > kSmall) return kFailed;
    elements *= sizes[i];
    if (elements > kSmall) return kFailed;
  }
  node.output = std::make_unique<Buffer>(elements, 0.0f);
  node.output_tensor.data = node.output.get();
  *value = handle<Value>(&node.output_tensor);
  return nullptr;
}

Status* parallel_for(const KernelContext*, void (*body)(void*, size_t), size_t parts, size_t, void* data) {
  for (size_t part = 0; part < parts; ++part) body(data, part);
  return nullptr;
}

Status* data(Value* value, void** data) {
  *data = of(value).data->data;
  return nullptr;
}

Status* tensor_info(const Value* value, TensorInfo** info) {
  *info = handle<TensorInfo>(value);
  return nullptr;
}

Status* element_type(const TensorInfo*, Element* type) {
  *type = Element::float32;
  return nullptr;
}

Status* count_dimensions(const TensorInfo* info, size_t* count) {
  *count = of(info).sizes.size();
  return nullptr;
}

Status* dimensions(const TensorInfo* info, int64_t* sizes, size_t count) {
  std::copy_n(of(info).sizes.begin(), count, sizes);
  return nullptr;
}

void release(TensorInfo*) {}
void release_status(Status*) {}
const char* message(const Status*) { return "failed"; }

Table table() {
  static const void* functions[300] = {};
  const auto set = [&](size_t at, auto* function) { functions[at] = reinterpret_cast<const void*>(function); };
  set(2, message), set(93, release_status), set(86, integer), set(87, text), set(163, integers);
  set(230, count_inputs), set(249, constant_input), set(88, count_call_inputs), set(90, input), set(91, output);
  set(274, parallel_for), set(51, data), set(60, element_type), set(61, count_dimensions), set(62, dimensions),
      set(65, tensor_info);
  set(99, release);
  return functions;
}

bool ran(std::unique_ptr<Kernel> (*make)(Table, const hetconv::ort::Node&)) {
  try {
    const auto kernel = make(table(), hetconv::ort::Node(table(), nullptr));
    kernel->run(Call(table(), nullptr, 2));
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

bool het_conv(const Numbers& any) {
  const Layer layer = random_layer(any);
  const auto size = [&](int64_t least, int64_t most) {
    return least + up_to(most - least);
  };  // of memory that is there
  const int64_t p = layer.p >= 1 && layer.p <= 4 ? layer.p : size(1, 4);
  const int64_t channels = size(1, 3), filters = p * size(1, 3), kernel = 2 * size(0, 1) + 1;
  const Ints x_sizes{size(0, 2), size(0, 6), size(0, 6), channels * p};
  const Ints spatial_sizes{filters, channels, kernel, kernel}, pointwise_sizes{filters, channels * (p - 1)};
  Buffer x(x_sizes[0] * x_sizes[1] * x_sizes[2] * x_sizes[3], 1), spatial(filters * channels * kernel * kernel, 1),
      pointwise(filters * channels * (p - 1), 1);
  node = {};
  node.integers = {{"p", {layer.p}},
                   {"stride", {layer.stride.height, layer.stride.width}},
                   {"padding", {layer.padding.height, layer.padding.width}},
                   {"dilation", {layer.dilation.height, layer.dilation.width}}};
  node.inputs = {{x_sizes, &x}, {spatial_sizes, &spatial}, {pointwise_sizes, &pointwise}};
  node.constant = up_to(1) == 0;
  return ran(&het_conv2d);
}

bool pool(const Numbers& any) {
  const Pair kernel = any.pair(1, 4), stride = any.pair(1, 3), padding = any.pair(0, 2);
  const Ints sizes{up_to(2), up_to(6), up_to(6), up_to(5)};
  Buffer x(sizes[0] * sizes[1] * sizes[2] * sizes[3], 1);
  node = {};
  node.integers = {{"kernel", {kernel.height, kernel.width}},
                   {"stride", {stride.height, stride.width}},
                   {"padding", {padding.height, padding.width}},
                   {"ceil", {any.some(0, 1)}},
                   {"count_padding", {any.some(0, 1)}}};
  node.inputs = {{sizes, &x}};
  return ran(up_to(1) == 0 ? &max_pool2d : &average_pool2d);
}

}  // namespace runtime

void one_after_another(int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context) {
  for (int64_t part = 0; part < 3; ++part) {
    if (size * part / 3 < size * (part + 1) / 3) body(context, size * part / 3, size * (part + 1) / 3);
  }
}

}  // namespace

namespace hetconv {

Threads process_threads() { return {3, &one_after_another}; }

}  // namespace hetconv

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 300;
  if (argc > 2) generator.seed(static_cast<unsigned>(std::atoi(argv[2])));
  const struct {
    const char* name;
    bool (*border)(const Numbers&);
  } borders[] = {{"operators", operators},
                 {"entries", entries},
                 {"entries of 8 bits", entries_of_8_bits},
                 {"networks", networks},
                 {"HetConv2d", runtime::het_conv},
                 {"pools", runtime::pool}};
  bool right = true;
  for (const auto& [name, border] : borders) {
    int ran = 0;
    for (int i = 0; i < cases; ++i) ran += border({i % 3 == 0 ? 3 : i % 3 == 1 ? 12 : 60});
    std::printf("%s: %d calls of any integers, %d of them computed\n", name, cases, ran);
    right &= ran > cases / 50 && ran < cases;
  }
  return right ? 0 : 1;
}
