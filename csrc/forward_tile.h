// R pixels × C filter vectors of the output: everything is accumulated in registers, then stored once.
#pragma once

#include "chunk.h"

namespace hetconv {
namespace {

// sums += weights × chunks; start[c] is where vector c starts to read in a chunk.
template <Read read, bool shared, int R, int C>
HETCONV_INLINE const float* accumulate(Vec (&sums)[R][C], const float* const (&pixel)[R], const int64_t* start,
                                       const float* weights, const int32_t* at, int32_t count, const Tile& tile) {
  for (const int32_t* const end = at + count; at != end; ++at) {
    Vec weight[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) weight[c] = load(weights + c * kLanes);
    weights += C * kLanes;
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      if constexpr (shared) {
        Vec chunk = read_chunk<read>(pixel[r] + (*at + start[0]), tile.p, tile.vectors[0]);
        HETCONV_IN_REGISTER(chunk);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = fma(chunk, weight[c], sums[r][c]);
      } else {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          sums[r][c] = fma(read_chunk<read>(pixel[r] + (*at + start[c]), tile.p, tile.vectors[c]), weight[c], sums[r][c]);
        }
      }
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

// Asks for the output's lines, which are stored to at the end.
template <int R, int C>
HETCONV_INLINE void fetch_ahead(const Tile& tile) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      __builtin_prefetch(static_cast<float*>(tile.output) + tile.pixel[r].output + tile.vectors[c].filter, 1);
    }
  }
}

template <int R, int C>
HETCONV_INLINE void add_addend(const Tile& tile, Vec (&sums)[R][C]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    const float* const addend = tile.addend + tile.pixel[r].place * (C * kLanes);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sums[r][c] = sums[r][c] + load(addend + c * kLanes);
  }
}

template <class Number, int R, int C>
HETCONV_INLINE void add_residual(const Tile& tile, Vec (&sums)[R][C]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    const Number* const residual = static_cast<const Number*>(tile.epilogue.residual) + tile.pixel[r].output;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      sums[r][c] = sums[r][c] + (vector.filters == kLanes ? load(residual + vector.filter)
                                                          : load_first(residual + vector.filter, vector.filters));
    }
  }
}

template <class Number, int R, int C>
HETCONV_INLINE void store_sums(const Tile& tile, const Vec (&sums)[R][C]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    Number* const y = static_cast<Number*>(tile.output) + tile.pixel[r].output;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      if (tile.whole) {
        store(y + vector.filter, sums[r][c]);
      } else {
        store_first(y + vector.filter, sums[r][c], vector.filters);
      }
    }
  }
}

template <class Number, int R, int C>
HETCONV_INLINE void finish(const Tile& tile, Vec (&sums)[R][C]) {
  if (tile.epilogue.residual != nullptr) add_residual<Number, R, C>(tile, sums);
  activate<R, C>(sums, tile.epilogue.activation);
  store_sums<Number, R, C>(tile, sums);
}

template <int R, int C>
struct ForwardTiles {
  Tile tile;

  template <Read read, bool shared>
  HETCONV_INLINE void run() {
    for (int n = tile.count; n > 0; --n, tile.pixel += R) {
      for (int line = 0; line < tile.next_lines; ++line, tile.next += 64) __builtin_prefetch(tile.next, 0, 2);
      run_one<read, shared>();
    }
  }

  template <Read read, bool shared>
  HETCONV_INLINE void run_one() const {
    Vec sums[R][C], aside[R][C];
    int64_t start[C], none[C] = {};
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      const float* const bias = tile.epilogue.bias;
      const Vec first = bias == nullptr ? zero() : load_first(bias + vector.filter, vector.filters);
      start[c] = tile.start[c];
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) sums[r][c] = first;
    }
    if (tile.addend != nullptr) add_addend<R, C>(tile, sums);
    if (tile.far && tile.type == Type::float32) fetch_ahead<R, C>(tile);
    const float* pixel[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) pixel[r] = tile.strip + tile.pixel[r].input;
    const float* weights = tile.weights;
    for (int i = 0; i < tile.partial_sum_count; ++i) {
      const Sum& sum = tile.partial_sums[i];
      if (i > 0) put_aside(sums, aside, i > 1);
      weights = accumulate<read, shared, R, C>(sums, pixel, start, weights, sum.at, sum.spatial, tile);
      weights = accumulate<Read::broadcast, true, R, C>(sums, pixel, none, weights, sum.at + sum.spatial, sum.pointwise, tile);
    }
    if (tile.partial_sum_count > 1) put_aside(aside, sums, true);
    if (tile.type == Type::bfloat16) {
      finish<uint16_t, R, C>(tile, sums);
    } else {
      finish<float, R, C>(tile, sums);
    }
  }
};

// Nothing but sums, next to one another.
template <int R, int C>
struct ProductTiles {
  Tile tile;

  template <Read read, bool shared>
  HETCONV_INLINE void run() {
    for (int n = tile.count; n > 0; --n, tile.pixel += R) run_one<read, shared>();
  }

  template <Read read, bool shared>
  HETCONV_INLINE void run_one() const {
    const float* pixel[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) pixel[r] = tile.strip + tile.pixel[r].input;
    float* const to = static_cast<float*>(tile.output) + tile.pixel[0].output;
    const float* weights = tile.weights;
    for (int i = 0; i < tile.partial_sum_count; ++i) {
      Vec sums[R][C];
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = zero();
      weights = accumulate<read, shared, R, C>(sums, pixel, tile.start, weights, tile.partial_sums[i].at,
                                               tile.partial_sums[i].spatial, tile);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          float* const at = to + (r * C + c) * kLanes;
          store(at, i == 0 ? sums[r][c] : sums[r][c] + load(at));
        }
    }
  }
};

template <int R, int C>
void product_tiles(const Tile& tile) {
  ProductTiles<R, C> tiles{tile};
  dispatch<C>(tile.read, tile.shared, tiles);
}

template <int R, int C>
void forward_tiles(const Tile& tile) {
  ForwardTiles<R, C> tiles{tile};
  dispatch<C>(tile.read, tile.shared, tiles);
}

}  // namespace
}  // namespace hetconv
