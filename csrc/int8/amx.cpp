#include "amx.h"

#include <algorithm>

#include "../parallel.h"
#include "../scratch.h"
#include "kernels.h"
#include "plan.h"

namespace hetconv {
namespace {

constexpr int64_t kQuads = kBlock / 4;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t whole_lines(int64_t bytes) { return divide_up(bytes, 64) * 64; }

// The strips' layer: its channels are quads, whose order does not matter to strips.
Plan strip_plan(const AmxPlan& plan) {
  Shape quads = shape_of_quads(plan.shape);
  quads.in_channels = plan.quads;
  quads.p = 1;
  return plan_forward(quads);
}

// Whole blocks, but of a few channels that have one residue only the quads that hold them.
int64_t strip_quads(const Shape& shape) {
  const int64_t few = shape_of_quads(shape).in_channels;
  return shape.p == 1 && few < kQuads ? few : whole_blocks(shape.in_channels) / 4;
}

// The channel at a byte of a residue's channels, which are in the order of the pixel's blocks.
int64_t channel_at(int64_t byte, int64_t residue, int64_t p) {
  const int64_t quad = byte / 4, of_block = kQuads / p;
  return quad / of_block * kBlock + byte % 4 * kQuads + quad % of_block * p + residue;
}

// Walks over the packed weights, in the order in which tiles are read.
template <class Mover>
class Walk {
 public:
  using Memory = typename Mover::Memory;
  Walk(const AmxPlan& plan, const Mover& mover) : plan_(plan), shape_(plan.shape), mover_(mover) {}

  // The filters of a tile have one residue; they are P apart.
  void over(Memory at) const {
    const int64_t p = shape_.p;
    for (int64_t group = 0; group < plan_.groups; ++group) {
      for (int64_t tile = 0; tile < plan_.group_tiles; ++tile) {
        const int64_t residue = tile % p;
        const int64_t first = group * plan_.group_blocks * kBlock + tile / p * kAmxFilters * p + residue;
        for (const AmxChunk& chunk : plan_.spatial) {
          each(first, at, [&](int64_t byte, int64_t filter, Memory to) { spatial(chunk, byte, residue, filter, to); });
          at += kAmxTile;
        }
        for (const int64_t chunk : plan_.pointwise) {
          each(first, at, [&](int64_t byte, int64_t filter, Memory to) { pointwise(chunk + byte, filter, to); });
          at += kAmxTile;
        }
      }
    }
  }

 private:
  const AmxPlan& plan_;
  const Shape& shape_;
  const Mover& mover_;

  template <class Visit>
  void each(int64_t first, Memory at, const Visit& visit) const {
    for (int64_t byte = 0; byte < kAmxBytes; ++byte) {
      for (int64_t lane = 0; lane < kAmxFilters; ++lane) {
        visit(byte, first + lane * shape_.p, at + byte / 4 * 64 + lane * 4 + byte % 4);
      }
    }
  }

  void spatial(const AmxChunk& chunk, int64_t byte, int64_t residue, int64_t filter, Memory to) const {
    const int64_t at = chunk.byte + byte, column = chunk.column + at / plan_.residue, within = at % plan_.residue;
    const int64_t tap = chunk.row * shape_.kernel_width + column;
    const bool outside = byte >= plan_.chunk_bytes || column >= shape_.kernel_width || within >= plan_.channels;
    const bool centre = shape_.p > 1 && tap == shape_.kernel_height * shape_.kernel_width / 2;
    if (outside || centre) return mover_.pad(to);  // the pointwise part has the centre
    mover_.move(filter, channel_at(within, residue, shape_.p), tap, to);
  }

