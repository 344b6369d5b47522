// C filter vectors × J chunks of the weight gradient of one segment: output gradient times input, summed over pixels.
#pragma once

#include "chunk.h"

namespace hetconv {
namespace {

template <int J, int C>
struct GradLoop {
  const GradTile& tile;

  HETCONV_INLINE void add_up(Vec (&sums)[J][C], bool fresh) const {
    float* total = tile.grad;
#pragma GCC unroll 12
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c, total += kLanes) {
        store(total, fresh ? sums[j][c] : load(total) + sums[j][c]);
        sums[j][c] = zero();
      }
  }

  template <Read read, bool shared>
  HETCONV_INLINE void run() const {
    const FilterVector* const vectors = tile.vectors;
    const int64_t step = tile.step, p = tile.p, x_step = tile.x_step, grad_y_step = tile.grad_y_step;
    int64_t start[C], filter[C];
    for (int c = 0; c < C; ++c) {
      start[c] = tile.spatial ? vectors[c].channel : 0;
      filter[c] = vectors[c].filter;
    }
    Vec sums[J][C];
#pragma GCC unroll 12
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sums[j][c] = zero();
    int64_t terms = 0;
    bool fresh = tile.fresh;
    for (int64_t i = 0; i < tile.run_count; ++i) {
      const float* x = tile.x + tile.runs[i].x;
      const float* grad_y = tile.grad_y + tile.runs[i].grad_y;
      for (int64_t n = tile.runs[i].count; n > 0; --n) {
        Vec grad[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          grad[c] = vectors[c].filters == kLanes ? load(grad_y + filter[c])
                                                 : load_first(grad_y + filter[c], vectors[c].filters);
        }
#pragma GCC unroll 12
        for (int j = 0; j < J; ++j) {
          if constexpr (shared) {
            const Vec chunk = read_chunk<read>(x + start[0] + j * step, p, vectors[0]);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sums[j][c] = fma(chunk, grad[c], sums[j][c]);
          } else {
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) {
              sums[j][c] = fma(read_chunk<read>(x + start[c] + j * step, p, vectors[c]), grad[c], sums[j][c]);
            }
          }
        }
        x += x_step;
        grad_y += grad_y_step;
      }
      terms += tile.runs[i].count;
      if (terms < kGradTerms && i + 1 < tile.run_count) continue;
      add_up(sums, fresh);
      terms = 0;
      fresh = false;
    }
    if (fresh) add_up(sums, true);  // no tap falls inside of the image: zeros
  }
};

template <int J, int C>
void grad_tile(const GradTile& tile) {
  GradLoop<J, C> loop{tile};
  dispatch<C>(tile.read, tile.shared || !tile.spatial, loop);
}

}  // namespace
}  // namespace hetconv
