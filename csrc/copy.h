// Pixels of the input to the strip, as float32.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace hetconv {
namespace {

template <class Number>
void copy_pixels(const Number* from, int64_t from_step, float* to, int64_t to_step, int64_t channels, int64_t parts,
                 int64_t count) {
  const int64_t whole = channels / kLanes * kLanes;
  const int rest = static_cast<int>(channels - whole);
  for (; count > 0; --count, from += from_step, to += to_step) {
    const Number* next = from;
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t part = 0; part < parts; ++part, next += kLanes) store(to + part * channels + i, load(next));
    }
    if (rest > 0) store_first(to + whole, load_first(next, rest), rest);  // of one part
  }
}

void copy(Type type, const void* from, int64_t from_step, float* to, int64_t to_step, int64_t channels, int64_t parts,
          int64_t count) {
  if (type == Type::bfloat16) {
    copy_pixels(static_cast<const uint16_t*>(from), from_step, to, to_step, channels, parts, count);
  } else {
    copy_pixels(static_cast<const float*>(from), from_step, to, to_step, channels, parts, count);
  }
}

}  // namespace
}  // namespace hetconv
