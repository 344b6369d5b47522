// Winograd's transforms for 4×4 outputs of 3×3 kernels, one vector of channels or filters at a time. The polynomials
// are evaluated at 0, ±3/4, ±3/2 and infinity: with these points rounding errors are less than half of those with the
// usual 0, ±1, ±2, and two to four times those of summing tap by tap.
#pragma once

#include "simd.h"

namespace hetconv {
namespace {

constexpr float kA = 0.75f, kB = 1.5f;
constexpr float kA2 = kA * kA, kB2 = kB * kB;

// The values of a patch's row or column, whose 6 entries are the remainders' coefficients.
HETCONV_INLINE void transform_line(const Vec (&d)[6], Vec (&to)[6]) {
  const Vec both = set1(-(kA2 + kB2)), product = set1(kA2 * kB2);
  const Vec even_a = fma(set1(-kB2), d[2], d[4]), odd_a = fma(set1(-kB2), d[1], d[3]);
  const Vec even_b = fma(set1(-kA2), d[2], d[4]), odd_b = fma(set1(-kA2), d[1], d[3]);
  to[0] = fma(product, d[0], fma(both, d[2], d[4]));
  to[1] = fma(set1(kA), odd_a, even_a);
  to[2] = fma(set1(-kA), odd_a, even_a);
  to[3] = fma(set1(kB), odd_b, even_b);
  to[4] = fma(set1(-kB), odd_b, even_b);
  to[5] = fma(product, d[1], fma(both, d[3], d[5]));
}

void winograd_patch(const float* from, int64_t row_step, int64_t column_step, int64_t channels, float* to,
                    int64_t to_step) {
  for (int64_t channel = 0; channel < channels; channel += kLanes, from += kLanes, to += kLanes) {
    Vec half[6][6];
    for (int column = 0; column < 6; ++column) {
      Vec line[6], turned[6];
#pragma GCC unroll 6
      for (int row = 0; row < 6; ++row) line[row] = load(from + row * row_step + column * column_step);
      transform_line(line, turned);
#pragma GCC unroll 6
      for (int row = 0; row < 6; ++row) half[row][column] = turned[row];
    }
    for (int row = 0; row < 6; ++row) {
      Vec turned[6];
      transform_line(half[row], turned);
#pragma GCC unroll 6
      for (int column = 0; column < 6; ++column) store(to + (row * 6 + column) * to_step, turned[column]);
    }
  }
}

// The values of a kernel's row or column of 3 taps, divided by what makes the outputs' interpolation right.
HETCONV_INLINE void kernel_line(Vec first, Vec second, Vec third, Vec (&to)[6]) {
  constexpr float by_a = 1 / (2 * kA2 * (kA2 - kB2)), by_b = 1 / (2 * kB2 * (kB2 - kA2));
  const Vec even_a = fma(set1(kA2), third, first), odd_a = set1(kA) * second;
  const Vec even_b = fma(set1(kB2), third, first), odd_b = set1(kB) * second;
  to[0] = set1(1 / (kA2 * kB2)) * first;
  to[1] = set1(by_a) * (even_a + odd_a);
  to[2] = set1(by_a) * (even_a - odd_a);
  to[3] = set1(by_b) * (even_b + odd_b);
  to[4] = set1(by_b) * (even_b - odd_b);
  to[5] = third;
}

void winograd_kernel(const float* const* taps, float* to, int64_t to_step) {
  Vec half[6][3];
  for (int column = 0; column < 3; ++column) {
    Vec turned[6];
    kernel_line(load(taps[column]), load(taps[3 + column]), load(taps[6 + column]), turned);
    for (int row = 0; row < 6; ++row) half[row][column] = turned[row];
  }
  for (int row = 0; row < 6; ++row) {
    Vec turned[6];
    kernel_line(half[row][0], half[row][1], half[row][2], turned);
    for (int column = 0; column < 6; ++column) store(to + (row * 6 + column) * to_step, turned[column]);
  }
}

// 4 outputs from a line of 6 products.
HETCONV_INLINE void output_line(const Vec (&m)[6], Vec (&to)[4]) {
  const Vec sum_a = m[1] + m[2], sum_b = m[3] + m[4], apart_a = m[1] - m[2], apart_b = m[3] - m[4];
  to[0] = m[0] + (sum_a + sum_b);
  to[1] = fma(set1(kA), apart_a, set1(kB) * apart_b);
  to[2] = fma(set1(kA2), sum_a, set1(kB2) * sum_b);
  to[3] = fma(set1(kA2 * kA), apart_a, fma(set1(kB2 * kB), apart_b, m[5]));
}

void winograd_outputs(const float* from, int64_t from_step, float* to, int64_t row_step, int64_t column_step) {
  Vec half[4][6];
  for (int column = 0; column < 6; ++column) {
    Vec line[6], turned[4];
#pragma GCC unroll 6
    for (int row = 0; row < 6; ++row) line[row] = load(from + (row * 6 + column) * from_step);
    output_line(line, turned);
#pragma GCC unroll 4
    for (int row = 0; row < 4; ++row) half[row][column] = turned[row];
  }
  for (int row = 0; row < 4; ++row) {
    Vec turned[4];
    output_line(half[row], turned);
#pragma GCC unroll 4
    for (int column = 0; column < 4; ++column) store(to + row * row_step + column * column_step, turned[column]);
  }
}

}  // namespace
}  // namespace hetconv
