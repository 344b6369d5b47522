#include "api.h"

#include <map>
#include <stdexcept>

#include "../checked.h"
#include "steps.h"

#define HETCONV_API extern "C" HETCONV_ENTRY

namespace hetconv {
namespace {

struct Arguments {
  const int64_t* numbers;
  const float* reals;
  const void* const* arrays;
  int64_t inputs;
};

// kernel, stride, padding, dilation (height and width each), ceil
Window window_of(const int64_t* n) {
  check_range("kernel_size", {n[0], n[1]}, 1);
  check_geometry({n[2], n[3]}, {n[4], n[5]}, {n[6], n[7]});
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8] != 0};
}

int32_t small(int64_t number) {
  if (number != static_cast<int32_t>(number)) {
    throw Refused(std::to_string(number) + " must be an integer of 32 bits");
  }
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

using Maker = std::unique_ptr<Step> (*)(const Arguments&);

const std::map<std::string, Maker>& makers() {
  static const std::map<std::string, Maker> all{
      // zero | factor
      {"quantize", [](const Arguments& a) { return quantize_step(a.reals[0], small(a.numbers[0])); }},
      // zero | scale
      {"dequantize", [](const Arguments& a) { return dequantize_step(a.reals[0], small(a.numbers[0])); }},
      // in_channels, out_channels, p, window (9), shifted, in_zero, float32?, residual?, residual_zero, zero, bytes of
      // packed | residual_scale, least, most, in_factor | packed, start, scale
      {"int8_convolution",
       [](const Arguments& a) {
         const int64_t* const n = a.numbers;
         return int8_convolution_step(
             {n[0], n[1], n[2], window_of(n + 3), n[12] != 0, small(n[13]), a.reals[3],
              n[14] != 0 ? Int8Output::float32 : Int8Output::uint8, n[15] != 0, a.reals[0], small(n[16]), small(n[17]),
              a.reals[1], a.reals[2], static_cast<const char*>(a.arrays[0]), n[18],
              static_cast<const int32_t*>(a.arrays[1]), static_cast<const float*>(a.arrays[2])});
       }},
      // in_channels, out_channels, p, window (9), shifted, residual?, activation, elements of packed | – | packed, bias
      {"float_convolution",
       [](const Arguments& a) {
         const int64_t* const n = a.numbers;
         return float_convolution_step({n[0], n[1], n[2], window_of(n + 3), n[12] != 0, n[13] != 0,
                                        activation_of(n[14]), static_cast<const float*>(a.arrays[0]), n[15],
                                        static_cast<const float*>(a.arrays[1])});
       }},
      // in_channels, out_channels, groups, window (9), residual?, activation | – | weights, bias
      {"grouped_convolution",
       [](const Arguments& a) {
         const int64_t* const n = a.numbers;
         return grouped_convolution_step({n[0], n[1], n[2], window_of(n + 3), n[12] != 0, activation_of(n[13]),
                                          static_cast<const float*>(a.arrays[0]),
                                          static_cast<const float*>(a.arrays[1])});
       }},
      // window (9)
      {"max_pool", [](const Arguments& a) { return max_pool_step(window_of(a.numbers)); }},
      // window (9), zero, count_padding
      {"average_pool",
       [](const Arguments& a) {
         return average_pool_step(window_of(a.numbers), small(a.numbers[9]), a.numbers[10] != 0);
       }},
      // zero | scale
      {"global_average", [](const Arguments& a) { return global_average_step(a.reals[0], small(a.numbers[0])); }},
      // zero, least, most, each term's zero | each term's scale
      {"add",
       [](const Arguments& a) {
         std::vector<Term> terms;
         for (int64_t i = 0; i < a.inputs; ++i) terms.push_back({a.reals[i], small(a.numbers[3 + i])});
         return add_step(terms, small(a.numbers[0]), small(a.numbers[1]), small(a.numbers[2]));
       }},
      // – | – | 256 u8
      {"table", [](const Arguments& a) { return table_step(static_cast<const uint8_t*>(a.arrays[0])); }},
      // zeros of both and of the product | scale
      {"product",
       [](const Arguments& a) {
         const int64_t* const n = a.numbers;
         return product_step({a.reals[0], small(n[0]), small(n[1]), small(n[2])});
       }},
      // before, after, zero
      {"pad_channels",
       [](const Arguments& a) { return pad_channels_step(a.numbers[0], a.numbers[1], small(a.numbers[2])); }},
      {"concatenate", [](const Arguments&) { return concatenate_step(); }},
      {"flatten", [](const Arguments&) { return flatten_step(0); }},
      // how many numbers are wanted
      {"flatten_to", [](const Arguments& a) { return flatten_step(a.numbers[0]); }},
      // height, width
      {"adaptive_average",
       [](const Arguments& a) {
         check_range("size", {a.numbers[0], a.numbers[1]}, 1);
         return adaptive_average_step(a.numbers[0], a.numbers[1]);
       }},
      // which function, activation
      {"float_join",
       [](const Arguments& a) { return float_join_step(joining_of(a.numbers[0]), activation_of(a.numbers[1])); }},
      // channels or 1, activation | – | scale, shift
      {"float_affine",
       [](const Arguments& a) {
         check_range("channels", {a.numbers[0], a.numbers[0]}, 1);
         return float_affine_step(a.numbers[0], activation_of(a.numbers[1]), static_cast<const float*>(a.arrays[0]),
                                  static_cast<const float*>(a.arrays[1]));
       }},
      // channels | epsilon | weight, bias
      {"layer_norm",
       [](const Arguments& a) {
         check_range("channels", {a.numbers[0], a.numbers[0]}, 1);
         return layer_norm_step(a.numbers[0], a.reals[0], static_cast<const float*>(a.arrays[0]),
                                static_cast<const float*>(a.arrays[1]));
       }},
      // how many | – | which
      {"select_channels",
       [](const Arguments& a) {
         check_range("channels", {a.numbers[0], a.numbers[0]}, 1);
         return select_channels_step(a.numbers[0], static_cast<const int32_t*>(a.arrays[0]));
       }},
      // sampling, height and width or 0 | scales of both or 0
      {"resize",
       [](const Arguments& a) {
         return resize_step({sampling_of(a.numbers[0]), a.numbers[1], a.numbers[2], a.reals[0], a.reals[1]});
       }},
      // top, bottom, left, right, zero
      {"pad_image",
       [](const Arguments& a) {
         const int64_t* const n = a.numbers;
         return pad_image_step({n[0], n[1], n[2], n[3]}, small(n[4]));
       }},
  };
  return all;
}

}  // namespace

}  // namespace hetconv

