// A row of pixels cut into tiles.
#include "kernels.h"

namespace hetconv {
namespace {

// With more tiles than this, what the first one waits for its weights no longer counts.
constexpr int64_t kFewTiles = 24;

}  // namespace

Tiles tiles_of(const Kernels& kernels, int vectors) {
  return {kernels.tile[vectors], kernels.max_pixels[vectors], vectors * kernels.lanes};
}

Tiles products_of(const Kernels& kernels, int vectors) {
  return {kernels.products[vectors], kernels.max_pixels[vectors], vectors * kernels.lanes};
}

void run_tiles(const Tiles& tiles, Tile tile, const Pixel* pixels, int64_t count, const float* then) {
  if (count == 0) return;
  const auto* const of_size = tiles.of_size;
  const int most = tiles.most;
  const int64_t all = (count + most - 1) / most;
  int64_t chunks = 0;
  for (int i = 0; i < tile.partial_sum_count; ++i)
    chunks += tile.partial_sums[i].spatial + tile.partial_sums[i].pointwise;
  tile.ahead = all <= kFewTiles ? then : nullptr;
  tile.ahead_step = (tiles.chunk + all - 1) / all;  // all tiles together ask for all of them
  tile.pixel = pixels;
  const auto run = [&](int size, int64_t times) {
    if (times == 0) return;
    tile.count = static_cast<int>(times);
    of_size[size](tile);
    if (tile.ahead != nullptr) tile.ahead += times * chunks * tile.ahead_step;
    tile.pixel += size * times;
    tile.next += 64 * times * tile.next_lines;
  };
  // Tiles of fewer pixels than this take as long, for sums wait for one another: the last two tiles share what is left.
  constexpr int64_t kFew = 3;
  int64_t left = count % most;
  const bool share = left > 0 && left < kFew && count > most;
  run(most, count / most - share);
  if (share) {
    left += most;
    const int half = static_cast<int>((left + 1) / 2);
    run(half, of_size[half] != nullptr);
    if (of_size[half] != nullptr) left -= half;
  }
  while (left > 0) {
    int size = static_cast<int>(left < most ? left : most);
    while (of_size[size] == nullptr) --size;
    run(size, 1);
    left -= size;
  }
}

}  // namespace hetconv
