#include "entries.h"

#include <exception>
#include <new>
#include <string>

#include "checked.h"
#include "int8/int8.h"
#include "int8/packed_weights.h"
#include "packed_weights.h"

namespace {

using hetconv::Algorithm;
using hetconv::Refused;
using hetconv::Shape;

constexpr int64_t kMostRounds = int64_t{1} << 40;  // of multiply-adds: minutes

std::string& error() {
  static thread_local std::string text;
  return text;
}

// What the body returns, or -1.
template <class Body>
int64_t or_refused(const Body& body) {
  int64_t result = -1;
  return hetconv::without_exceptions([&] { result = body(); }) ? result : -1;
}

int64_t checked_rounds(int64_t rounds) {
  if (rounds >= 0 && rounds <= kMostRounds) return rounds;
  throw Refused("rounds=" + std::to_string(rounds) + " must be from 0 to " + std::to_string(kMostRounds));
}

Shape unplaced(const int64_t* layer) {
  return hetconv::checked({.in_channels = layer[0],
                           .out_channels = layer[1],
                           .p = layer[2],
                           .kernel = {layer[3], layer[4]},
                           .shifted = layer[5] != 0});
}

Shape placed(const int64_t* layer) {
  Shape shape = hetconv::checked({.in_channels = layer[0],
                                  .out_channels = layer[1],
                                  .p = layer[2],
                                  .kernel = {layer[3], layer[4]},
                                  .stride = {layer[6], layer[7]},
                                  .padding = {layer[8], layer[9]},
                                  .dilation = {layer[10], layer[11]},
                                  .shifted = layer[5] != 0});
  hetconv::set_images(shape, layer[12], layer[13], layer[14]);
  return shape;
}

void set_algorithm(Shape& shape, int algorithm) {
  shape.algorithm = algorithm == 0 ? Algorithm::direct : Algorithm::winograd;
  if (algorithm < 0 || algorithm > 1 || (algorithm == 1 && !hetconv::uses_winograd(shape))) {
    throw Refused("algorithm " + std::to_string(algorithm) + " is none of this layer");
  }
}

void check_counts(const Shape& shape, int64_t spatial, int64_t pointwise) {
  if (spatial == hetconv::spatial_weights(shape) && pointwise == hetconv::pointwise_weights(shape)) return;
  throw Refused("there are " + std::to_string(spatial) + " spatial and " + std::to_string(pointwise) +
                " pointwise weights; the layer has " + std::to_string(hetconv::spatial_weights(shape)) + " and " +
                std::to_string(hetconv::pointwise_weights(shape)));
}

}  // namespace

bool hetconv::without_exceptions(const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    error() = "there is not enough memory";
  } catch (const std::exception& refusal) {
    error() = refusal.what();
  }
  return false;
}

extern "C" {

const char* hetconv_error() { return error().c_str(); }

const char* hetconv_instruction_set() { return hetconv::instruction_set(); }

int hetconv_choose_instruction_set(const char* name) { return hetconv::choose_instruction_set(name); }

void hetconv_allow_winograd(int allow) { hetconv::allow_winograd(allow != 0); }

uint64_t hetconv_fingerprint(const void* data, int64_t bytes) { return hetconv::fingerprint(data, bytes); }

int64_t hetconv_multiply_adds(int64_t rounds) {
  return or_refused([&] { return hetconv::multiply_adds(checked_rounds(rounds)); });
}

int64_t hetconv_int8_multiply_adds(int64_t rounds) {
  return or_refused([&] { return hetconv::int8_multiply_adds(checked_rounds(rounds)); });
}

int hetconv_choose_algorithm(const int64_t* layer) {
  return static_cast<int>(or_refused(
      [&] { return static_cast<int64_t>(hetconv::choose_algorithm(placed(layer), /*input_grad=*/false, false)); }));
}

int64_t hetconv_pack(const int64_t* layer, int algorithm, const float* spatial, int64_t spatial_count,
                     const float* pointwise, int64_t pointwise_count, float* packed) {
  return or_refused([&] {
    Shape shape = unplaced(layer);
    set_algorithm(shape, algorithm);
    check_counts(shape, spatial_count, pointwise_count);
    if (packed != nullptr) hetconv::pack_weights(shape, {spatial, pointwise}, packed, hetconv::process_threads());
    return hetconv::packed_weights_size(shape);
  });
}

int hetconv_unpack(const int64_t* layer, const float* packed, int64_t elements, float* spatial, int64_t spatial_count,
                   float* pointwise, int64_t pointwise_count) {
  return static_cast<int>(or_refused([&] {
    Shape shape = unplaced(layer);
    check_counts(shape, spatial_count, pointwise_count);
    if (!hetconv::is_packed_for(shape, packed, elements)) {
      throw Refused("the weights were packed for another layer or instruction set");
    }
    hetconv::unpack_weights(shape, packed, spatial, pointwise, hetconv::process_threads());
    return int64_t{0};
  }));
}

int64_t hetconv_pack_int8(const int64_t* layer, const int8_t* spatial, int64_t spatial_count, const int8_t* pointwise,
                          int64_t pointwise_count, char* packed) {
  return or_refused([&] {
    const Shape shape = unplaced(layer);
    check_counts(shape, spatial_count, pointwise_count);
    if (packed != nullptr) hetconv::pack_int8_weights(shape, spatial, pointwise, packed);
    return hetconv::int8_packed_weights_size(shape);
  });
}

int hetconv_unpack_int8(const int64_t* layer, const char* packed, int64_t bytes, int8_t* spatial, int64_t spatial_count,
                        int8_t* pointwise, int64_t pointwise_count) {
  return static_cast<int>(or_refused([&] {
    const Shape shape = unplaced(layer);
    check_counts(shape, spatial_count, pointwise_count);
    if (!hetconv::is_packed_int8_for(shape, packed, bytes)) {
      throw Refused("the weights were packed for another layer or instruction set");
    }
    hetconv::unpack_int8_weights(shape, packed, spatial, pointwise);
    return int64_t{0};
  }));
}
}
