#include "amx.h"

#include <algorithm>
#include <utility>

#include "../bfloat16.h"
#include "../kept.h"
#include "../parallel.h"
#include "../scratch.h"

namespace hetconv {
namespace {

constexpr int64_t kChannels = kAmxBytes / 2;  // that one instruction sums
constexpr int64_t kMostTiles = 32;            // of a group

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t whole_lines(int64_t bytes) { return divide_up(bytes, 64) * 64; }

// The input gradient is a convolution too: channels and filters exchanged, the kernel turned around.
Shape transposed(Shape shape) {
  std::swap(shape.in_channels, shape.out_channels);
  std::swap(shape.in_height, shape.out_height);
  std::swap(shape.in_width, shape.out_width);
  shape.padding_height = shape.dilation_height * (shape.kernel_height - 1) - shape.padding_height;
  shape.padding_width = shape.dilation_width * (shape.kernel_width - 1) - shape.padding_width;
  return shape;
}

Bfloat16Plan plan_of(const Shape& shape, Direction direction) {
  const Shape convolution = direction == Direction::forward ? shape : transposed(shape);
  return Bfloat16Plan(with_best_p(convolution, [](const Shape& other) { return Bfloat16Plan(other).cycles(); }));
}

// Cuts channels into as few chunks as there must be, all of one size.
void cut(int64_t row, int64_t column, int64_t channels, int64_t size, std::vector<Bfloat16Chunk>& chunks) {
  for (int64_t channel = 0; channel < channels; channel += size) {
    const int64_t skipped = std::max<int64_t>(0, channel + size - channels);
    chunks.push_back({row, column, channel - skipped, skipped});
  }
}

// The weights of a layer as a convolution's, in either direction: the dense kernel, that is, with zeros where the layer
// has none.
class Natural {
 public:
  Natural(const Shape& shape, Direction direction, const Weights& weights)
      : weights_(weights),
        p_(shape.p),
        own_(shape.in_channels / shape.p),
        own_filters_(shape.out_channels / shape.p),
        rest_(shape.in_channels - own_),
        taps_(shape.kernel_height * shape.kernel_width),
        shifted_(shape.shifted),
        is_forward_(direction == Direction::forward) {}

  float at(int64_t filter, int64_t channel, int64_t tap) const {
    if (!is_forward_) {
      std::swap(filter, channel);
      tap = taps_ - 1 - tap;
    }
    const int64_t part = shifted_ ? filter % p_ : filter / own_filters_;
    const int64_t place = shifted_ ? channel / p_ : channel - part * own_;  // among the filter's own channels
    const bool is_own = shifted_ ? channel % p_ == part : place >= 0 && place < own_;
    if (is_own) return weights_.spatial[(filter * own_ + place) * taps_ + tap];
    if (tap != taps_ / 2) return 0;
    const int64_t own_before = shifted_ ? place + (channel % p_ > part) : place < 0 ? 0 : own_;
    return weights_.pointwise[filter * rest_ + channel - own_before];
  }

 private:
  const Weights& weights_;
  int64_t p_, own_, own_filters_, rest_, taps_;
  bool shifted_, is_forward_;
};

int64_t filter_of(const Bfloat16Plan& plan, int64_t group, int64_t tile, int64_t lane) {
  const int64_t p = plan.shape.p;
  return ((group * plan.tiles + tile) / p * kAmxFilters + lane) * p + tile % p;
}

class Packer {
 public:
  Packer(const Bfloat16Plan& plan, const Natural& natural) : plan_(plan), natural_(natural) {}