  void pointwise(int64_t byte, int64_t filter, Memory to) const {
    const int64_t centre = shape_.kernel_height * shape_.kernel_width / 2;
    if (plan_.apart) return mover_.move(filter, channel_at(byte, 0, 1), centre, to);
    const int64_t residue = byte / plan_.residue, within = byte % plan_.residue;
    if (within >= plan_.channels) return mover_.pad(to);
    mover_.move(filter, channel_at(within, residue, shape_.p), centre, to);
  }
};

}  // namespace

AmxPlan::AmxPlan(const Shape& shape)
    : shape(shape),
      quads(strip_quads(shape)),
      channels(quads * 4 / shape.p),
      residue(channels < kAmxBytes ? channels : divide_up(channels, kAmxBytes) * kAmxBytes),
      apart(channels < kAmxBytes),
      group_blocks(std::max<int64_t>(1, shape.p / 4)),
      group_tiles(4 * group_blocks),
      groups(divide_up(whole_blocks(shape.out_channels) / kBlock, group_blocks)) {
  const int64_t height = shape.kernel_height, width = shape.kernel_width, centre = height * width / 2;
  const int64_t bytes = apart ? width * residue : residue;
  chunk_bytes = divide_up(bytes / 4, divide_up(bytes, kAmxBytes)) * 4;  // rows of pixels cross fewer cache lines
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; column += apart ? width : 1) {
      if (shape.p > 1 && (apart ? height * width == 1 : row * width + column == centre)) continue;
      for (int64_t byte = 0; byte < bytes; byte += chunk_bytes) spatial.push_back({row, column, byte});
    }
  }
  const int64_t all = apart ? whole_blocks(shape.in_channels) : shape.p * residue;
  for (int64_t byte = 0; shape.p > 1 && byte < all; byte += kAmxBytes) pointwise.push_back(byte);
}

bool uses_amx(const Shape& shape) {
  if (int8_kernels().amx == nullptr) return false;
  const AmxPlan plan(shape);
  const Shape quads = shape_of_quads(shape);
  const int64_t taps = shape.kernel_height * shape.kernel_width;
  const int64_t vectors =
      quads.in_channels * (shape.p == 1 ? taps : 1) + (shape.p == 1 ? 0 : (taps - 1) * quads.in_channels / shape.p);
  // Cycles for 16 pixels: 16 for an instruction, but more where rows of pixels cross cache lines, which those of less
  // than 16 bytes do most; half of one for a vector's.
  const int64_t spatial_chunks = static_cast<int64_t>(plan.spatial.size());
  const int64_t crossing = !plan.apart || shape.p == 1 ? 0 : plan.residue < 16 ? 48 : 8;
  const int64_t tiles = plan.chunks() * 16 + spatial_chunks * crossing;
  return plan.groups * plan.group_tiles * tiles < quads.out_channels / 16 * vectors * 8;
}

int64_t amx_packed_size(const Shape& shape) {
  const AmxPlan plan(shape);
  return plan.groups * plan.group_bytes();
}

template <class Mover>
void amx_walk(const Shape& shape, const Mover& mover, typename Mover::Memory packed) {
  const AmxPlan plan(shape);
  Walk<Mover>(plan, mover).over(packed);
}
template void amx_walk(const Shape&, const Int8Packing&, char*);
template void amx_walk(const Shape&, const Int8Unpacking&, const char*);

AmxConvolution::AmxConvolution(const Shape& shape, bool from_float, int threads)
    : amx_(shape),
      plan_(strip_plan(amx_)),
      strips_(plan_, threads),
      tables_(strips_, plan_.phases[0],
              {shape.out_height * shape.out_width * plan_.filters, shape.out_width * plan_.filters, plan_.filters},
              /*least_cycles=*/8),
      memory_(memory()) {
  const int64_t in_pixel = from_float ? shape.in_channels : whole_blocks(shape.in_channels) / 4;
  in_ = {shape.in_height * shape.in_width * in_pixel, shape.in_width * in_pixel, in_pixel};
  find_places();
}

AmxConvolution::Memory AmxConvolution::memory() const {
  Memory memory{};
  memory.strip_pixel = strips_.pixel() * 4;
  memory.dealt_pixel = amx_.apart ? amx_.residue : amx_.pixel();
  const int64_t image = whole_lines(strips_.strip_pixels() * memory.dealt_pixel + kAmxBytes);
  memory.residue = amx_.apart ? image : amx_.residue;
  // tiles read past the last pixel: rows that are no outputs, and bytes whose weights are zero
  const int64_t past =
      (kAmxRows * strips_.column_step() + 1) * std::max(memory.strip_pixel, memory.dealt_pixel) + kAmxBytes;
  memory.strip = whole_lines(strips_.elements() * 4 + past);
  memory.dealt = amx_.shape.p == 1 ? 0 : whole_lines((amx_.apart ? amx_.shape.p * image : image) + past);
  memory.sums = kAmxPixelTiles * amx_.group_tiles * kAmxSums * 4;
  return memory;
}

