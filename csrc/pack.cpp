#include "pack.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "parallel.h"

namespace hetconv {
namespace {

// Where the layer keeps its weights. The only place, apart from the chunks in plan.cpp, that knows the arrangement.
struct Natural {
  int64_t p, own_channels, own_filters, taps, centre, channels, filters, pointwise;
  bool shifted;

  explicit Natural(const Shape& shape)
      : p(shape.p),
        own_channels(shape.in_channels / shape.p),
        own_filters(shape.out_channels / shape.p),
        taps(shape.kernel_height * shape.kernel_width),
        centre(taps / 2),
        channels(shape.in_channels),
        filters(shape.out_channels),
        pointwise(shape.in_channels - own_channels),
        shifted(shape.shifted) {}

  // The spatial kernel of a filter of the plan at its chunk-th channel.
  int64_t kernel(const Plan& plan, int64_t filter, int64_t chunk) const {
    if (!plan.transposed) return (filter * own_channels + chunk) * taps;
    return shifted ? ((chunk * p + filter % p) * own_channels + filter / p) * taps
                   : ((filter / own_channels * own_filters + chunk) * own_channels + filter % own_channels) * taps;
  }

  // Calls own(channel, spatial index) for the channels in [first, last) that filter n has spatial kernels on, and
  // run(channel, pointwise index, count) for the runs between them.
  template <class Own, class Run>
  void for_each_channel(int64_t n, int64_t first, int64_t last, const Own& own, const Run& run) const {
    const int64_t start = shifted ? n % p : n / own_filters * own_channels, step = shifted ? p : 1;
    const int64_t end = shifted ? channels : start + own_channels;
    int64_t chunk = first <= start ? 0 : (first - start + step - 1) / step;
    chunk = std::min(chunk, own_channels);
    int64_t m = first;
    for (int64_t next = start + chunk * step; next < std::min(end, last); next += step, ++chunk) {
      if (m < next) run(m, n * pointwise + m - chunk, next - m);
      own(next, (n * own_channels + chunk) * taps + centre);
      m = next + 1;
    }
    if (m < last) run(m, n * pointwise + m - chunk, last - m);
  }
};

// Where the packed weights of a tap are.
struct Place {
  const Phase* phase = nullptr;  // null if the tap is not used
  int64_t rank = 0;              // among the ring's taps

  // In vectors, of the first filter vector of a block; the block's others follow, then the next tap.
  int64_t ring(const Block& block) const { return phase->chunks * block.vector + rank * block.vectors; }
  int64_t ring_step(const Block& block) const { return phase->ring() * block.vectors; }  // to the next chunk
  int64_t centre(const Block& block, int64_t channel) const {
    return phase->chunks * block.vector + (phase->ring_chunks + channel) * block.vectors;
  }
};

// Walks over the weights of a layer.
class Packer {
 public:
  Packer(const Plan& plan, const Shape& shape)
      : plan_(plan), natural_(shape), lanes_(kernels().lanes), chunks_(plan.channels / plan.p) {
    const int64_t most = std::max(kColumns, kChunksInRow * natural_.taps);
    zeros_.resize(static_cast<size_t>(std::max<int64_t>(most, kMaxLanes * kMaxVectors)));
    places_.resize(static_cast<size_t>(natural_.taps));
    for (const Phase& phase : plan.phases) {
      for (size_t rank = 0; rank < phase.taps.size(); ++rank) {
        places_[static_cast<size_t>(phase.taps[rank].index)] = {&phase, static_cast<int64_t>(rank)};
      }
    }
  }

  void pack(const Weights& weights, float* packed, const Threads& threads) const {
    if (plan_.phases.empty()) return;  // images without pixels need no weights
    for_each_block(threads, [&](const Block& block) {
      if (plan_.winograd) {
        pack_winograd(block, weights, packed);
      } else {
        pack_spatial(block, weights, packed);
      }
      if (!plan_.transposed && has_centre()) pack_pointwise(block, weights, packed);
    });
    if (plan_.transposed && has_centre()) {
      parallel(threads, (plan_.channels + kRows - 1) / kRows, [&](int64_t begin, int64_t end) {
        std::vector<float> rows(static_cast<size_t>(kRows * (plan_.filters + kMaxLanes)));
        for (int64_t i = begin; i < end; ++i) pack_rows(weights, i * kRows, rows.data(), packed);
      });
    }
  }

