// R pixels × C filter vectors of the output: everything is accumulated in registers, then stored once.
#pragma once

#include "activate.h"
#include "chunk.h"

namespace hetconv {
namespace {

// Where a tile has come to in its weights, and what is asked for meanwhile.
struct Weights {
  const float* here;
  const float* ahead;
  int64_t step;
};

// sums += weights × chunks; start[c] is where vector c starts to read in a chunk.
template <Read read, bool shared, bool fetch, int R, int C>
HETCONV_INLINE void accumulate(Vec (&sums)[R][C], const float* const (&pixel)[R], const int64_t* start,
                               Weights& weights, const int32_t* at, int32_t count, const Tile& tile) {
  for (const int32_t* const end = at + count; at != end; ++at) {
    Vec weight[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) weight[c] = load(weights.here + c * kLanes);
    if constexpr (fetch) {  // one line: the processor brings a stream's other lines by itself
      __builtin_prefetch(weights.ahead, 0, 2);
      weights.ahead += weights.step;
    }
    weights.here += C * kLanes;
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
          sums[r][c] =
              fma(read_chunk<read>(pixel[r] + (*at + start[c]), tile.p, tile.vectors[c]), weight[c], sums[r][c]);
        }
      }
    }
  }
}

template <Read read, bool shared, bool fetch, int R, int C>
HETCONV_INLINE void accumulate(Vec (&sums)[R][C], const float* const (&pixel)[R], const int64_t* start,
                               Weights& weights, const Sum& sum, const Tile& tile) {
  const int64_t none[C] = {};
  accumulate<read, shared, fetch, R, C>(sums, pixel, start, weights, sum.at, sum.spatial, tile);
  accumulate<Read::broadcast, true, fetch, R, C>(sums, pixel, none, weights, sum.at + sum.spatial, sum.pointwise, tile);
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
HETCONV_INLINE void fetch_ahead(const Tile& tile, const Pixel* pixel) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      __builtin_prefetch(static_cast<float*>(tile.output) + pixel[r].output + tile.vectors[c].filter, 1);
    }
  }
}

template <int R, int C>
HETCONV_INLINE void add_addend(const Tile& tile, const Pixel* pixel, Vec (&sums)[R][C]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    const float* const addend = tile.addend + pixel[r].place * (C * kLanes);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sums[r][c] = sums[r][c] + load(addend + c * kLanes);
  }
}

template <class Number, int R, int C>
void finish_any(const Tile& tile, const Pixel* pixel, const Vec (&sums)[R][C]) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      const int64_t at = pixel[r].output + vector.filter;
      Vec sum = sums[r][c];
      if (tile.epilogue.residual != nullptr) {
        sum = sum + load_first(static_cast<const Number*>(tile.epilogue.residual) + at, vector.filters);
      }
      store_first(static_cast<Number*>(tile.output) + at, activate(sum, tile.epilogue.activation), vector.filters);
    }
  }
}

// One copy for all ways to read.
template <int R, int C>
__attribute__((noinline)) void finish_any(const Tile& tile, const Pixel* pixel, const Vec (&sums)[R][C]) {
  tile.type == Type::bfloat16 ? finish_any<uint16_t, R, C>(tile, pixel, sums)
                              : finish_any<float, R, C>(tile, pixel, sums);
}

// What is not so often needed: vectors of fewer filters, bfloat16, activations that are more than clamps.
template <int R, int C>
HETCONV_INLINE void finish_seldom(const Tile& tile, const Pixel* pixel, const Vec (&sums)[R][C]) {
  Vec memory[R][C];  // so that `sums` need none
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) memory[r][c] = sums[r][c];
  finish_any<R, C>(tile, pixel, memory);
}

template <int R, int C>
struct ForwardTiles {
  const Tile& tile;

  template <Read read, bool shared>
  HETCONV_INLINE void run() {
    tile.ahead == nullptr ? run<read, shared, false>() : run<read, shared, true>();
  }

