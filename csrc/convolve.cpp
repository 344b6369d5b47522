// The forward pass and the input gradient: one convolution, cut into strips of the input and tiles of the output.
#include <algorithm>
#include <optional>
#include <vector>

#include "pack.h"
#include "parallel.h"
#include "plan.h"
#include "scratch.h"
#include "strip.h"
#include "winograd.h"

namespace hetconv {
namespace {

// Outputs larger than this are prefetched: +2 to +17 % for 13 MB, but -3 % for what caches hold.
constexpr int64_t kFarElements = 2 * 1024 * 1024;

struct Job {
  const Plan& plan;
  const Strips& strips;
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
  Tile tile{};
  tile.strip = strip;
  tile.partial_sums = sums.data();
  tile.partial_sum_count = static_cast<int>(sums.size());
  tile.read = plan.read;
  tile.shared = block.shared;
  tile.vectors = &plan.vectors[static_cast<size_t>(block.vector)];
  tile.whole = true;
  for (int c = 0; c < block.vectors; ++c) {
    tile.start[c] = strips.place(tile.vectors[c].channel);
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
  run_tiles(k.tile[block.vectors], tile, block.vectors, pixels.data(), count, then);
}

// What a thread has at hand of one strip.
class Worker {
 public:
  Worker(const Job& job, const std::vector<Sums>& sums, const WinogradRing* ring)
      : job_(job), strips_(job.strips), sums_(sums), ring_(ring), pixels_(job.plan.phases.size()) {
    static thread_local Scratch scratch;
    const int64_t strip = (strips_.elements() + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
    data_ = scratch.get(strip + (ring == nullptr ? 0 : ring->elements()));
    for_ring_ = data_ + strip;
  }

  // Units are the phases' blocks, phase by phase.
  void run(int64_t strip, int64_t first, int64_t last) {
    const std::vector<Phase>& phases = job_.plan.phases;
    const int64_t blocks = static_cast<int64_t>(job_.plan.blocks.size());
    strips_.copy(strip, data_);
    for (std::vector<Pixel>& pixels : pixels_) pixels.clear();
    const float* addend = nullptr;
    if (ring_ != nullptr) addend = ring_->sum(strip, data_, job_.packed, first, last, for_ring_);
    Strips::Piece next = strips_.next(strip);  // each unit fetches so much ahead
    next.bytes /= blocks * static_cast<int64_t>(phases.size());
    for (int64_t unit = first; unit < last; ++unit, next.data += next.bytes) {
      const size_t phase = static_cast<size_t>(unit / blocks);
      std::vector<Pixel>& pixels = pixels_[phase];
      if (pixels.empty()) pixels = strips_.pixels(strip, phases[phase], job_.output.strides);
      if (pixels.empty()) continue;
      const Block& block = job_.plan.blocks[static_cast<size_t>(unit % blocks)];
      job_.run(phases[phase], block, sums_[phase].partial(), data_, pixels, addend, next);
      if (addend != nullptr) addend += ring_->sum_elements(block);
    }
  }

 private:
  const Job& job_;
  const Strips& strips_;
  const std::vector<Sums>& sums_;
  const WinogradRing* const ring_;  // null where the ring is summed directly
  float *data_, *for_ring_;
  std::vector<std::vector<Pixel>> pixels_;
};

void convolve(const Plan& plan, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
              const Threads& threads) {
  int64_t pixels = 0;
  for (const Phase& phase : plan.phases) pixels += plan.batch * phase.rows * phase.columns;
  if (pixels == 0) return;
  const Strips strips(plan, x, threads.count);
  std::vector<Sums> sums;
  for (const Phase& phase : plan.phases) sums.push_back(strips.sums(phase));
  std::optional<WinogradRing> ring;
  if (plan.winograd) ring.emplace(plan, strips);
  const Job job{plan, strips, packed, epilogue, y, pixels * plan.filters > kFarElements};
  const int64_t units = static_cast<int64_t>(plan.blocks.size() * plan.phases.size());
  parallel(threads, strips.count() * units, [&](int64_t begin, int64_t end) {
    Worker worker(job, sums, ring.has_value() ? &*ring : nullptr);
    for (int64_t strip = begin / units; strip * units < end; ++strip) {
      worker.run(strip, std::max(begin - strip * units, int64_t{0}), std::min(end - strip * units, units));
    }
  });
}

}  // namespace

int64_t packed_size(const Shape& shape) { return plan_forward(shape).packed_size; }

void pack(const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  pack(plan_forward(shape), shape, weights, packed, threads);
}

void unpack(const Shape& shape, const float* packed, float* spatial, float* pointwise, const Threads& threads) {
  unpack(plan_forward(shape), shape, packed, spatial, pointwise, threads);
}

void forward(const Shape& shape, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
             const Threads& threads) {
  convolve(plan_forward(shape), x, packed, epilogue, y, threads);
}

int64_t packed_size_input_grad(const Shape& shape) { return plan_input_grad(shape).packed_size; }

void pack_input_grad(const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  pack(plan_input_grad(shape), shape, weights, packed, threads);
}

void input_grad(const Shape& shape, const Input& grad_y, const float* packed, const Output& grad_x,
                const Threads& threads) {
  convolve(plan_input_grad(shape), grad_y, packed, {nullptr, nullptr, Activation::none}, grad_x, threads);
}

}  // namespace hetconv
