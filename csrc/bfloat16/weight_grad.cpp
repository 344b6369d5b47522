// The weight gradient in bfloat16 on AMX: for each tap, channels × filters, summed over pixels. The pixels are those of
// a strip with its padding, where the output gradient is zero; so a tap is only another place to begin in the channels'
// planes. Threads share the filters, so that sums do not depend on their number.
#include <algorithm>

#include "../parallel.h"
#include "../scratch.h"
#include "amx.h"

namespace hetconv {
namespace {

constexpr int64_t kPixels = 32;    // that one instruction sums over
constexpr int64_t kTile = 16;      // channels or filters
constexpr int64_t kStripSize = 2;  // sums are read and written once a strip

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t unit) { return divide_up(a, unit) * unit; }

// Where sums are: tiles of 16 channels × 16 filters. Of the taps, channels and filters of one residue; of the centre,
// all channels, which the 1×1 kernels read.
class TileSums {
 public:
  explicit TileSums(const Shape& shape)
      : own_tiles(divide_up(shape.in_channels / shape.p, kTile)),
        all_tiles(shape.p == 1 ? 0 : divide_up(shape.in_channels, kTile)),
        filter_tiles(divide_up(round_up(shape.out_channels, kPixels) / shape.p, kTile)),
        taps(shape.kernel_height * shape.kernel_width),
        residues(shape.p) {}

  const int64_t own_tiles, all_tiles, filter_tiles, taps, residues;

  int64_t products() const {  // for 32 pixels
    return residues * filter_tiles * (own_tiles * (taps - (residues > 1)) + all_tiles);
  }

  int64_t spatial(int64_t residue, int64_t channels, int64_t tap, int64_t filters) const {
    return (((residue * own_tiles + channels) * taps + tap) * filter_tiles + filters) * kAmxSums;
  }
  int64_t centre(int64_t residue, int64_t channels, int64_t filters) const {
    return spatial(residues, 0, 0, 0) + ((residue * all_tiles + channels) * filter_tiles + filters) * kAmxSums;
  }
  int64_t elements() const { return centre(residues, 0, 0); }
};

Shape arranged(const Shape& shape) {
  return with_best_p(shape, [](const Shape& other) { return TileSums(other).products(); });
}

class WeightGrad {
 public:
  WeightGrad(const Shape& shape, const Input& grad_y, const Input& x, float* sums)
      : shape_(arranged(shape)),
        sums_(shape_),
        plan_(plan_of_pairs(shape)),
        strips_(plan_, 1, kStripSize),
        grad_y_(grad_y),
        x_(x),
        to_(sums) {
    taps_.resize(static_cast<size_t>(sums_.taps));
    for (const Tap& tap : plan_.phases[0].taps) taps_[static_cast<size_t>(tap.index)] = strips_.tap(tap);
    const int64_t farthest = *std::max_element(taps_.begin(), taps_.end());
    pixel_ = strips_.pixel() * 2;
    pixels_ = round_up(strips_.strip_pixels(), kPixels);
    read_ = round_up(pixels_ + farthest, kPixels);
    plane_ = (read_ / kPixels | 1) * kPixels;
    filters_ = round_up(shape.out_channels, kPixels);
    strip_elements_ = round_up(std::max(strips_.elements() * 2, (read_ + 1) * pixel_) + kPixels, kPixels);
  }

  // A unit is a tile of filters, or two, of one residue.
  int64_t units() const { return shape_.p * units_of_residue(); }
  void run(int64_t begin, int64_t end) const;

  int64_t cycles() const { return strips_.count() * (pixels_ / kPixels) * sums_.products() * 24; }

 private:
  const Shape shape_;  // with the P that is used
  const TileSums sums_;
  const Plan plan_;
  const Strips strips_;
  const Input &grad_y_, &x_;
  float* const to_;
  std::vector<int64_t> taps_;              // in pixels of the strip
  int64_t pixel_, pixels_, read_, plane_;  // elements of a pixel; pixels that are summed over, and read; of a plane
  int64_t filters_, strip_elements_;

