#include "convolution.h"

#include <algorithm>
#include <bit>

#include "../parallel.h"
#include "../scratch.h"
#include "kernels.h"
#include "plan.h"

namespace hetconv {
namespace {

Strides packed_strides(int64_t height, int64_t width, int64_t pixel) {
  return {height * width * pixel, width * pixel, pixel};
}

}  // namespace

void copy_quads(const Strips& strips, const Int8Input& x, const Strides& strides, int64_t strip, float* to) {
  if (x.factor == 0) return strips.copy({x.data, strides}, strip, to, std::bit_cast<float>(0x01010101u * x.zero));
  strips.copy({x.data, strides}, strip, to);
  int8_kernels().quantize_to_quads(to, strips.elements(), x.factor, x.zero);
}

Int8Convolution::Int8Convolution(const Shape& shape, bool from_float, int threads)
    : amx_(uses_amx(shape) ? std::make_unique<const AmxConvolution>(shape, from_float, threads) : nullptr),
      plan_(plan_int8(shape)),
      strips_(plan_, threads),
      sums_(strips_.sums(plan_.phases[0])),
      in_(packed_strides(shape.in_height, shape.in_width,
                         from_float ? shape.in_channels : whole_blocks(shape.in_channels) / 4)) {
  if (amx_ != nullptr) return;  // what follows is for vectors only
  const Strides out = packed_strides(shape.out_height, shape.out_width, plan_.filters);
  for (int64_t strip = 0; strip < strips_.count(); ++strip) {
    std::vector<Pixel> pixels = strips_.pixels(strip, plan_.phases[0], out);
    const int64_t shift = pixels.empty() ? 0 : pixels[0].output;
    for (Pixel& pixel : pixels) pixel.output -= shift;
    const auto same = [&](const std::vector<Pixel>& table) {
      return std::equal(table.begin(), table.end(), pixels.begin(), pixels.end(),
                        [](const Pixel& a, const Pixel& b) { return a.input == b.input && a.output == b.output; });
    };
    const auto found = std::find_if(tables_.begin(), tables_.end(), same);
    places_.push_back({static_cast<size_t>(found - tables_.begin()), shift});
    if (found == tables_.end()) tables_.push_back(std::move(pixels));
  }
}

void Int8Convolution::run(const Int8Input& x, const void* packed, const Int8Epilogue& epilogue, void* y,
                          Int8Output type, const Threads& threads) const {
  if (amx_ != nullptr) return amx_->run(x, packed, epilogue, y, type, threads);
  const Int8Kernels& kernels = int8_kernels();
  const int64_t units = static_cast<int64_t>(plan_.blocks.size()), chunk = kInt8Vectors * kernels.lanes * kernels.words;
  const int64_t block_weights = plan_.packed_size / std::max<int64_t>(units, 1);
  const Tiles tiles{type == Int8Output::uint8 ? kernels.to_uint8 : kernels.to_float32, kernels.max_pixels, chunk};
  parallel(threads, strips_.count() * units, [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    float* const data = scratch.get(strips_.elements());
    for (int64_t strip = begin / units; strip * units < end; ++strip) {
      copy_quads(strips_, x, in_, strip, data);
      const Place& place = places_[static_cast<size_t>(strip)];
      const std::vector<Pixel>& pixels = tables_[place.table];
      Int8Epilogue shifted = epilogue;
      if (shifted.residual != nullptr) shifted.residual += place.shift;
      Tile tile{};
      tile.strip = data;
      tile.partial_sums = sums_.partial().data();
      tile.partial_sum_count = 1;
      tile.read = plan_.read;
      tile.shared = true;
      tile.p = plan_.p;
      tile.int8 = &shifted;
      tile.output = type == Int8Output::uint8 ? static_cast<void*>(static_cast<uint8_t*>(y) + place.shift)
                                              : static_cast<float*>(y) + place.shift;
      const int64_t last = std::min(end - strip * units, units);
      for (int64_t unit = std::max(begin - strip * units, int64_t{0}); unit < last; ++unit) {
        tile.vectors = &plan_.vectors[static_cast<size_t>(unit * kInt8Vectors)];
        tile.start[0] = strips_.place(tile.vectors[0].channel);
        tile.weights = static_cast<const float*>(packed) + unit * block_weights;
        const float* const then = unit + 1 < units ? tile.weights + block_weights : nullptr;
        run_tiles(tiles, tile, pixels.data(), static_cast<int64_t>(pixels.size()), then);
      }
    }
  });
}

}  // namespace hetconv