  void unpack(const float* packed, float* spatial, float* pointwise, const Threads& threads) const {
    for_each_block(threads, [&](const Block& block) {
      if (!plan_.winograd) unpack_spatial(block, packed, spatial);
      if (has_centre()) unpack_pointwise(block, packed, spatial, pointwise);
    });
  }

 private:
  static constexpr int64_t kColumns = 128, kRows = 16;  // of the pointwise weights, at a time
  static constexpr int64_t kChunksInRow = 8;  // few, so that both halves of a line of packed weights are written soon

  const Plan& plan_;
  const Natural natural_;
  const int lanes_;
  const int64_t chunks_;
  std::vector<Place> places_;  // of the taps
  std::vector<float> zeros_;

  const FilterVector& vector(const Block& block, int c) const {
    return plan_.vectors[static_cast<size_t>(block.vector + c)];
  }

  template <class Visit>
  void for_each_block(const Threads& threads, const Visit& visit) const {
    parallel(threads, static_cast<int64_t>(plan_.blocks.size()), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) visit(plan_.blocks[static_cast<size_t>(b)]);
    });
  }

  const Place& centre() const { return places_[static_cast<size_t>(natural_.centre)]; }
  bool has_centre() const { return centre().phase != nullptr && centre().phase->has_centre; }

  // Calls visit(filter vector of the block, where the elements of each lane begin in the spatial weights or -1, the
  // packed vectors of these elements) row by row. A filter's kernels lie in a row; transposed, only the taps of one do.
  // Elements that have no packed vector find `nowhere`.
  template <class Number, class Visit>
  void for_each_row(const Block& block, Number* packed, Number* nowhere, const Visit& visit) const {
    const int64_t most = plan_.transposed ? 1 : kChunksInRow;
    int64_t lane_at[kMaxVectors][kMaxLanes], step[kMaxVectors][kMaxLanes];
    for (int c = 0; c < block.vectors; ++c) {
      for (int lane = 0; lane < lanes_; ++lane) {
        const bool used = lane < vector(block, c).filters;
        const int64_t filter = vector(block, c).filter + lane;
        lane_at[c][lane] = used ? natural_.kernel(plan_, filter, 0) : -1;
        step[c][lane] = used ? natural_.kernel(plan_, filter, 1) - lane_at[c][lane] : 0;
      }
    }
    std::vector<Number*> vectors(static_cast<size_t>(most * natural_.taps));
    const size_t taps = static_cast<size_t>(natural_.taps);
    for (size_t tap = 0; tap < taps; ++tap) {
      const bool kept = places_[tap].phase != nullptr && static_cast<int64_t>(tap) != natural_.centre;
      const int64_t ring_step = kept ? places_[tap].ring_step(block) * lanes_ : 0;
      vectors[tap] = kept ? packed + places_[tap].phase->packed + places_[tap].ring(block) * lanes_ : nowhere;
      for (size_t i = tap + taps; i < vectors.size(); i += taps) vectors[i] = vectors[i - taps] + ring_step;
    }
    for (int64_t first = 0; first < chunks_; first += most) {
      const int64_t count = std::min(most, chunks_ - first);
      for (int c = 0; c < block.vectors; ++c) {
        visit(c, lane_at[c], vectors.data(), count * natural_.taps);
        for (int lane = 0; lane < lanes_; ++lane) lane_at[c][lane] += count * step[c][lane];
      }
      for (size_t tap = 0; tap < taps; ++tap) {
        if (vectors[tap] == nowhere) continue;
        const int64_t ring_step = most * places_[tap].ring_step(block) * lanes_;
        for (size_t i = tap; i < vectors.size(); i += taps) vectors[i] += ring_step;
      }
    }
  }

