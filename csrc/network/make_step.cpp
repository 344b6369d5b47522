#include "make_step.h"

#include <map>
#include <stdexcept>

#include "../checked.h"
#include "../int8/packed_weights.h"
#include "../packed_weights.h"

namespace hetconv {
namespace {

using Arguments = StepArguments;

template <class T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr ElementType value = ElementType::float32;
};
template <>
struct TypeOf<int32_t> {
  static constexpr ElementType value = ElementType::int32;
};
template <>
struct TypeOf<uint8_t> {
  static constexpr ElementType value = ElementType::uint8;
};
template <>
struct TypeOf<int8_t> {
  static constexpr ElementType value = ElementType::int8;
};

template <class T>
const T* array_of(const Arguments& a, size_t at, std::initializer_list<int64_t> sizes) {
  check_elements(sizes);
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  const Array& array = a.arrays[at];
  if (array.type != TypeOf<T>::value || array.count != count) throw Refused("its weights have another shape or type");
  return static_cast<const T*>(array.data);
}

// Of any size, which is the kernels' to check.
template <class T>
const T* packed_array(const Arguments& a) {
  return array_of<T>(a, 0, {a.arrays[0].count});
}

// kernel, stride, padding, dilation (height and width each), ceil
Window window_of(const Arguments& a, size_t at) {
  const int64_t* const n = a.numbers.data() + at;
  check_range("kernel_size", {n[0], n[1]}, 1);
  check_geometry({n[2], n[3]}, {n[4], n[5]}, {n[6], n[7]});
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8] != 0};
}

// A u8: what stands for 0, or a bound.
int32_t byte(int64_t number) {
  if (number < 0 || number > 255) throw Refused(std::to_string(number) + " must be from 0 to 255, as u8 is");
  return static_cast<int32_t>(number);
}

Joining joining_of(int64_t number) {
  if (number < 0 || number >= kJoinings) throw Refused("there is no function of two values " + std::to_string(number));
  return static_cast<Joining>(number);
}

Sampling sampling_of(int64_t number) {
  if (number < 0 || number >= kSamplings) throw Refused("there is no sampling " + std::to_string(number));
  return static_cast<Sampling>(number);
}

Activation activation_of(int64_t number) {
  if (number < 0 || number >= kActivations) throw Refused("there is no activation " + std::to_string(number));
  return static_cast<Activation>(number);
}

struct Kind {
  size_t numbers, reals, arrays;
  std::unique_ptr<Step> (*make)(const Arguments&);
  size_t by_input = 0;  // as many more numbers and reals for each value that it reads
};