  struct Memory {
    uint16_t *strip, *planes, *grad_y, *pairs;
  };
  int64_t units_of_residue() const { return divide_up(sums_.filter_tiles, 2); }
  int64_t planes() const { return round_up(shape_.in_channels, kTile) + kTile; }  // the last tile may begin late
  int64_t tile() const { return pixels_ * kTile; }
  void copy_grad_y(int64_t strip, uint16_t* to) const;
  void read_strip(int64_t strip, const Memory& memory) const;
  void add(int64_t unit, const Memory& memory, bool first) const;
};

// Where the strip's outputs are; zero elsewhere.
void WeightGrad::copy_grad_y(int64_t strip, uint16_t* to) const {
  const auto* const from = static_cast<const uint16_t*>(grad_y_.data);
  const std::vector<Pixel> pixels = strips_.pixels(strip, plan_.phases[0], grad_y_.strides);
  const int64_t count = static_cast<int64_t>(pixels.size());
  const auto place = [&](int64_t i) { return pixels[static_cast<size_t>(i)].input / strips_.pixel(); };
  const auto output = [&](int64_t i) { return pixels[static_cast<size_t>(i)].output; };
  int64_t filled = 0;
  for (int64_t i = 0, run = 1; i < count; i += run, run = 1) {
    const auto goes_on = [&](int64_t next) {
      return place(next) == place(next - 1) + 1 && output(next) == output(next - 1) + filters_;
    };
    while (i + run < count && shape_.out_channels == filters_ && goes_on(i + run)) ++run;
    std::fill(to + filled * filters_, to + place(i) * filters_, uint16_t{0});
    const int64_t length = run == 1 ? shape_.out_channels : run * filters_;
    std::copy(from + output(i), from + output(i) + length, to + place(i) * filters_);
    filled = place(i) + run;
    std::fill(to + (place(i) * filters_ + length), to + filled * filters_, uint16_t{0});
  }
  std::fill(to + filled * filters_, to + pixels_ * filters_, uint16_t{0});
}

void WeightGrad::read_strip(int64_t strip, const Memory& memory) const {
  const Bfloat16Kernels& kernels = *bfloat16_kernels();
  strips_.copy(pairs_of(x_), strip, reinterpret_cast<float*>(memory.strip));
  kernels.planes({memory.strip, pixel_, read_, shape_.in_channels, shape_.p}, memory.planes, plane_);
  copy_grad_y(strip, memory.grad_y);
  kernels.pairs({memory.grad_y, filters_, pixels_, filters_, shape_.p}, memory.pairs, tile(),
                sums_.filter_tiles * tile());
}

void WeightGrad::add(int64_t unit, const Memory& memory, bool first) const {
  const Bfloat16Kernels& kernels = *bfloat16_kernels();
  const int64_t residue = unit / units_of_residue(), filters = unit % units_of_residue() * 2;
  const int two = filters + 1 < sums_.filter_tiles ? 2 : 1;
  const int64_t own = shape_.in_channels / shape_.p, centre = sums_.taps / 2;
  Bfloat16Outer outer{};
  outer.plane = plane_;
  outer.pixels = pixels_;
  outer.first = first;
  for (int f = 0; f < two; ++f) {
    outer.grad_y[f] = memory.pairs + (residue * sums_.filter_tiles + filters + f) * tile();
  }
  int rows = 0;
  const auto finish = [&] {
    if (rows > 0) kernels.outer(outer, rows, two);
    rows = 0;
  };
  const auto add_row = [&](int64_t channel, int64_t tap, int64_t sums) {
    outer.x[rows] = memory.planes + channel * plane_ + taps_[static_cast<size_t>(tap)];
    for (int f = 0; f < two; ++f) outer.sums[rows][f] = to_ + sums + f * kAmxSums;
    if (++rows == 2) finish();
  };
  for (int64_t channels = 0; channels < sums_.own_tiles; ++channels) {
    for (int64_t tap = 0; tap < sums_.taps; ++tap) {
      if (shape_.p > 1 && tap == centre) continue;
      add_row(residue * own + channels * kTile, tap, sums_.spatial(residue, channels, tap, filters));
    }
  }
  for (int64_t channels = 0; channels < sums_.all_tiles; ++channels) {
    add_row(channels * kTile, centre, sums_.centre(residue, channels, filters));
  }
  finish();
}

void WeightGrad::run(int64_t begin, int64_t end) const {
  static thread_local Scratch scratch;
  const int64_t planes = this->planes() * plane_, grad_y = (pixels_ + 1) * filters_;
  const int64_t pairs = shape_.p * sums_.filter_tiles * tile();
  const int64_t elements = strip_elements_ + planes + round_up(grad_y, kPixels) + pairs;
  Memory memory{};
  memory.strip = reinterpret_cast<uint16_t*>(scratch.get(elements / 2 + 1));
  memory.planes = memory.strip + strip_elements_;
  memory.grad_y = memory.planes + planes;
  memory.pairs = memory.grad_y + round_up(grad_y, kPixels);
  std::fill(memory.strip, memory.strip + elements, uint16_t{0});  // what is left of other calls may be no numbers
  bfloat16_kernels()->begin_outer();
  for (int64_t strip = 0; strip < strips_.count(); ++strip) {
    read_strip(strip, memory);
    for (int64_t unit = begin; unit < end; ++unit) add(unit, memory, strip == 0);
  }
  bfloat16_kernels()->end_outer();
}

// From tiles to weights as the layer has them: some filters'.
class Gradients {
 public:
  Gradients(const Shape& shape, const float* sums) : shape_(shape), used_(arranged(shape)), at_(used_), sums_(sums) {}