  void pack_spatial(const Block& block, const Weights& weights, float* packed) const {
    std::vector<float> nowhere(static_cast<size_t>(lanes_ * block.vectors));
    for_each_row(block, packed, nowhere.data(), [&](int c, const int64_t* lane_at, float* const* to, int64_t count) {
      const float* from[kMaxLanes];
      for (int i = 0; i < lanes_; ++i) from[i] = lane_at[i] < 0 ? zeros_.data() : weights.spatial + lane_at[i];
      kernels().rows_to_lanes(from, count, to, c * lanes_);
    });
  }

  // The kernels of a block's filters, turned to lanes and transformed.
  void pack_winograd(const Block& block, const Weights& weights, float* packed) const {
    const Phase& phase = plan_.phases[0];
    std::vector<Tap> taps = phase.taps;
    std::sort(taps.begin(), taps.end(),
              [](const Tap& a, const Tap& b) { return std::pair(a.row, a.column) < std::pair(b.row, b.column); });
    float turned[9 * kChunksInRow][kMaxLanes];
    float* to[9 * kChunksInRow];
    for (int64_t i = 0; i < 9 * kChunksInRow; ++i) to[i] = turned[i];
    const int64_t most = plan_.transposed ? 1 : kChunksInRow, size = block.vectors * lanes_;
    float* const ring = packed + phase.packed + phase.chunks * block.vector * lanes_;
    for (int c = 0; c < block.vectors; ++c) {
      for (int64_t first = 0; first < chunks_; first += most) {
        const int64_t count = std::min(most, chunks_ - first);
        const float* from[kMaxLanes];
        for (int lane = 0; lane < lanes_; ++lane) {
          const bool used = lane < vector(block, c).filters;
          const int64_t filter = vector(block, c).filter + lane;
          from[lane] = used ? weights.spatial + natural_.kernel(plan_, filter, first) : zeros_.data();
        }
        kernels().rows_to_lanes(from, 9 * count, to, 0);
        for (int64_t i = 0; i < count; ++i) {
          const float* kernel[9];
          for (size_t tap = 0; tap < 9; ++tap) kernel[tap] = turned[9 * i + taps[tap].index];
          if (phase.has_centre) kernel[4] = zeros_.data();
          kernels().winograd_kernel(kernel, ring + (first + i) * size + c * lanes_, chunks_ * size);
        }
      }
    }
  }

  void unpack_spatial(const Block& block, const float* packed, float* spatial) const {
    std::vector<float> nowhere(zeros_.size());
    for_each_row(block, packed, zeros_.data(),
                 [&](int c, const int64_t* lane_at, const float* const* from, int64_t count) {
                   float* to[kMaxLanes];
                   for (int i = 0; i < lanes_; ++i) to[i] = lane_at[i] < 0 ? nowhere.data() : spatial + lane_at[i];
                   kernels().lanes_to_rows(from, c * lanes_, count, to);
                 });
  }

  // Calls visit(first channel, last channel) for parts of at most kColumns channels.
  template <class Visit>
  void for_each_part(const Visit& visit) const {
    for (int64_t first = 0; first < plan_.channels; first += kColumns)
      visit(first, std::min(first + kColumns, plan_.channels));
  }

  // One filter's row of the pointwise matrix, centre taps filled in; up to 3 elements behind it are overwritten.
  void read_row(const Weights& weights, int64_t n, int64_t first, int64_t last, float* row) const {
    natural_.for_each_channel(
        n, first, last, [&](int64_t m, int64_t at) { row[m - first] = weights.spatial[at]; },
        [&](int64_t m, int64_t at, int64_t count) {
          copy_run(weights.pointwise + at, natural_.filters * natural_.pointwise - at, count, row + m - first);
        });
  }

  // Runs are short, P - 1, so whole fours are copied; what is written too far is written again by what follows.
  static void copy_run(const float* from, int64_t available, int64_t count, float* to) {
    if (available < count + 3) {
      std::copy(from, from + count, to);
      return;
    }
    for (int64_t i = 0; i < count; i += 4) std::memcpy(to + i, from + i, 4 * sizeof(float));
  }

  void write_row(const float* row, int64_t n, int64_t first, int64_t last, float* spatial, float* pointwise) const {
    natural_.for_each_channel(
        n, first, last, [&](int64_t m, int64_t at) { spatial[at] = row[m - first]; },
        [&](int64_t m, int64_t at, int64_t count) {
          for (int64_t i = 0; i < count; ++i) pointwise[at + i] = row[m - first + i];
        });
  }