  void pack_group(int64_t group, uint16_t* to) const {
    const Shape& shape = plan_.shape;
    const int64_t centre = shape.kernel_height * shape.kernel_width / 2;
    for (int64_t tile = 0; tile < plan_.tiles; ++tile) {
      const int64_t first = filter_of(plan_, group, tile, 0);
      const int64_t filters = std::clamp<int64_t>(divide_up(shape.out_channels - first, shape.p), 0, kAmxFilters);
      for (const Bfloat16Chunk& chunk : plan_.spatial) {
        write(chunk, plan_.spatial_channels, first, filters, to,
              [&](int64_t channel, int64_t filter) { return spatial(chunk, channel, filter); });
        to += kAmxTile / 2;
      }
      for (const Bfloat16Chunk& chunk : plan_.pointwise) {
        write(chunk, plan_.pointwise_channels, first, filters, to,
              [&](int64_t channel, int64_t filter) { return natural_.at(filter, channel, centre); });
        to += kAmxTile / 2;
      }
    }
  }

 private:
  const Bfloat16Plan& plan_;
  const Natural& natural_;

  template <class WeightAt>
  void write(const Bfloat16Chunk& chunk, int64_t channels, int64_t first, int64_t filters, uint16_t* to,
             const WeightAt& weight_at) const {
    std::fill(to, to + kAmxTile / 2, uint16_t{0});
    for (int64_t i = chunk.skipped; i < channels; ++i) {
      uint16_t* const at = to + i / 2 * 2 * kAmxFilters + i % 2;
      for (int64_t lane = 0; lane < filters; ++lane) {
        at[2 * lane] = narrow(weight_at(chunk.channel + i, first + lane * plan_.shape.p));
      }
    }
  }

  float spatial(const Bfloat16Chunk& chunk, int64_t channel, int64_t filter) const {
    const Shape& shape = plan_.shape;
    const int64_t column = chunk.column + channel / plan_.residue, within = channel % plan_.residue;
    const int64_t tap = chunk.row * shape.kernel_width + column;
    if (within >= plan_.own) return 0;
    if (shape.p > 1 && tap == shape.kernel_height * shape.kernel_width / 2) return 0;  // the pointwise part has it
    return natural_.at(filter, within * shape.p + filter % shape.p, tap);
  }
};

}  // namespace

Plan plan_of_pairs(Shape shape) {
  shape.in_channels /= 2;
  shape.p = 1;
  shape.algorithm = Algorithm::direct;
  return plan_forward(shape);
}

Input pairs_of(const Input& x) {
  return {x.data, {x.strides.batch / 2, x.strides.row / 2, x.strides.column / 2}, Type::float32};
}

Bfloat16Plan::Bfloat16Plan(const Shape& shape)
    : shape(shape), own(shape.in_channels / shape.p), residue(divide_up(own, 2) * 2), tiles(shape.p) {
  // what is next to one another: all taps of a row, but with P = 1 those of one, since pixels have gaps between them
  const int64_t width = shape.p == 1 ? 1 : shape.kernel_width, rows = shape.kernel_height;
  const int64_t in_row = width * residue, centre = width / 2;
  // the middle row has two parts, left and right of the centre, where these are fewer chunks
  const auto chunks_of = [](int64_t channels) { return divide_up(channels, kChannels); };
  const bool apart = shape.p > 1 && centre * residue >= std::min(in_row, kChannels) &&
                     2 * chunks_of(centre * residue) < chunks_of(in_row);
  spatial_channels = std::min(kChannels, in_row);
  for (int64_t row = 0; row < rows; ++row) {
    if (apart && row == rows / 2) {
      cut(row, 0, centre * residue, spatial_channels, spatial);
      cut(row, centre + 1, centre * residue, spatial_channels, spatial);
      continue;
    }
    for (int64_t column = 0; column < shape.kernel_width; column += width) {
      cut(row, column, in_row, spatial_channels, spatial);
    }
  }
  pointwise_channels = std::min(kChannels, shape.in_channels);
  if (spatial.empty()) spatial_channels = pointwise_channels;
  const bool square = shape.p == 1 || spatial_channels == pointwise_channels;
  if (square && shape.out_channels % (2 * kAmxFilters * shape.p) == 0) tiles *= 2;
  groups = divide_up(shape.out_channels, tiles * kAmxFilters);
  if (shape.p > 1) cut(rows / 2, centre, shape.in_channels, pointwise_channels, pointwise);
}

namespace {

// What a layer's convolution needs to know of its shape.
class Convolution {
 public:
  Convolution(const Bfloat16Plan& plan, int threads) : Convolution(plan, plan.shape, threads) {}
  Convolution(const Bfloat16Plan& plan, const Shape& shape, int threads)
      : plan_(plan),
        strip_(plan_of_pairs(shape)),
        strips_(strip_, threads),
        tables_(strips_, strip_.phases[0],
                {shape.out_height * shape.out_width * shape.out_channels, shape.out_width * shape.out_channels,
                 shape.out_channels},
                /*least_cycles=*/16),
        pixel_(strips_.pixel() * 4),
        residue_(shape.p == 1 ? pixel_ : plan_.residue * 2) {
    // tiles read past the last pixel: rows that are no outputs
    const int64_t past = (kAmxRows * strips_.column_step() + 1) * std::max(pixel_, residue_) + kAmxBytes;
    strip_bytes_ = whole_lines(strips_.elements() * 4 + past);
    image_ = shape.p == 1 ? 0 : whole_lines(strips_.strip_pixels() * residue_ + past);
    std::vector<int64_t> taps(static_cast<size_t>(shape.kernel_height * shape.kernel_width));
    for (const Tap& tap : strip_.phases[0].taps) taps[static_cast<size_t>(tap.index)] = strips_.tap(tap);
    const auto add = [&](const Bfloat16Chunk& chunk, int64_t pixel) {
      const int64_t tap = taps[static_cast<size_t>(chunk.row * shape.kernel_width + chunk.column)];
      at_.push_back(static_cast<int32_t>(tap * pixel + chunk.channel * 2));
    };
    for (const Bfloat16Chunk& chunk : plan_.spatial) add(chunk, residue_);
    for (const Bfloat16Chunk& chunk : plan_.pointwise) add(chunk, pixel_);
  }
  Convolution(const Convolution&) = delete;
  Convolution& operator=(const Convolution&) = delete;