// Of each chunk, from a pixel.
void AmxConvolution::find_places() {
  const Shape& shape = amx_.shape;
  std::vector<int64_t> taps(static_cast<size_t>(shape.kernel_height * shape.kernel_width));
  for (const Tap& tap : plan_.phases[0].taps) taps[static_cast<size_t>(tap.index)] = strips_.tap(tap);
  const int64_t spatial_pixel = shape.p == 1 ? memory_.strip_pixel : memory_.dealt_pixel;
  for (const AmxChunk& chunk : amx_.spatial) {
    const int64_t tap = taps[static_cast<size_t>(chunk.row * shape.kernel_width + chunk.column)];
    at_.push_back(static_cast<int32_t>(tap * spatial_pixel + chunk.byte));
  }
  const int64_t pointwise_pixel = amx_.apart ? memory_.strip_pixel : memory_.dealt_pixel;
  for (const int64_t byte : amx_.pointwise) {
    at_.push_back(static_cast<int32_t>(taps[taps.size() / 2] * pointwise_pixel + byte));
  }
}

// All that does not depend on the group of filters.
Int8AmxWork AmxConvolution::work(uint8_t* strip, const AmxTable& table) const {
  uint8_t* const dealt = strip + memory_.strip;
  const bool is_dealt = amx_.shape.p > 1;
  Int8AmxWork work{};
  work.spatial = is_dealt ? dealt : strip;
  work.spatial_pixel = is_dealt ? memory_.dealt_pixel : memory_.strip_pixel;
  work.residue = is_dealt ? memory_.residue : 0;
  work.pointwise = amx_.apart ? strip : dealt;
  work.pointwise_pixel = amx_.apart ? memory_.strip_pixel : memory_.dealt_pixel;
  work.at = at_.data();
  work.spatial_chunks = static_cast<int32_t>(amx_.spatial.size());
  work.pointwise_chunks = static_cast<int32_t>(amx_.pointwise.size());
  work.spatial_bytes = amx_.chunk_bytes;
  work.pointwise_bytes = kAmxBytes;
  table.put_into(work);
  work.step = strips_.column_step();
  work.p = amx_.shape.p;
  work.sums = dealt + memory_.dealt;
  return work;
}

void AmxConvolution::run(const Int8Input& x, const void* packed, const Int8Epilogue& epilogue, void* y, Int8Output type,
                         const Threads& threads) const {
  const Int8Kernels& kernels = int8_kernels();
  const int64_t blocks = plan_.filters / kBlock, groups = amx_.groups;
  parallel(threads, strips_.count() * groups, [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    float* const memory = scratch.get((memory_.strip + memory_.dealt + memory_.sums) / 4);
    uint8_t* const data = reinterpret_cast<uint8_t*>(memory);
    for (int64_t strip = begin / groups; strip * groups < end; ++strip) {
      copy_quads(strips_, x, in_, strip, memory);
      if (amx_.shape.p > 1) {
        kernels.amx_deal(data, memory_.strip_pixel, strips_.strip_pixels(), plan_.channels / kQuads, amx_.shape.p,
                         data + memory_.strip, memory_.dealt_pixel, memory_.residue);
      }
      const int64_t shift = tables_.shift(strip);
      Int8Epilogue shifted = epilogue;
      if (shifted.residual != nullptr) shifted.residual += shift;
      Int8AmxWork work = this->work(data, tables_.table(strip));
      work.epilogue = &shifted;
      work.type = type;
      work.output = type == Int8Output::uint8 ? static_cast<void*>(static_cast<uint8_t*>(y) + shift)
                                              : static_cast<float*>(y) + shift;
      const bool is_first = strip == begin / groups;  // its weights come from outer caches, those of later ones do not
      const int64_t last = std::min(end - strip * groups, groups);
      for (int64_t group = std::max(begin - strip * groups, int64_t{0}); group < last; ++group) {
        work.weights = static_cast<const char*>(packed) + group * amx_.group_bytes();
        work.next_weights = is_first && group + 1 < last ? work.weights + amx_.group_bytes() : nullptr;
        work.filter = group * amx_.group_blocks * kBlock;
        work.blocks = std::min(amx_.group_blocks, blocks - group * amx_.group_blocks);
        kernels.amx(work);
      }
    }
  });
}

}  // namespace hetconv
