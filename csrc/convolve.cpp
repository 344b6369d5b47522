// The forward pass and the input gradient: one convolution, cut into strips of the input and tiles of the output.
#include <algorithm>
#include <vector>

#include "bfloat16/amx.h"
#include "pack.h"
#include "parallel.h"
#include "prepared.h"
#include "scratch.h"

namespace hetconv {
namespace {

// Outputs larger than this are prefetched: +2 to +17 % for 13 MB, but -3 % for what caches hold.
constexpr int64_t kFarElements = 2 * 1024 * 1024;

struct Job {
  const Prepared& layer;
  Input input;
  const float* packed;
  Epilogue epilogue;
  Output output;
  bool far;

  void run(const Phase& phase, const Block& block, const std::vector<Sum>& sums, const float* strip,
           const std::vector<Pixel>& pixels, const float* addend, const Strips::Piece& next) const;
  const float* weights(const Phase& phase, const Block& block) const {
    return packed + phase.packed + phase.chunks * block.vector * kernels().lanes;
  }
};

// A block's filters at a strip's pixels.
void Job::run(const Phase& phase, const Block& block, const std::vector<Sum>& sums, const float* strip,
              const std::vector<Pixel>& pixels, const float* addend, const Strips::Piece& next) const {
  const Kernels& k = kernels();
  const Plan& plan = layer.plan;
  Tile tile{};
  tile.strip = strip;
  tile.partial_sums = sums.data();
  tile.partial_sum_count = static_cast<int>(sums.size());
  tile.read = plan.read;
  tile.shared = block.shared;
  tile.vectors = &plan.vectors[static_cast<size_t>(block.vector)];
  tile.whole = true;
  for (int c = 0; c < block.vectors; ++c) {
    tile.start[c] = layer.strips.place(tile.vectors[c].channel);
    tile.whole &= tile.vectors[c].filters == k.lanes;
  }
  tile.p = plan.p;
  tile.weights = weights(phase, block) + (plan.winograd ? phase.ring_chunks * block.vectors * k.lanes : 0);
  tile.addend = addend;
  tile.epilogue = epilogue;
  tile.output = output.data;
  tile.type = output.type;
  tile.far = far;
  const int64_t count = static_cast<int64_t>(pixels.size());
  const int64_t tiles = std::max<int64_t>(1, count / k.max_pixels[block.vectors]);
  tile.next = next.data;
  tile.next_lines = static_cast<int>(next.bytes / 64 / tiles);
  const float* const then = tile.weights + phase.chunks * block.vectors * k.lanes;
  run_tiles(tiles_of(k, block.vectors), tile, pixels.data(), count, then);
}

// What a thread has at hand of one strip.
class Worker {
 public:
  explicit Worker(const Job& job) : job_(job), layer_(job.layer), pixels_(job.layer.plan.phases.size()) {
    static thread_local Scratch scratch;
    const int64_t strip = (layer_.strips.elements() + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
    data_ = scratch.get(strip + (layer_.ring ? layer_.ring->elements() : 0));
    for_ring_ = data_ + strip;
  }

  // Units are the phases' blocks, phase by phase.
  void run(int64_t strip, int64_t first, int64_t last) {
    const std::vector<Phase>& phases = layer_.plan.phases;
    const int64_t blocks = static_cast<int64_t>(layer_.plan.blocks.size());
    layer_.strips.copy(job_.input, strip, data_);
    for (std::vector<Pixel>& pixels : pixels_) pixels.clear();
    const float* addend = nullptr;
    if (layer_.ring) addend = layer_.ring->sum(strip, data_, job_.packed, first, last, for_ring_);
    Strips::Piece next = layer_.strips.next(job_.input, strip);  // each unit fetches so much ahead
    next.bytes /= blocks * static_cast<int64_t>(phases.size());
    for (int64_t unit = first; unit < last; ++unit, next.data += next.bytes) {
      const size_t phase = static_cast<size_t>(unit / blocks);
      std::vector<Pixel>& pixels = pixels_[phase];
      if (pixels.empty()) pixels = layer_.strips.pixels(strip, phases[phase], job_.output.strides);
      if (pixels.empty()) continue;
      const Block& block = layer_.plan.blocks[static_cast<size_t>(unit % blocks)];
      job_.run(phases[phase], block, layer_.sums[phase].partial(), data_, pixels, addend, next);
      if (addend != nullptr) addend += layer_.ring->sum_elements(block);
    }
  }

 private:
  const Job& job_;
  const Prepared& layer_;
  float *data_, *for_ring_;
  std::vector<std::vector<Pixel>> pixels_;
};

}  // namespace

void convolve(const Prepared& layer, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
              const Threads& threads) {
  const Plan& plan = layer.plan;
  int64_t outputs = 0;
  for (const Phase& phase : plan.phases) outputs += plan.batch * phase.rows * phase.columns * plan.filters;
  const Job job{layer, x, packed, epilogue, y, outputs > kFarElements};
  const int64_t units = static_cast<int64_t>(plan.blocks.size() * plan.phases.size());
  parallel(threads, layer.strips.count() * units, [&](int64_t begin, int64_t end) {
    Worker worker(job);
    for (int64_t strip = begin / units; strip * units < end; ++strip) {
      worker.run(strip, std::max(begin - strip * units, int64_t{0}), std::min(end - strip * units, units));
    }
  });
}

namespace {

Plan plan_of(const Shape& shape, Direction direction) {
  return direction == Direction::forward ? plan_forward(shape) : plan_input_grad(shape);
}

int64_t packed_size(const Shape& shape, Direction direction) {
  return shape.algorithm == Algorithm::amx ? amx_packed_size(shape, direction) : plan_of(shape, direction).packed_size;
}

void pack(const Shape& shape, Direction direction, const Weights& weights, float* packed, const Threads& threads) {
  if (shape.algorithm == Algorithm::amx) return amx_pack(shape, direction, weights, packed, threads);
  pack(plan_of(shape, direction), shape, weights, packed, threads);
}

void convolve(const Shape& shape, Direction direction, const Input& x, const float* packed, const Epilogue& epilogue,
              const Output& y, const Threads& threads) {
  if (shape.algorithm == Algorithm::amx) {
    return amx_convolve(shape, direction, x, packed, epilogue.bias, y, threads);
  }
  convolve(prepare(shape, direction, threads.count), x, packed, epilogue, y, threads);
}

}  // namespace

int64_t packed_size(const Shape& shape) { return packed_size(shape, Direction::forward); }

void pack(const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  pack(shape, Direction::forward, weights, packed, threads);
}

void unpack(const Shape& shape, const float* packed, float* spatial, float* pointwise, const Threads& threads) {
  unpack(plan_forward(shape), shape, packed, spatial, pointwise, threads);
}

void forward(const Shape& shape, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
             const Threads& threads) {
  if (shape.batch * shape.out_height * shape.out_width == 0) return;
  convolve(shape, Direction::forward, x, packed, epilogue, y, threads);
}

int64_t packed_size_input_grad(const Shape& shape) { return packed_size(shape, Direction::input_grad); }

void pack_input_grad(const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  pack(shape, Direction::input_grad, weights, packed, threads);
}

void input_grad(const Shape& shape, const Input& grad_y, const float* packed, const Output& grad_x,
                const Threads& threads) {
  if (shape.batch * shape.in_height * shape.in_width == 0) return;
  convolve(shape, Direction::input_grad, grad_y, packed, {nullptr, nullptr, Activation::none}, grad_x, threads);
}

}  // namespace hetconv
