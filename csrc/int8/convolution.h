// A convolution of 8 bits at one size of images.
#pragma once

#include <memory>
#include <vector>

#include "../strip.h"
#include "int8.h"

namespace hetconv {

class Int8Convolution {
 public:
  Int8Convolution(const Shape& shape, int threads);
  Int8Convolution(const Int8Convolution&) = delete;  // its parts refer to one another
  Int8Convolution& operator=(const Int8Convolution&) = delete;

  // x: (B, H, W, blocks of in_channels); y: the same of out_channels, u8 or float32 in their natural order. `padding`:
  // what is around the images.
  void run(const uint8_t* x, uint8_t padding, const void* packed, const Int8Epilogue& epilogue, void* y,
           Int8Output type, const Threads& threads) const;

 private:
  struct Place {  // a strip's outputs are those of a table, so much further on
    size_t table;
    int64_t shift;
  };

  Plan plan_;
  Strips strips_;
  Sums sums_;
  Strides in_;
  std::vector<std::vector<Pixel>> tables_;
  std::vector<Place> places_;
};

}  // namespace hetconv
