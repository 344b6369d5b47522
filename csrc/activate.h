// Activations of one vector. An input that is not a number gives none.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace hetconv {
namespace {

HETCONV_INLINE Vec exp(Vec x) {  // 2 ulp; x is clamped to what float32 can hold
  x = min(set1(88.0f), max(set1(-87.0f), x));
  const Vec n = round(x * set1(1.44269504f));
  const Vec r = fma(n, set1(-1.42860677e-6f), fma(n, set1(-0.693145752f), x));
  Vec sum = set1(1.0f / 5040);
  constexpr float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (const float term : terms) sum = fma(sum, r, set1(term));
  return sum * power_of_two(n);
}

// No activation gives subnormal numbers: a layer that reads those takes several times as long.

HETCONV_INLINE Vec sigmoid(Vec x) { return set1(1.0f) / (set1(1.0f) + exp(min(set1(87.0f), zero() - x))); }

// x · Φ(x), by Abramowitz and Stegun 7.1.26: erf within 1.5e-7. Below −11 it stays at −5e-27.
HETCONV_INLINE Vec gelu(Vec x) {
  const Vec scaled = x * set1(0.707106781f), size = max(scaled, zero() - scaled);
  const Vec t = set1(1.0f) / fma(size, set1(0.3275911f), set1(1.0f));
  Vec sum = set1(1.061405429f);
  constexpr float terms[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
  for (const float term : terms) sum = fma(sum, t, set1(term));
  const Vec tail = sum * t * exp(max(set1(-60.0f), zero() - size * size)) * set1(0.5f);  // Φ(−|x|)
  return max(zero(), x) - max(x, zero() - x) * tail;
}

HETCONV_INLINE Vec activate(Vec sum, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return max(zero(), sum);
    case Activation::relu6:
      return min(set1(6.0f), max(zero(), sum));
    case Activation::silu:
      return sum / (set1(1.0f) + exp(zero() - sum));
    case Activation::hardswish:
      return sum * (min(set1(6.0f), max(zero(), sum + set1(3.0f))) * set1(1.0f / 6));
    case Activation::hardsigmoid:
      return min(set1(6.0f), max(zero(), sum + set1(3.0f))) * set1(1.0f / 6);
    case Activation::sigmoid:
      return sigmoid(sum);
    case Activation::gelu:
      return gelu(sum);
    default:
      return sum;
  }
}

}  // namespace
}  // namespace hetconv
