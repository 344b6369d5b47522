#include "pixels.h"

#include <algorithm>

namespace hetconv {
namespace {

// Cuts the pixels of a strip into tiles; a tile ends with a row of the image, or goes on across the padding between.
std::vector<AmxPixels> tiles_of(const std::vector<Pixel>& pixels, int64_t pixel, int64_t step, int64_t row,
                                bool across) {
  std::vector<AmxPixels> tiles;
  for (size_t i = 0; i < pixels.size();) {
    AmxPixels tile{pixels[i].input / pixel, {}};
    std::fill(std::begin(tile.output), std::end(tile.output), -1);
    const int64_t image_row = pixels[i].place / row;
    for (; i < pixels.size(); ++i) {
      const int64_t distance = pixels[i].input / pixel - tile.input;
      if (distance % step != 0 || distance / step >= kAmxRows) break;
      if (!across && pixels[i].place / row != image_row) break;
      tile.output[distance / step] = pixels[i].output;
    }
    tiles.push_back(tile);
  }
  return tiles;
}

int64_t rows_of(const std::vector<AmxPixels>& tiles) {
  int64_t rows = 1;
  for (const AmxPixels& tile : tiles) {
    for (int64_t row = rows; row < kAmxRows; ++row) rows = tile.output[row] >= 0 ? row + 1 : rows;
  }
  return rows;
}

int64_t cycles(const std::vector<AmxPixels>& tiles, int64_t least) {  // an instruction takes a cycle a row
  return static_cast<int64_t>(tiles.size()) * std::max(rows_of(tiles), least);
}

}  // namespace

AmxTables::AmxTables(const Strips& strips, const Phase& phase, const Strides& out, int64_t least_cycles) {
  for (int64_t strip = 0; strip < strips.count(); ++strip) {
    std::vector<Pixel> pixels = strips.pixels(strip, phase, out);
    const int64_t shift = pixels.empty() ? 0 : pixels[0].output;
    for (Pixel& pixel : pixels) pixel.output -= shift;
    const auto cut = [&](bool across) {
      return tiles_of(pixels, strips.pixel(), strips.column_step(), strips.places_in_row(), across);
    };
    std::vector<AmxPixels> tiles = cut(true), by_row = cut(false);
    if (cycles(by_row, least_cycles) < cycles(tiles, least_cycles)) tiles = std::move(by_row);
    const auto found =
        std::find_if(tables_.begin(), tables_.end(), [&](const AmxTable& table) { return table.tiles == tiles; });
    places_.push_back({static_cast<size_t>(found - tables_.begin()), shift});
    if (found != tables_.end()) continue;
    const int64_t rows = rows_of(tiles);
    tables_.push_back({std::move(tiles), rows});
  }
}

}  // namespace hetconv
