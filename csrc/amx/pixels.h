// The pixels of strips, cut into tiles for AMX.
#pragma once

#include <vector>

#include "../strip.h"
#include "work.h"

namespace hetconv {

struct AmxTable {
  std::vector<AmxPixels> tiles;
  int64_t rows;  // of a tile, at most

  void put_into(AmxWork& work) const {
    work.pixels = tiles.data();
    work.count = static_cast<int64_t>(tiles.size());
    work.rows = rows;
  }
};

// Of each strip, cut into tiles the way that takes fewer cycles, where an instruction takes `least_cycles` at least.
// Strips that are cut alike have one table.
class AmxTables {
 public:
  AmxTables(const Strips& strips, const Phase& phase, const Strides& out, int64_t least_cycles);

  const AmxTable& table(int64_t strip) const { return tables_[places_[static_cast<size_t>(strip)].table]; }
  int64_t shift(int64_t strip) const { return places_[static_cast<size_t>(strip)].shift; }  // of the outputs

 private:
  struct Place {
    size_t table;
    int64_t shift;
  };
  std::vector<AmxTable> tables_;
  std::vector<Place> places_;
};

}  // namespace hetconv