  void store(int64_t filter, float* spatial, float* pointwise) const {
    const int64_t own = shape_.in_channels / shape_.p, own_filters = shape_.out_channels / shape_.p;
    for (int64_t channel = 0; channel < shape_.in_channels; ++channel) {
      const bool is_own =
          shape_.shifted ? channel % shape_.p == filter % shape_.p : channel / own == filter / own_filters;
      if (!is_own) {
        *pointwise++ = sum(filter, channel, at_.taps / 2);
        continue;
      }
      for (int64_t tap = 0; tap < at_.taps; ++tap) *spatial++ = sum(filter, channel, tap);
    }
  }

 private:
  const Shape& shape_;
  const Shape used_;
  const TileSums at_;
  const float* const sums_;

  float sum(int64_t filter, int64_t channel, int64_t tap) const {
    const int64_t p = used_.p, residue = filter % p, place = filter / p, filters = place / kTile;
    if (p > 1 && tap == at_.taps / 2) {
      const int64_t sorted = channel % p * (used_.in_channels / p) + channel / p;
      return tile(at_.centre(residue, sorted / kTile, filters), sorted, place);
    }
    return tile(at_.spatial(residue, channel / p / kTile, tap, filters), channel / p, place);
  }
  float tile(int64_t first, int64_t channel, int64_t filter) const {
    return sums_[first + channel % kTile * kTile + filter % kTile];
  }
};

}  // namespace

bool uses_amx_for_weights(const Shape& shape) {
  const int64_t outputs = shape.batch * shape.out_height * shape.out_width;
  if (!amx_serves(shape, Direction::forward) || outputs == 0) return false;
  const Input nothing{};
  const int64_t own = shape.in_channels / shape.p, taps = shape.kernel_height * shape.kernel_width;
  const int64_t products = divide_up(shape.out_channels, 16) * (shape.in_channels + (taps - 1) * own);
  return WeightGrad(shape, nothing, nothing, nullptr).cycles() < outputs * products / 2;  // half a cycle for each
}

int64_t amx_weight_sums(const Shape& shape) { return TileSums(arranged(shape)).elements(); }

void amx_weight_grad(const Shape& shape, const Input& grad_y, const Input& x, float* sums, float* grad_spatial,
                     float* grad_pointwise, const Threads& threads) {
  const WeightGrad grad(shape, grad_y, x, sums);
  parallel(threads, grad.units(), [&](int64_t begin, int64_t end) { grad.run(begin, end); });
  const int64_t own = shape.in_channels / shape.p, taps = shape.kernel_height * shape.kernel_width;
  const Gradients gradients(shape, sums);
  parallel(threads, shape.out_channels, [&](int64_t begin, int64_t end) {
    for (int64_t filter = begin; filter < end; ++filter) {
      gradients.store(filter, grad_spatial + filter * own * taps, grad_pointwise + filter * (shape.in_channels - own));
    }
  });
}

}  // namespace hetconv