  void run(const Input& x, const float* packed, const float* bias, const Output& y, const Threads& threads) const;

 private:
  const Bfloat16Plan plan_;
  const Plan strip_;
  const Strips strips_;
  const AmxTables tables_;
  const int64_t pixel_, residue_;  // bytes from a pixel to the next, in the strip and in a residue's image
  int64_t strip_bytes_, image_;
  std::vector<int32_t> at_;

  Bfloat16Work work(const uint8_t* strip) const;
};

// All that does not depend on the strip or the group of filters.
Bfloat16Work Convolution::work(const uint8_t* strip) const {
  Bfloat16Work work{};
  const bool is_sorted = plan_.shape.p > 1;
  work.spatial = is_sorted ? strip + strip_bytes_ : strip;
  work.spatial_pixel = residue_;
  work.residue = image_;
  work.pointwise = strip;
  work.pointwise_pixel = pixel_;
  work.at = at_.data();
  work.spatial_chunks = static_cast<int32_t>(plan_.spatial.size());
  work.pointwise_chunks = static_cast<int32_t>(plan_.pointwise.size());
  work.spatial_bytes = plan_.spatial_channels * 2;
  work.pointwise_bytes = plan_.pointwise_channels * 2;
  work.step = strips_.column_step();
  work.p = plan_.shape.p;
  work.tiles = plan_.tiles;
  work.filters = plan_.shape.out_channels;
  return work;
}

void Convolution::run(const Input& x, const float* packed, const float* bias, const Output& y,
                      const Threads& threads) const {
  const Bfloat16Kernels& kernels = *bfloat16_kernels();
  const Shape& shape = plan_.shape;
  const int64_t groups = plan_.groups;
  parallel(threads, strips_.count() * groups, [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    const int64_t sums = plan_.tiles * kAmxPixelTiles * kAmxSums;
    float* const memory = scratch.get((strip_bytes_ + shape.p * image_) / 4 + sums);
    uint8_t* const strip_data = reinterpret_cast<uint8_t*>(memory);
    Bfloat16Work work = this->work(strip_data);
    work.sums = strip_data + strip_bytes_ + shape.p * image_;
    alignas(64) float start[kMostTiles * kAmxFilters] = {};
    work.bias = start;
    for (int64_t strip = begin / groups; strip * groups < end; ++strip) {
      strips_.copy(pairs_of(x), strip, memory);
      if (shape.p > 1) {
        const Bfloat16Strip from{reinterpret_cast<const uint16_t*>(strip_data), pixel_ / 2, strips_.strip_pixels(),
                                 shape.in_channels, shape.p};
        kernels.sort(from, reinterpret_cast<uint16_t*>(strip_data + strip_bytes_), residue_ / 2, image_ / 2);
      }
      tables_.table(strip).put_into(work);
      work.output = static_cast<uint16_t*>(y.data) + tables_.shift(strip);
      const int64_t last = std::min(end - strip * groups, groups);
      for (int64_t group = std::max(begin - strip * groups, int64_t{0}); group < last; ++group) {
        work.weights = reinterpret_cast<const char*>(packed) + group * plan_.group_elements() * 2;
        work.filter = group * plan_.tiles * kAmxFilters;
        for (int64_t i = 0; bias != nullptr && i < plan_.tiles * kAmxFilters; ++i) {
          const int64_t filter = filter_of(plan_, group, i / kAmxFilters, i % kAmxFilters);
          start[i] = filter < shape.out_channels ? bias[filter] : 0;
        }
        kernels.convolve(work);
      }
    }
  });
}

}  // namespace

bool amx_serves(const Shape& shape, Direction direction) {
  if (bfloat16_kernels() == nullptr || shape.in_channels % 2 != 0 || shape.out_channels % 2 != 0) return false;
  if (direction == Direction::forward) return true;
  const Shape turned = transposed(shape);
  const bool strides = shape.stride_height == 1 && shape.stride_width == 1;
  return strides && turned.padding_height >= 0 && turned.padding_width >= 0;
}

bool uses_amx(const Shape& shape, Direction direction) {
  if (!amx_serves(shape, direction)) return false;
  const Bfloat16Plan plan = plan_of(shape, direction);
  const int64_t own = plan.shape.in_channels / shape.p, taps = shape.kernel_height * shape.kernel_width;
  // half a cycle for a product of vectors, for 16 pixels
  return plan.cycles() < divide_up(plan.shape.out_channels, 16) * (plan.shape.in_channels + (taps - 1) * own) * 8;
}

int64_t amx_packed_size(const Shape& shape, Direction direction) {
  const Bfloat16Plan plan = plan_of(shape, direction);
  return plan.groups * plan.group_elements() / 2;
}

void amx_pack(const Shape& shape, Direction direction, const Weights& weights, float* packed, const Threads& threads) {
  const Bfloat16Plan plan = plan_of(shape, direction);
  const Natural natural(shape, direction, weights);
  const Packer packer(plan, natural);
  parallel(threads, plan.groups, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      packer.pack_group(group, reinterpret_cast<uint16_t*>(packed) + group * plan.group_elements());
    }
  });
}

void amx_convolve(const Shape& shape, Direction direction, const Input& x, const float* packed, const float* bias,
                  const Output& y, const Threads& threads) {
  struct Key {
    Shape shape;
    Direction direction;
    int threads;
    bool operator==(const Key&) const = default;
  };
  static thread_local Kept<Key, Convolution> kept;
  const Key key{shape, direction, threads.count};
  const Convolution& convolution =
      kept.get(key, [&] { return std::make_unique<const Convolution>(plan_of(shape, direction), threads.count); });
  convolution.run(x, packed, bias, y, threads);
}

}  // namespace hetconv
