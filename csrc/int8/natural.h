// Where a layer keeps its weights of 8 bits: spatial (N, M/P, Kh, Kw) and pointwise (N, M − M/P). The pattern of
// float32's weights, one weight at a time.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "../het_conv.h"

namespace hetconv {

// Byte is int8_t, or const int8_t of weights that are only read.
template <class Byte>
class Int8Natural {
 public:
  Int8Natural(const Shape& layer, Byte* spatial, Byte* pointwise)
      : spatial_(spatial),
        pointwise_(pointwise),
        channels_(layer.in_channels),
        own_(layer.in_channels / layer.p),
        taps_(layer.kernel_height * layer.kernel_width),
        shifted_(layer.shifted) {
    const auto placed = [&](int64_t number, int64_t count) {
      const int64_t each = count / layer.p;
      return shifted_ ? Place{number % layer.p, number / layer.p} : Place{number / each, number % each};
    };
    for (int64_t m = 0; m < layer.in_channels; ++m) of_channel_.push_back(placed(m, layer.in_channels));
    for (int64_t n = 0; n < layer.out_channels; ++n) of_filter_.push_back(placed(n, layer.out_channels));
  }

  // Null where the layer has none.
  Byte* at(int64_t filter, int64_t channel, int64_t tap) const {
    if (filter >= static_cast<int64_t>(of_filter_.size()) || channel >= channels_) return nullptr;
    const int64_t part = of_filter_[static_cast<size_t>(filter)].part;
    const Place& place = of_channel_[static_cast<size_t>(channel)];
    if (place.part == part) return spatial_ + (filter * own_ + place.rank) * taps_ + tap;
    if (tap != taps_ / 2) return nullptr;
    const int64_t own_before = shifted_ ? place.rank + (place.part > part) : place.part > part ? own_ : 0;
    return pointwise_ + filter * (channels_ - own_) + channel - own_before;
  }

 private:
  struct Place {
    int64_t part, rank;
  };

  Byte *spatial_, *pointwise_;
  int64_t channels_, own_, taps_;
  bool shifted_;
  std::vector<Place> of_channel_, of_filter_;
};

// Copies one weight to its place in packed memory, as a byte or as 16 bits; a place without a weight is padded with 0.
class Int8Packing {
 public:
  using Memory = char*;
  Int8Packing(const Shape& layer, const int8_t* spatial, const int8_t* pointwise)
      : natural_(layer, spatial, pointwise) {}
  void move(int64_t filter, int64_t channel, int64_t tap, char* place) const {
    const int8_t weight = at(filter, channel, tap);
    std::memcpy(place, &weight, sizeof weight);
  }
  void move_wide(int64_t filter, int64_t channel, int64_t tap, char* place) const {
    const int16_t weight = at(filter, channel, tap);
    std::memcpy(place, &weight, sizeof weight);
  }
  void pad(char* place) const { *place = 0; }

 private:
  int8_t at(int64_t filter, int64_t channel, int64_t tap) const {
    const int8_t* const weight = natural_.at(filter, channel, tap);
    return weight == nullptr ? int8_t{0} : *weight;
  }
  Int8Natural<const int8_t> natural_;
};

// Copies one weight back from its place in packed memory; a place without a weight is skipped.
class Int8Unpacking {
 public:
  using Memory = const char*;
  Int8Unpacking(const Shape& layer, int8_t* spatial, int8_t* pointwise) : natural_(layer, spatial, pointwise) {}
  void move(int64_t filter, int64_t channel, int64_t tap, const char* place) const {
    int8_t* const weight = natural_.at(filter, channel, tap);
    if (weight != nullptr) std::memcpy(weight, place, sizeof *weight);
  }
  void move_wide(int64_t filter, int64_t channel, int64_t tap, const char* place) const {
    int16_t wide;
    std::memcpy(&wide, place, sizeof wide);
    int8_t* const weight = natural_.at(filter, channel, tap);
    if (weight != nullptr) *weight = static_cast<int8_t>(wide);
  }
  void pad(const char*) const {}

 private:
  Int8Natural<int8_t> natural_;
};

}  // namespace hetconv