  template <Read read, bool shared, bool fetch>
  HETCONV_INLINE void run() {
    int64_t start[C], filter[C];
    Vec bias[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const FilterVector& vector = tile.vectors[c];
      start[c] = tile.start[c];
      filter[c] = vector.filter;
      bias[c] = tile.epilogue.bias == nullptr ? zero() : load_first(tile.epilogue.bias + vector.filter, vector.filters);
    }
    const bool plain = tile.whole && tile.type == Type::float32 && tile.epilogue.activation <= Activation::relu6;
    Weights weights{nullptr, tile.ahead, tile.ahead_step};
    const char* next = tile.next;
    const Pixel* pixel = tile.pixel;
    for (int n = tile.count; n > 0; --n, pixel += R) {
      for (int line = 0; line < tile.next_lines; ++line, next += 64) __builtin_prefetch(next, 0, 2);
      if (tile.far && tile.type == Type::float32) fetch_ahead<R, C>(tile, pixel);
      Vec sums[R][C];
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = bias[c];
      if (tile.addend != nullptr) add_addend<R, C>(tile, pixel, sums);
      weights.here = tile.weights;
      sum_up<read, shared, fetch>(pixel, start, weights, sums);
      plain ? finish(pixel, filter, sums) : finish_seldom<R, C>(tile, pixel, sums);
    }
  }

  template <Read read, bool shared, bool fetch>
  HETCONV_INLINE void sum_up(const Pixel* pixels, const int64_t (&start)[C], Weights& weights,
                             Vec (&sums)[R][C]) const {
    const float* pixel[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) pixel[r] = tile.strip + pixels[r].input;
    Vec aside[R][C];
    for (int i = 0; i < tile.partial_sum_count; ++i) {
      if (i > 0) put_aside(sums, aside, i > 1);
      accumulate<read, shared, fetch, R, C>(sums, pixel, start, weights, tile.partial_sums[i], tile);
    }
    if (tile.partial_sum_count > 1) put_aside(aside, sums, true);
  }

  // Whole vectors of float32.
  HETCONV_INLINE void finish(const Pixel* pixel, const int64_t (&filter)[C], Vec (&sums)[R][C]) const {
    if (tile.epilogue.residual != nullptr) {
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const float* const residual = static_cast<const float*>(tile.epilogue.residual) + pixel[r].output;
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = sums[r][c] + load(residual + filter[c]);
      }
    }
    if (tile.epilogue.activation != Activation::none) {
      const Vec most = set1(tile.epilogue.activation == Activation::relu6 ? 6.0f : __builtin_inff());
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = min(most, max(zero(), sums[r][c]));
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      float* const y = static_cast<float*>(tile.output) + pixel[r].output;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) store(y + filter[c], sums[r][c]);
    }
  }
};

// Nothing but sums, next to one another.
template <int R, int C>
struct ProductTiles {
  const Tile& tile;

  template <Read read, bool shared>
  HETCONV_INLINE void run() {
    tile.ahead == nullptr ? run<read, shared, false>() : run<read, shared, true>();
  }

  template <Read read, bool shared, bool fetch>
  HETCONV_INLINE void run() {
    Weights weights{nullptr, tile.ahead, tile.ahead_step};
    const Pixel* pixel = tile.pixel;
    for (int n = tile.count; n > 0; --n, pixel += R) run_one<read, shared, fetch>(pixel, weights);
  }

  template <Read read, bool shared, bool fetch>
  HETCONV_INLINE void run_one(const Pixel* pixels, Weights& weights) const {
    const float* pixel[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) pixel[r] = tile.strip + pixels[r].input;
    float* const to = static_cast<float*>(tile.output) + pixels[0].output;
    weights.here = tile.weights;
    for (int i = 0; i < tile.partial_sum_count; ++i) {
      Vec sums[R][C];
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = zero();
      const Sum& sum = tile.partial_sums[i];
      accumulate<read, shared, fetch, R, C>(sums, pixel, tile.start, weights, sum.at, sum.spatial, tile);
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
