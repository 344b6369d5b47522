// A convolution of 8 bits at one size of images.
#pragma once

#include <memory>
#include <vector>

#include "../strip.h"
#include "amx.h"

namespace hetconv {

class Int8Convolution {
 public:
  Int8Convolution(const Shape& shape, bool from_float, int threads);
  Int8Convolution(const Int8Convolution&) = delete;  // its parts refer to one another
  Int8Convolution& operator=(const Int8Convolution&) = delete;

  // x: (B, H, W, blocks of in_channels), or (B, H, W, in_channels) of float32; y: (B, H, W, blocks of out_channels), u8
  // or float32 in their natural order.
  void run(const Int8Input& x, const void* packed, const Int8Epilogue& epilogue, void* y, Int8Output type,
           const Threads& threads) const;

 private:
  struct Place {  // a strip's outputs are those of a table, so much further on
    size_t table;
    int64_t shift;
  };

  std::unique_ptr<const AmxConvolution> amx_;  // in its place, where it is faster
  Plan plan_;
  Strips strips_;
  Sums sums_;
  Strides in_;
  std::vector<std::vector<Pixel>> tables_;
  std::vector<Place> places_;
};

}  // namespace hetconv