HETCONV_API hetconv::Network* hetconv_network_new(int64_t in_channels) {
  hetconv::Network* made = nullptr;
  hetconv::without_exceptions([&] { made = new hetconv::Network(in_channels); });
  return made;
}

HETCONV_API void hetconv_network_delete(hetconv::Network* network) { delete network; }

HETCONV_API int64_t hetconv_network_add(hetconv::Network* network, const char* kind, const int64_t* inputs,
                                        int64_t input_count, const int64_t* numbers, const float* reals,
                                        const void* const* arrays) {
  int64_t made = -1;
  hetconv::without_exceptions([&] {
    const auto found = hetconv::makers().find(kind);
    if (input_count < 1) throw hetconv::Refused("a step reads no value");
    if (found == hetconv::makers().end()) throw std::invalid_argument(std::string("there is no step ") + kind);
    made = network->add(found->second({numbers, reals, arrays, input_count}), {inputs, inputs + input_count});
  });
  return made;
}

HETCONV_API int hetconv_network_result(const hetconv::Network* network, int64_t height, int64_t width, int64_t* sizes) {
  return hetconv::without_exceptions([&] {
    const hetconv::Result result = network->result(height, width);
    sizes[0] = result.channels, sizes[1] = result.height, sizes[2] = result.width;
  });
}

HETCONV_API int hetconv_network_run(hetconv::Network* network, const int64_t* numbers, const float* x, float* y) {
  bool finite = true;
  const bool done = hetconv::without_exceptions([&] {
    const int64_t* const n = numbers;
    finite = network->run({x, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}, y, hetconv::process_threads());
  });
  return !done ? 0 : finite ? 1 : 2;
}

HETCONV_API int64_t hetconv_network_weight_bytes(const hetconv::Network* network) { return network->weight_bytes(); }
