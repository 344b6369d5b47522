// The input, cut into strips that are copied, padded with zeros, to where the L2 cache holds them: tiles then know no
// borders, and pixels that are a power of two apart do not compete for the same places in the L1 cache.
#pragma once

#include <cstddef>
#include <vector>

#include "plan.h"

namespace hetconv {

// Rows or columns. Taps are `in_step` apart in the input, and a strip holds those lines only that are read: for a
// dilated layer the positions fall into classes, which read different lines and are maps of their own.
struct Axis {
  int64_t classes;                          // position = class + classes * (position in the class)
  int64_t positions;                        // of the largest class
  int64_t step;                             // from one position of a class to the next, in lines of the strip
  int64_t span;                             // lines that one position reads, less one
  int64_t in_size, in_step, in_class_step;  // lines of the input; between lines of the strip; between classes
  int64_t least;                            // first line that position 0 reads, in the input

  int64_t lines(int64_t count) const { return (count - 1) * step + 1 + span; }
  int64_t first_line(int64_t of_class, int64_t position) const {
    return of_class * in_class_step + position * step * in_step + least;
  }
};

// Multiply-adds, in partial sums of so many terms.
class Sums {
 public:
  Sums(int64_t most, int64_t terms) : terms_(terms) { at_.reserve(static_cast<std::size_t>(most)); }  // it never moves
  void add(int64_t at, bool spatial);
  const std::vector<int32_t>& at() const { return at_; }
  const std::vector<Sum>& partial() const { return partial_; }

 private:
  int64_t terms_;
  std::vector<int32_t> at_;
  std::vector<Sum> partial_;
};

class Strips {
 public:
  Strips(const Plan& plan, int threads, int64_t size = 1);  // so many times as large

  int64_t count() const { return counts_.maps * counts_.rows * counts_.columns; }
  int64_t elements() const { return extent_.maps * height_ * width_ * pixel_ + kMaxLanes; }

  // What a phase sums up in a strip; it holds for every strip. With Winograd, only the centre.
  Sums sums(const Phase& phase) const;

  void copy(const Input& input, int64_t strip, float* to, float padding = 0) const;

  // Where the input of the next strip is that this one has not read; empty where it is not in one piece.
  struct Piece {
    const char* data;
    int64_t bytes;
  };
  Piece next(const Input& input, int64_t strip) const;

  // Where a channel is in a pixel of a strip.
  int64_t place(int64_t channel) const;

  // The phase's output pixels in a strip, in memory order.
  std::vector<Pixel> pixels(int64_t strip, const Phase& phase, const Strides& out) const;

  // The squares of outputs that Winograd computes at once, by their first pixels.
  std::vector<Pixel> squares(int64_t strip, const Phase& phase) const;
  int64_t places() const { return extent_.maps * extent_.rows * extent_.columns; }  // pixels of a strip
  int64_t places_in_row() const { return extent_.columns; }
  int64_t pixel() const { return pixel_; }
  int64_t row() const { return width_ * pixel_; }
  int64_t strip_pixels() const { return extent_.maps * height_ * width_; }  // with their padding
  int64_t column_step() const { return column_.step; }                      // from an output's pixel to the next one's
  int64_t tap(const Tap& tap) const;                                        // pixels from an output's first one

 private:
  struct Extent {
    int64_t maps, rows, columns;
  };
  struct Map {
    int64_t image, row_class, column_class;
  };

  const Plan& plan_;
  const Axis row_, column_;
  const int64_t size_;
  int64_t unit_;            // positions are computed in squares of this many
  int64_t maps_;            // images × classes
  Extent extent_, counts_;  // positions of a strip; how many strips
  int64_t height_, width_;  // lines of one map in a strip
  int64_t pixel_;           // elements from one pixel of a strip to the next
  int64_t parts_;           // vectors in a chunk: a pixel holds the first of every chunk, then the second, ...

  Extent begin(int64_t strip) const;
  Map map(int64_t index) const;
  void choose_extent(int threads);
};

}  // namespace hetconv