const std::map<std::string, Kind>& kinds() {
  static const std::map<std::string, Kind> all{
      // zero | factor
      {"quantize", {1, 1, 0, [](const Arguments& a) { return quantize_step(a.reals[0], byte(a.numbers[0])); }}},
      // zero | scale
      {"dequantize", {1, 1, 0, [](const Arguments& a) { return dequantize_step(a.reals[0], byte(a.numbers[0])); }}},
      // in_channels, out_channels, p, window (9), shifted, in_zero, float32?, residual?, residual_zero, zero |
      // residual_scale, least, most, in_factor | packed, start, scale
      {"int8_convolution",
       {18, 4, 3,
        [](const Arguments& a) {
          const std::vector<int64_t>& n = a.numbers;
          return int8_convolution_step({n[0], n[1], n[2], window_of(a, 3), n[12] != 0, byte(n[13]), a.reals[3],
                                        n[14] != 0 ? Int8Output::float32 : Int8Output::uint8, n[15] != 0, a.reals[0],
                                        byte(n[16]), byte(n[17]), a.reals[1], a.reals[2],
                                        reinterpret_cast<const char*>(packed_array<uint8_t>(a)), a.arrays[0].count,
                                        array_of<int32_t>(a, 1, {n[1]}), array_of<float>(a, 2, {n[1]})});
        }}},
      // in_channels, out_channels, p, window (9), shifted, residual?, activation | – | packed, bias
      {"float_convolution",
       {15, 0, 2,
        [](const Arguments& a) {
          const std::vector<int64_t>& n = a.numbers;
          return float_convolution_step({n[0], n[1], n[2], window_of(a, 3), n[12] != 0, n[13] != 0,
                                         activation_of(n[14]), packed_array<float>(a), a.arrays[0].count,
                                         array_of<float>(a, 1, {n[1]})});
        }}},
      // in_channels, out_channels, groups, window (9), residual?, activation | – | weights, bias
      {"grouped_convolution",
       {14, 0, 2,
        [](const Arguments& a) {
          const std::vector<int64_t>& n = a.numbers;
          if (n[0] < 1 || n[1] < 1 || n[2] < 1 || n[0] % n[2] != 0) {
            throw Refused("its channels are not divisible by groups");
          }
          const Window window = window_of(a, 3);
          return grouped_convolution_step(
              {n[0], n[1], n[2], window, n[12] != 0, activation_of(n[13]),
               array_of<float>(a, 0, {n[1], n[0] / n[2], window.kernel_height, window.kernel_width}),
               array_of<float>(a, 1, {n[1]})});
        }}},
      // window (9)
      {"max_pool", {9, 0, 0, [](const Arguments& a) { return max_pool_step(window_of(a, 0)); }}},
      // window (9), zero, count_padding
      {"average_pool",
       {11, 0, 0,
        [](const Arguments& a) { return average_pool_step(window_of(a, 0), byte(a.numbers[9]), a.numbers[10] != 0); }}},
      // zero | scale
      {"global_average",
       {1, 1, 0, [](const Arguments& a) { return global_average_step(a.reals[0], byte(a.numbers[0])); }}},
      // zero, least, most, each term's zero | each term's scale
      {"add",
       {3, 0, 0,
        [](const Arguments& a) {
          std::vector<Term> terms;
          for (size_t i = 0; i < a.reals.size(); ++i) terms.push_back({a.reals[i], byte(a.numbers[3 + i])});
          return add_step(terms, byte(a.numbers[0]), byte(a.numbers[1]), byte(a.numbers[2]));
        },
        1}},
      // – | – | 256 u8
      {"table", {0, 0, 1, [](const Arguments& a) { return table_step(array_of<uint8_t>(a, 0, {256})); }}},
      // zeros of both and of the product | scale
      {"product",
       {3, 1, 0,
        [](const Arguments& a) {
          const std::vector<int64_t>& n = a.numbers;
          return product_step({a.reals[0], byte(n[0]), byte(n[1]), byte(n[2])});
        }}},
      // before, after, zero
      {"pad_channels",
       {3, 0, 0, [](const Arguments& a) { return pad_channels_step(a.numbers[0], a.numbers[1], byte(a.numbers[2])); }}},
      {"concatenate", {0, 0, 0, [](const Arguments&) { return concatenate_step(); }}},
      {"flatten", {0, 0, 0, [](const Arguments&) { return flatten_step(0); }}},
      // how many numbers are wanted
      {"flatten_to", {1, 0, 0, [](const Arguments& a) { return flatten_step(a.numbers[0]); }}},
      // height, width
      {"adaptive_average",
       {2, 0, 0,
        [](const Arguments& a) {
          check_range("size", {a.numbers[0], a.numbers[1]}, 1);
          return adaptive_average_step(a.numbers[0], a.numbers[1]);
        }}},
      // which function, activation
      {"float_join",
       {2, 0, 0,
        [](const Arguments& a) { return float_join_step(joining_of(a.numbers[0]), activation_of(a.numbers[1])); }}},
      // channels or 1, activation | – | scale, shift
      {"float_affine",
       {2, 0, 2,
        [](const Arguments& a) {
          const int64_t channels = a.numbers[0];
          check_range("channels", {channels, channels}, 1);
          return float_affine_step(channels, activation_of(a.numbers[1]), array_of<float>(a, 0, {channels}),
                                   array_of<float>(a, 1, {channels}));
        }}},
      // channels | epsilon | weight, bias
      {"layer_norm",
       {1, 1, 2,
        [](const Arguments& a) {
          const int64_t channels = a.numbers[0];
          check_range("channels", {channels, channels}, 1);
          return layer_norm_step(channels, a.reals[0], array_of<float>(a, 0, {channels}),
                                 array_of<float>(a, 1, {channels}));
        }}},
      // how many | – | which
      {"select_channels",
       {1, 0, 1,
        [](const Arguments& a) {
          check_range("channels", {a.numbers[0], a.numbers[0]}, 1);
          return select_channels_step(a.numbers[0], array_of<int32_t>(a, 0, {a.numbers[0]}));
        }}},
      // sampling, height and width or 0 | scales of both or 0
      {"resize",
       {3, 2, 0,
        [](const Arguments& a) {
          return resize_step({sampling_of(a.numbers[0]), a.numbers[1], a.numbers[2], a.reals[0], a.reals[1]});
        }}},
      // top, bottom, left, right, zero
      {"pad_image",
       {5, 0, 0,
        [](const Arguments& a) {
          const std::vector<int64_t>& n = a.numbers;
          return pad_image_step({n[0], n[1], n[2], n[3]}, byte(n[4]));
        }}},
  };
  return all;
}

