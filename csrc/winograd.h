// Winograd's way (Lavin and Gray 2016) through the ring: 4×4 outputs of a 3×3 kernel from 36 products, one for each
// position of a transformed patch of 6×6 pixels, in place of 9 × 16. The transforms are in winograd_transforms.h.
#pragma once

#include "strip.h"

namespace hetconv {

constexpr int64_t kSquare = 4;  // outputs in a row of a square
constexpr int64_t kPositions = (kSquare + 2) * (kSquare + 2);
constexpr int64_t kMostSquares = 96;

// How many squares a strip has: at one position, all their channels are in the L1 cache while the filters pass by.
// Where that is few, for which many weights pass by, more are better.
int64_t most_squares(const Plan& plan);

// What the ring adds to the outputs of a strip.
class WinogradRing {
 public:
  WinogradRing(const Plan& plan, const Strips& strips);

  // The sums of the blocks [first, last), block by block and in each place by place of the strip, in `memory` of
  // elements().
  const float* sum(int64_t strip, const float* data, const float* packed, int64_t first, int64_t last,
                   float* memory) const;
  int64_t elements() const;
  int64_t sum_elements(const Block& block) const { return strips_.places() * block.vectors * lanes_; }

 private:
  const Plan& plan_;
  const Strips& strips_;
  const int64_t lanes_, squares_;  // squares of a strip
  const int64_t square_;           // elements of one square at one position
  const int64_t position_;         // of all squares
  const int64_t product_;          // of all squares' products
  Sums chunks_;

  void transform(const float* strip, const std::vector<Pixel>& squares, float* transformed) const;
  void multiply(const Block& block, int64_t position, const float* transformed, int64_t squares, const float* packed,
                float* products) const;
  void place(const Block& block, const float* products, const std::vector<Pixel>& squares, float* sums) const;
};

}  // namespace hetconv
