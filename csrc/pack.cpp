#include "pack.h"

#include <algorithm>
#include <cstring>
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

// Where the packed weights of one chunk of one tap are.
struct Place {
  int64_t phase = 0, chunks = 0;  // vectors before the phase; vectors of a filter vector in it
  int64_t chunk = -1;             // in the phase; -1 if the tap is not used

  // In vectors, of the first filter vector of a block; the block's others follow, then the next chunk.
  int64_t at(const Block& block) const { return phase + chunks * block.vector + chunk * block.vectors; }
};

// Walks over the weights of a layer.
class Packer {
 public:
  Packer(const Plan& plan, const Shape& shape) : plan_(plan), natural_(shape), lanes_(kernels().lanes) {
    zeros_.resize(static_cast<size_t>(std::max({kColumns, kChunksInRow * natural_.taps, int64_t{kMaxLanes * kMaxVectors}})));
    ring_.resize(static_cast<size_t>(plan.channels / plan.p * natural_.taps));
    centre_.resize(static_cast<size_t>(plan.channels));
    for (const Phase& phase : plan.phases) {
      for (const Segment& segment : phase.segments) {
        for (int64_t i = 0; i < segment.count; ++i) {
          const int64_t first = segment.spatial ? segment.channel / segment.step : segment.channel;
          Place& place = segment.spatial ? ring_[static_cast<size_t>((first + i) * natural_.taps + segment.tap)]
                                         : centre_[static_cast<size_t>(first + i)];
          place = {phase.packed / lanes_, phase.chunks, segment.start + i};
        }
      }
    }
  }

  void pack(const Weights& weights, float* packed, const Threads& threads) const {
    for_each_block(threads, [&](const Block& block) {
      pack_spatial(block, weights, packed);
      if (!plan_.transposed) pack_pointwise(block, weights, packed);
    });
    if (plan_.transposed) {
      parallel(threads, plan_.channels, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<size_t>(plan_.filters + 3));
        for (int64_t n = begin; n < end; ++n) pack_row(n, weights, row.data(), packed);
      });
    }
  }

  void unpack(const float* packed, float* spatial, float* pointwise, const Threads& threads) const {
    for_each_block(threads, [&](const Block& block) {
      unpack_spatial(block, packed, spatial);
      unpack_pointwise(block, packed, spatial, pointwise);
    });
  }

 private:
  static constexpr int64_t kColumns = 128;    // of the pointwise weights
  static constexpr int64_t kChunksInRow = 8;  // few, so that both halves of a line of packed weights are written soon
  const Plan& plan_;
  const Natural natural_;
  const int lanes_;
  std::vector<Place> ring_;    // of chunk × taps + tap
  std::vector<Place> centre_;  // of a channel
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

  // Calls begin(places, how many) for a row of elements, then visit(filter vector of the block, where the elements of each
  // lane begin in the spatial weights or -1). A filter's kernels lie in a row; transposed, only the taps of one do.
  template <class Begin, class Visit>
  void for_each_row(const Block& block, const Begin& begin, const Visit& visit) const {
    const int64_t chunks = plan_.channels / plan_.p, most = plan_.transposed ? 1 : kChunksInRow;
    int64_t lane_at[kMaxVectors][kMaxLanes], step[kMaxVectors][kMaxLanes];
    for (int c = 0; c < block.vectors; ++c) {
      for (int lane = 0; lane < lanes_; ++lane) {
        const bool used = lane < vector(block, c).filters;
        const int64_t filter = vector(block, c).filter + lane;
        lane_at[c][lane] = used ? natural_.kernel(plan_, filter, 0) : -1;
        step[c][lane] = used ? natural_.kernel(plan_, filter, 1) - lane_at[c][lane] : 0;
      }
    }
    for (int64_t first = 0; first < chunks; first += most) {
      const int64_t count = std::min(most, chunks - first);
      begin(&ring_[static_cast<size_t>(first * natural_.taps)], count * natural_.taps);
      for (int c = 0; c < block.vectors; ++c) {
        visit(c, lane_at[c]);
        for (int lane = 0; lane < lanes_; ++lane) lane_at[c][lane] += count * step[c][lane];
      }
    }
  }

  void pack_spatial(const Block& block, const Weights& weights, float* packed) const {
    std::vector<float> nowhere(static_cast<size_t>(lanes_ * block.vectors));
    std::vector<float*> to;
    const auto begin = [&](const Place* places, int64_t count) {
      to.resize(static_cast<size_t>(count));
      for (float*& at : to) {
        at = places->chunk < 0 ? nowhere.data() : packed + places->at(block) * lanes_;
        ++places;
      }
    };
    for_each_row(block, begin, [&](int c, const int64_t* lane_at) {
      const float* from[kMaxLanes];
      for (int i = 0; i < lanes_; ++i) from[i] = lane_at[i] < 0 ? zeros_.data() : weights.spatial + lane_at[i];
      kernels().rows_to_lanes(from, static_cast<int64_t>(to.size()), to.data(), c * lanes_);
    });
  }

  void unpack_spatial(const Block& block, const float* packed, float* spatial) const {
    std::vector<float> nowhere(zeros_.size());
    std::vector<const float*> from;
    const auto begin = [&](const Place* places, int64_t count) {
      from.resize(static_cast<size_t>(count));
      for (const float*& at : from) {
        at = places->chunk < 0 ? zeros_.data() : packed + places->at(block) * lanes_;
        ++places;
      }
    };
    for_each_row(block, begin, [&](int c, const int64_t* lane_at) {
      float* to[kMaxLanes];
      for (int i = 0; i < lanes_; ++i) to[i] = lane_at[i] < 0 ? nowhere.data() : spatial + lane_at[i];
      kernels().lanes_to_rows(from.data(), c * lanes_, static_cast<int64_t>(from.size()), to);
    });
  }

  // Calls visit(first channel, last channel) for parts of at most kColumns channels.
  template <class Visit>
  void for_each_part(const Visit& visit) const {
    for (int64_t first = 0; first < plan_.channels; first += kColumns) visit(first, std::min(first + kColumns, plan_.channels));
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
      for (int64_t m = first; m < last; ++m) to[m - first] = packed + centre_[static_cast<size_t>(m)].at(block) * lanes_;
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
      for (int64_t m = first; m < last; ++m) from[m - first] = packed + centre_[static_cast<size_t>(m)].at(block) * lanes_;
      for (int c = 0; c < block.vectors; ++c) {
        kernels().lanes_to_rows(from, c * lanes_, last - first, to);
        for (int lane = 0; lane < vector(block, c).filters; ++lane) {
          write_row(rows[lane], vector(block, c).filter + lane, first, last, spatial, pointwise);
        }
      }
    });
  }

  // Transposed, a filter's row already lies along the lanes.
  void pack_row(int64_t n, const Weights& weights, float* row, float* packed) const {
    const Place& place = centre_[static_cast<size_t>(n)];
    if (place.chunk < 0) return;
    read_row(weights, n, 0, plan_.filters, row);
    for (const Block& block : plan_.blocks) {
      float* to = packed + place.at(block) * lanes_;
      for (int c = 0; c < block.vectors; ++c, to += lanes_) {
        const float* const from = row + vector(block, c).filter;
        const int filters = vector(block, c).filters;
        std::copy(from, from + filters, to);
        std::fill(to + filters, to + lanes_, 0.0f);
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
