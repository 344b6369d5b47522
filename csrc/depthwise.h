// Depthwise convolution: R outputs × V vectors of channels at once, their sums in registers.
#pragma once

#include "activate.h"

namespace hetconv {
namespace {

constexpr int kDepthwiseSums = 8;

template <int R, int V>
HETCONV_INLINE void depthwise_tile(const Depthwise& d, const float* x, float* y, const float* residual, int64_t at) {
  Vec sums[R][V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const Vec bias = load(d.bias + at + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r][v] = bias;
  }
  for (int64_t i = 0; i < d.rows; ++i) {
    const float* tap = x + i * d.row + at;
    const float* weights = d.weights + i * d.weight_row + at;
    for (int64_t j = 0; j < d.columns; ++j, tap += d.column, weights += d.channels) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        Vec weight = load(weights + v * kLanes);
        HETCONV_IN_REGISTER(weight);
        const float* pixel = tap + v * kLanes;
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r, pixel += d.step) sums[r][v] = fma(load(pixel), weight, sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const int64_t to = r * d.channels + at + v * kLanes;
      const Vec sum = residual == nullptr ? sums[r][v] : sums[r][v] + load(residual + to);
      store(y + to, activate(sum, d.activation));
    }
  }
}

// The channels that fill no vector, of one output.
HETCONV_INLINE void depthwise_rest(const Depthwise& d, const float* x, float* y, const float* residual, int64_t at) {
  const int rest = static_cast<int>(d.channels - at);
  Vec sum = load_first(d.bias + at, rest);
  for (int64_t i = 0; i < d.rows; ++i) {
    for (int64_t j = 0; j < d.columns; ++j) {
      const Vec weight = load_first(d.weights + i * d.weight_row + j * d.channels + at, rest);
      sum = fma(load_first(x + i * d.row + j * d.column + at, rest), weight, sum);
    }
  }
  if (residual != nullptr) sum = sum + load_first(residual + at, rest);
  store_first(y + at, activate(sum, d.activation), rest);
}

// As many outputs as there are R of, from `first` on; returns where it stopped.
template <int R>
int64_t depthwise_outputs(const Depthwise& d, int64_t first) {
  constexpr int V = kDepthwiseSums / R > 4 ? 4 : kDepthwiseSums / R;
  for (; first + R <= d.count; first += R) {
    const float* const x = d.x + first * d.step;
    float* const y = d.y + first * d.channels;
    const float* const residual = d.residual == nullptr ? nullptr : d.residual + first * d.channels;
    int64_t at = 0;
    for (; at + V * kLanes <= d.channels; at += V * kLanes) depthwise_tile<R, V>(d, x, y, residual, at);
    for (; at + kLanes <= d.channels; at += kLanes) depthwise_tile<R, 1>(d, x, y, residual, at);
    if (at == d.channels) continue;
    for (int64_t r = 0; r < R; ++r) {
      depthwise_rest(d, x + r * d.step, y + r * d.channels, residual == nullptr ? nullptr : residual + r * d.channels,
                     at);
    }
  }
  return first;
}

void depthwise(const Depthwise& d) {
  depthwise_outputs<1>(d, depthwise_outputs<2>(d, depthwise_outputs<4>(d, depthwise_outputs<8>(d, 0))));
}

}  // namespace
}  // namespace hetconv