  void pack_pointwise(const Block& block, const Weights& weights, float* packed) const {
    float rows[kMaxLanes][kColumns + 3];
    const float* from[kMaxLanes];
    float* to[kColumns];
    for_each_part([&](int64_t first, int64_t last) {
      float* const at = packed + centre().phase->packed + centre().centre(block, first) * lanes_;
      for (int64_t i = 0; i < last - first; ++i) to[i] = at + i * block.vectors * lanes_;
      for (int c = 0; c < block.vectors; ++c) {
        for (int lane = 0; lane < lanes_; ++lane) {
          from[lane] = lane < vector(block, c).filters ? rows[lane] : zeros_.data();
          if (from[lane] == rows[lane]) read_row(weights, vector(block, c).filter + lane, first, last, rows[lane]);
        }
        kernels().rows_to_lanes(from, last - first, to, c * lanes_);
      }
    });
  }

  void unpack_pointwise(const Block& block, const float* packed, float* spatial, float* pointwise) const {
    float rows[kMaxLanes][kColumns];
    const float* from[kColumns];
    float* to[kMaxLanes];
    for (int lane = 0; lane < lanes_; ++lane) to[lane] = rows[lane];
    for_each_part([&](int64_t first, int64_t last) {
      const float* const at = packed + centre().phase->packed + centre().centre(block, first) * lanes_;
      for (int64_t i = 0; i < last - first; ++i) from[i] = at + i * block.vectors * lanes_;
      for (int c = 0; c < block.vectors; ++c) {
        kernels().lanes_to_rows(from, c * lanes_, last - first, to);
        for (int lane = 0; lane < vector(block, c).filters; ++lane) {
          write_row(rows[lane], vector(block, c).filter + lane, first, last, spatial, pointwise);
        }
      }
    });
  }

  // Transposed, filters' rows already lie along the lanes.
  void pack_rows(const Weights& weights, int64_t first, float* rows, float* packed) const {
    const int64_t step = plan_.filters + kMaxLanes, count = std::min(kRows, plan_.channels - first);
    for (int64_t i = 0; i < count; ++i) read_row(weights, first + i, 0, plan_.filters, rows + i * step);
    for (const Block& block : plan_.blocks) {
      float* to = packed + centre().phase->packed + centre().centre(block, first) * lanes_;
      for (int c = 0; c < block.vectors; ++c, to += lanes_) {
        kernels().copy(Type::float32, rows + vector(block, c).filter, step, to, block.vectors * lanes_, lanes_, 1,
                       count);
      }
    }
  }
};

}  // namespace

void pack(const Plan& plan, const Shape& shape, const Weights& weights, float* packed, const Threads& threads) {
  Packer(plan, shape).pack(weights, packed, threads);
}

void unpack(const Plan& plan, const Shape& shape, const float* packed, float* spatial, float* pointwise,
            const Threads& threads) {
  Packer(plan, shape).unpack(packed, spatial, pointwise, threads);
}

void gather_taps(const Shape& shape, const float* spatial, float* gathered, const Threads& threads) {
  const int64_t channels = shape.in_channels / shape.p, taps = shape.kernel_height * shape.kernel_width;
  const int lanes = kernels().lanes;
  parallel(threads, shape.out_channels, [&](int64_t begin, int64_t end) {
    std::vector<const float*> from(static_cast<size_t>(taps));
    float* to[kMaxLanes];
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t tap = 0; tap < taps; ++tap) from[static_cast<size_t>(tap)] = spatial + (n * taps + tap) * channels;
      float* const filter = gathered + n * channels * taps;
      int64_t channel = 0;
      for (; channel + lanes <= channels; channel += lanes) {
        for (int i = 0; i < lanes; ++i) to[i] = filter + (channel + i) * taps;
        kernels().lanes_to_rows(from.data(), channel, taps, to);
      }
      for (; channel < channels; ++channel) {
        for (int64_t tap = 0; tap < taps; ++tap) filter[channel * taps + tap] = from[static_cast<size_t>(tap)][channel];
      }
    }
  });
}

}  // namespace hetconv