const Kind& kind_of(const std::string& name) {
  const auto found = kinds().find(name);
  if (found == kinds().end()) throw Refused("there is no step " + name);
  return found->second;
}

void check_counts(const std::string& name, const Kind& kind, const Arguments& a) {
  const size_t more = kind.by_input * static_cast<size_t>(a.inputs < 0 ? 0 : a.inputs);
  if (a.inputs > 0 && a.numbers.size() == kind.numbers + more && a.reals.size() == kind.reals + more) return;
  throw Refused(std::to_string(a.numbers.size()) + " numbers and " + std::to_string(a.reals.size()) + " reals of " +
                std::to_string(a.inputs) + " values are no " + name);
}

Shape layer_of(const Arguments& a) {
  const std::vector<int64_t>& n = a.numbers;
  return checked({.in_channels = n[0], .out_channels = n[1], .p = n[2], .kernel = {n[3], n[4]}, .shifted = n[12] != 0});
}

template <class T>
const T* natural(const Arguments& a, size_t at, int64_t count) {
  return array_of<T>(a, at, {count});
}

}  // namespace

std::unique_ptr<Step> make_step(const std::string& name, const StepArguments& arguments) {
  const Kind& kind = kind_of(name);
  check_counts(name, kind, arguments);
  if (arguments.arrays.size() != kind.arrays) {
    throw Refused("it has " + std::to_string(arguments.arrays.size()) + " arrays of weights, and not " +
                  std::to_string(kind.arrays));
  }
  return kind.make(arguments);
}

std::unique_ptr<Aligned> pack_arrays(const std::string& name, StepArguments& arguments) {
  const bool int8 = name == "int8_convolution";
  if (!int8 && name != "float_convolution") return nullptr;
  check_counts(name, kind_of(name), arguments);
  std::vector<Array>& arrays = arguments.arrays;
  if (arrays.size() < 2) throw Refused("its weights are missing");
  const Shape layer = layer_of(arguments);
  const int64_t spatial = spatial_weights(layer), pointwise = pointwise_weights(layer);
  std::unique_ptr<Aligned> memory;
  Array packed{};
  if (int8) {
    const int8_t* const given[] = {natural<int8_t>(arguments, 0, spatial), natural<int8_t>(arguments, 1, pointwise)};
    packed = {nullptr, ElementType::uint8, int8_packed_weights_size(layer)};
    memory = std::make_unique<Aligned>(packed.count);
    pack_int8_weights(layer, given[0], given[1], memory->data());
  } else {
    const Weights given{natural<float>(arguments, 0, spatial), natural<float>(arguments, 1, pointwise)};
    packed = {nullptr, ElementType::float32, packed_weights_size(layer)};
    memory = std::make_unique<Aligned>(packed.count * 4);
    pack_weights(layer, given, reinterpret_cast<float*>(memory->data()), {1, nullptr});
  }
  packed.data = memory->data();
  arrays.erase(arrays.begin());
  arrays[0] = packed;
  return memory;
}

}  // namespace hetconv
