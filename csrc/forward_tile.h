// R pixels × C filter vectors of the output: every segment is accumulated in registers, then stored once.
#pragma once

#include "chunk.h"

namespace hetconv {
namespace {

// sums += weights × chunks of one segment; start[c] is where vector c starts to read in a chunk.
template <Read read, bool shared, int R, int C>
HETCONV_INLINE const float* accumulate(Vec (&sums)[R][C], const float* const (&pixel)[R], const int64_t (&start)[C],
                                       const float* weights, const Segment& segment, const Tile& tile) {
  const int64_t step = segment.step, p = tile.p;
  int64_t at[C];
  for (int c = 0; c < C; ++c) at[c] = segment.offset + start[c];
  for (int64_t n = segment.count; n > 0; --n) {
    Vec weight[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) weight[c] = load(weights + c * kLanes);
    weights += C * kLanes;
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      if constexpr (shared) {
        const Vec chunk = read_chunk<read>(pixel[r] + at[0], p, tile.vectors[0]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = fma(chunk, weight[c], sums[r][c]);
      } else {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          sums[r][c] = fma(read_chunk<read>(pixel[r] + at[c], p, tile.vectors[c]), weight[c], sums[r][c]);
        }
      }
    }
    for (int c = 0; c < (shared ? 1 : C); ++c) {
      at[c] += step;
      asm("" : "+r"(at[c]));  // else GCC keeps R × C pointers, on the stack
    }
  }
  return weights;
}

HETCONV_INLINE Vec exp(Vec x) {  // 2 ulp; x is clamped to what float32 can hold
  x = min(max(x, set1(-87.0f)), set1(88.0f));
  const Vec n = round(x * set1(1.44269504f));
  const Vec r = fma(n, set1(-1.42860677e-6f), fma(n, set1(-0.693145752f), x));
  Vec sum = set1(1.0f / 5040);
  constexpr float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (const float term : terms) sum = fma(sum, r, set1(term));
  return sum * power_of_two(n);
}

template <int R, int C>
HETCONV_INLINE void activate(Vec (&sums)[R][C], Activation activation) {
  const Vec nought = zero(), one = set1(1.0f), six = set1(6.0f);
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      for (auto& row : sums)
        for (Vec& sum : row) sum = max(sum, nought);
      return;
    case Activation::relu6:
      for (auto& row : sums)
        for (Vec& sum : row) sum = min(max(sum, nought), six);
      return;
    case Activation::silu:
      for (auto& row : sums)
        for (Vec& sum : row) sum = sum / (one + exp(nought - sum));
      return;
  }
}

// to += from, or to = from; from = 0.
template <int R, int C>
HETCONV_INLINE void put_aside(Vec (&from)[R][C], Vec (&to)[R][C], bool add) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      to[r][c] = add ? to[r][c] + from[r][c] : from[r][c];
      from[r][c] = zero();
    }
}

// Points each pixel at its origin, or, where the tap is outside of the image, so that the segment reads zeros.
template <int R>
HETCONV_INLINE void point_at_tap(const Tile& tile, const Segment& segment, const float* (&pixel)[R]) {
  const auto zeros = reinterpret_cast<uintptr_t>(tile.zeros + segment.channel) -
                     static_cast<uintptr_t>(segment.offset) * sizeof(float);
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    const Pixel& at = tile.pixel[r];
    const bool inside = static_cast<uint32_t>(at.row + segment.row) < static_cast<uint32_t>(tile.height) &&
                        static_cast<uint32_t>(at.column + segment.column) < static_cast<uint32_t>(tile.width);
    const auto origin = reinterpret_cast<uintptr_t>(tile.input) + static_cast<uintptr_t>(at.offset) * sizeof(float);
    pixel[r] = reinterpret_cast<const float*>(inside ? origin : zeros);
  }
}

// Asks for what comes last: the pixels of the last tap, which no tile has read yet, and the output's lines.
template <int R, int C>
HETCONV_INLINE void fetch_ahead(const Tile& tile) {
  const Segment& last = tile.segments[tile.segment_count - 1];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    const float* const x = tile.input + (tile.pixel[r].offset + last.offset);
    for (int64_t channel = 0; channel < last.count * last.step; channel += 16) __builtin_prefetch(x + channel);
    for (int c = 0; c < C; ++c) {
      __builtin_prefetch(tile.output + tile.pixel[r].output + tile.vectors[c].filter, 1);
    }
  }
}

template <int R, int C>
HETCONV_INLINE void finish(const Tile& tile, Vec (&sums)[R][C]) {
  const float* const residual = tile.epilogue.residual;
  if (residual != nullptr) {
    for (int r = 0; r < tile.pixels && r < R; ++r)
      for (int c = 0; c < C; ++c) {
        const FilterVector& vector = tile.vectors[c];
        sums[r][c] = sums[r][c] + load_first(residual + tile.pixel[r].output + vector.filter, vector.filters);
      }
  }
  activate<R, C>(sums, tile.epilogue.activation);
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    if (r >= tile.pixels) break;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      float* const y = tile.output + tile.pixel[r].output + vector.filter;
      if (vector.filters == kLanes) {
        store(y, sums[r][c]);
      } else {
        store_first(y, sums[r][c], vector.filters);
      }
    }
  }
}

template <int R, int C>
struct ForwardTile {
  const Tile& tile;

  template <Read read, bool shared>
  HETCONV_INLINE void run() const {
    Vec sums[R][C], aside[R][C];
    bool any_aside = false;
    int64_t start[C], none[C] = {};
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      const float* const bias = tile.epilogue.bias;
      const Vec first = bias == nullptr ? zero() : load_first(bias + vector.filter, vector.filters);
      start[c] = vector.channel;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) sums[r][c] = first;
    }
    if (tile.far && tile.inside) fetch_ahead<R, C>(tile);
    const float* weights = tile.weights;
    const float* pixel[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) pixel[r] = tile.input + tile.pixel[r].offset;
    for (const Segment* s = tile.segments; s != tile.segments + tile.segment_count; ++s) {
      if (!tile.inside) point_at_tap<R>(tile, *s, pixel);
      if (s->spatial) {
        weights = accumulate<read, shared, R, C>(sums, pixel, start, weights, *s, tile);
      } else {
        weights = accumulate<Read::broadcast, true, R, C>(sums, pixel, none, weights, *s, tile);
      }
      if (s->put_aside) {
        put_aside(sums, aside, any_aside);
        any_aside = true;
      }
    }
    if (any_aside) put_aside(aside, sums, true);
    finish<R, C>(tile, sums);
  }
};

template <int R, int C>
void forward_tile(const Tile& tile) {
  dispatch<C>(tile.read, tile.shared, ForwardTile<R, C>{tile});
}

}  // namespace
}  // namespace hetconv
