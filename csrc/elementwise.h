// What is between a network's convolutions in float32: sums, products and the like of values, affine maps of channels,
// pools.
#pragma once

#include "activate.h"

namespace hetconv {
namespace {

template <class Function>
void join_all(const Join& j, const Function& function) {
  const auto joined = [&](Vec a, Vec b) { return activate(function(a, b), j.activation); };
  int64_t at = 0;
  for (; at + kLanes <= j.count; at += kLanes) store(j.y + at, joined(load(j.a + at), load(j.b + at)));
  const int rest = static_cast<int>(j.count - at);
  if (rest > 0) store_first(j.y + at, joined(load_first(j.a + at, rest), load_first(j.b + at, rest)), rest);
}

void join(const Join& j) {
  switch (j.joining) {
    case Joining::sum:
      return join_all(j, [](Vec a, Vec b) { return a + b; });
    case Joining::product:
      return join_all(j, [](Vec a, Vec b) { return a * b; });
    case Joining::difference:
      return join_all(j, [](Vec a, Vec b) { return a - b; });
    case Joining::quotient:
      return join_all(j, [](Vec a, Vec b) { return a / b; });
    case Joining::maximum:
      return join_all(j, [](Vec a, Vec b) { return max_or_nan(a, b); });
    case Joining::minimum:
      return join_all(j, [](Vec a, Vec b) { return zero() - max_or_nan(zero() - a, zero() - b); });
  }
}

void affine(const Affine& a) {
  int64_t at = 0;
  for (; at + kLanes <= a.channels; at += kLanes) {
    store(a.y + at, activate(fma(load(a.x + at), load(a.scale + at), load(a.shift + at)), a.activation));
  }
  const int rest = static_cast<int>(a.channels - at);
  if (rest == 0) return;
  const Vec sum = fma(load_first(a.x + at, rest), load_first(a.scale + at, rest), load_first(a.shift + at, rest));
  store_first(a.y + at, activate(sum, a.activation), rest);
}

// Combines pixels, channel by channel, some after some so that rounding errors of long sums stay small; then finish.
template <class Load, class Combine>
HETCONV_INLINE Vec fold(const float* const* pixels, int64_t count, const Load& load_one, const Combine& combine) {
  constexpr int64_t kSome = 64;
  Vec all = zero();
  for (int64_t first = 0; first < count; first += kSome) {
    Vec some = load_one(pixels[first]);
    const int64_t end = first + kSome < count ? first + kSome : count;
    for (int64_t i = first + 1; i < end; ++i) some = combine(some, load_one(pixels[i]));
    all = first == 0 ? some : combine(all, some);
  }
  return all;
}

template <class Combine, class Finish>
HETCONV_INLINE void over_pixels(const float* const* pixels, int64_t count, int64_t channels, float* to,
                                const Combine& combine, const Finish& finish) {
  int64_t at = 0;
  for (; at + kLanes <= channels; at += kLanes) {
    const auto load_one = [&](const float* pixel) { return load(pixel + at); };
    store(to + at, finish(fold(pixels, count, load_one, combine)));
  }
  const int rest = static_cast<int>(channels - at);
  if (rest == 0) return;
  const auto load_one = [&](const float* pixel) { return load_first(pixel + at, rest); };
  store_first(to + at, finish(fold(pixels, count, load_one, combine)), rest);
}

void max_of_pixels(const float* const* pixels, int64_t count, int64_t channels, float* to) {
  over_pixels(pixels, count, channels, to, [](Vec a, Vec b) { return max_or_nan(a, b); }, [](Vec v) { return v; });
}

// Their sum over `counted`.
void mean_of_pixels(const float* const* pixels, int64_t count, int64_t channels, float counted, float* to) {
  const Vec divisor = set1(counted);
  over_pixels(pixels, count, channels, to, [](Vec a, Vec b) { return a + b; }, [&](Vec v) { return v / divisor; });
}

}  // namespace
}  // namespace hetconv
