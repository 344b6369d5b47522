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

// Where a segment's packed weights are.
struct Place {
  const Phase* phase = nullptr;
  const Segment* segment = nullptr;

  // Of the chunk-th chunk of the segment, of the first vector of a block; the block's others follow, then the next chunk.
  int64_t at(const Block& block, int64_t chunk) const {
    return phase->packed + (phase->chunks * block.vector + (segment->start + chunk) * block.vectors) * kernels().lanes;
  }
};

// Walks over the squares of lanes × lanes weights of a layer.
class Packer {
 public:
  Packer(const Plan& plan, const Shape& shape) : plan_(plan), natural_(shape), lanes_(kernels().lanes) {
    places_.resize(static_cast<size_t>(divide_up(plan.channels / plan.p, plan.chunk_block) * natural_.taps));
    for (const Phase& phase : plan.phases) {
      for (const Segment& segment : phase.segments) {
        const int64_t chunk = segment.channel / (segment.spatial ? segment.step : plan.p);
        places_[static_cast<size_t>(chunk / plan.chunk_block * natural_.taps + segment.tap)] = {&phase, &segment};
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
  static constexpr int64_t kColumns = 128;
  // Chunks of one vector before the next vector of the block: rows of weights are often a multiple of 2 KiB apart, so
  // that only a few lines of 64 rows fit into the L1 cache together. 8 is 1.6 times faster than 1 for a forward pass,
  // and than all for a transposed one.
  static constexpr int64_t kChunkGroup = 8;

  const Plan& plan_;
  const Natural natural_;
  const int lanes_;
  std::vector<Place> places_;

  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

  const Place& place(int64_t chunk, int64_t tap) const {
    return places_[static_cast<size_t>(chunk / plan_.chunk_block * natural_.taps + tap)];
  }

  const FilterVector& vector(const Block& block, int c) const {
    return plan_.vectors[static_cast<size_t>(block.vector + c)];
  }

  template <class Visit>
  void for_each_block(const Threads& threads, const Visit& visit) const {
    parallel(threads, static_cast<int64_t>(plan_.blocks.size()), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) visit(plan_.blocks[static_cast<size_t>(b)]);
    });
  }

  // Calls visit(kernels of the lanes, -1 for none; taps; packed vectors of these taps, -1 for none).
  template <class Visit>
  void for_each_square(const Block& block, const Visit& visit) const {
    int64_t kernel[kMaxVectors][kMaxLanes], step[kMaxVectors][kMaxLanes], at[kMaxLanes];
    std::vector<int64_t> first_at(static_cast<size_t>(natural_.taps));
    for (int c = 0; c < block.vectors; ++c) {
      for (int lane = 0; lane < lanes_; ++lane) {
        const bool used = lane < vector(block, c).filters;
        const int64_t filter = vector(block, c).filter + lane;
        kernel[c][lane] = used ? natural_.kernel(plan_, filter, 0) : -1;
        step[c][lane] = used ? natural_.kernel(plan_, filter, 1) - kernel[c][lane] : 0;
      }
    }
    const int64_t chunks = plan_.channels / plan_.p;
    for (int64_t first = 0; first < chunks; first += plan_.chunk_block) {
      for (int64_t tap = 0; tap < natural_.taps; ++tap) {
        const Place& there = place(first, tap);
        const bool kept = there.phase != nullptr && there.segment->spatial;
        first_at[static_cast<size_t>(tap)] = kept ? there.at(block, 0) : -1;
      }
      const int64_t count = std::min(plan_.chunk_block, chunks - first);
      for (int64_t group = 0; group < count; group += kChunkGroup) {
        for (int c = 0; c < block.vectors; ++c) {
          for (int64_t chunk = group; chunk < std::min(group + kChunkGroup, count); ++chunk) {
            for (int64_t tap = 0; tap < natural_.taps; tap += lanes_) {
              const int taps = static_cast<int>(std::min<int64_t>(lanes_, natural_.taps - tap));
              for (int i = 0; i < taps; ++i) {
                const int64_t there = first_at[static_cast<size_t>(tap + i)];
                at[i] = there < 0 ? -1 : there + (chunk * block.vectors + c) * lanes_;
              }
              visit(kernel[c], tap, taps, at);
            }
            for (int lane = 0; lane < lanes_; ++lane) kernel[c][lane] += step[c][lane];
          }
        }
      }
    }
  }

  void pack_spatial(const Block& block, const Weights& weights, float* packed) const {
    const auto transpose = kernels().transpose;
    for_each_square(block, [&](const int64_t* kernel, int64_t tap, int count, const int64_t* at) {
      const float* from[kMaxLanes];
      float* to[kMaxLanes];
      for (int i = 0; i < lanes_; ++i) from[i] = kernel[i] < 0 ? nullptr : weights.spatial + kernel[i] + tap;
      for (int i = 0; i < count; ++i) to[i] = at[i] < 0 ? nullptr : packed + at[i];
      transpose(from, count, to, lanes_);
    });
  }

  void unpack_spatial(const Block& block, const float* packed, float* spatial) const {
    const auto transpose = kernels().transpose;
    for_each_square(block, [&](const int64_t* kernel, int64_t tap, int count, const int64_t* at) {
      const float* from[kMaxLanes] = {};
      float* to[kMaxLanes];
      for (int i = 0; i < count; ++i) from[i] = at[i] < 0 ? nullptr : packed + at[i];
      for (int i = 0; i < lanes_; ++i) to[i] = kernel[i] < 0 ? nullptr : spatial + kernel[i] + tap;
      transpose(from, lanes_, to, count);
    });
  }

  // Calls visit(first channel, last channel, packed vector of the first) for parts of at most kColumns channels.
  template <class Visit>
  void for_each_part(const Block& block, const Visit& visit) const {
    const int64_t per_segment = plan_.chunk_block * plan_.p;
    for (int64_t segment = 0; segment < plan_.channels; segment += per_segment) {
      const int64_t end = std::min(segment + per_segment, plan_.channels);
      const int64_t at = place(segment / plan_.p, natural_.centre).at(block, 0);
      for (int64_t first = segment; first < end; first += kColumns) {
        visit(first, std::min(first + kColumns, end), at + (first - segment) * block.vectors * lanes_);
      }
    }
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
    for_each_part(block, [&](int64_t first, int64_t last, int64_t at) {
      for (int c = 0; c < block.vectors; ++c) {
        const int filters = vector(block, c).filters;
        for (int lane = 0; lane < filters; ++lane) {
          read_row(weights, vector(block, c).filter + lane, first, last, rows[lane]);
        }
        for (int64_t m = first; m < last; m += lanes_) {
          const int count = static_cast<int>(std::min<int64_t>(lanes_, last - m));
          const float* from[kMaxLanes];
          float* to[kMaxLanes];
          for (int lane = 0; lane < lanes_; ++lane) from[lane] = lane < filters ? &rows[lane][m - first] : nullptr;
          for (int i = 0; i < count; ++i) to[i] = packed + at + ((m - first + i) * block.vectors + c) * lanes_;
          kernels().transpose(from, count, to, lanes_);
        }
      }
    });
  }

  void unpack_pointwise(const Block& block, const float* packed, float* spatial, float* pointwise) const {
    float rows[kMaxLanes][kColumns];
    for_each_part(block, [&](int64_t first, int64_t last, int64_t at) {
      for (int c = 0; c < block.vectors; ++c) {
        const int filters = vector(block, c).filters;
        for (int64_t m = first; m < last; m += lanes_) {
          const int count = static_cast<int>(std::min<int64_t>(lanes_, last - m));
          const float* from[kMaxLanes] = {};
          float* to[kMaxLanes];
          for (int i = 0; i < count; ++i) from[i] = packed + at + ((m - first + i) * block.vectors + c) * lanes_;
          for (int lane = 0; lane < lanes_; ++lane) to[lane] = lane < filters ? &rows[lane][m - first] : nullptr;
          kernels().transpose(from, lanes_, to, count);
        }
        for (int lane = 0; lane < filters; ++lane) {
          write_row(rows[lane], vector(block, c).filter + lane, first, last, spatial, pointwise);
        }
      }
    });
  }

  // Transposed, a filter's row already lies along the lanes.
  void pack_row(int64_t n, const Weights& weights, float* row, float* packed) const {
    const Place& there = place(n / plan_.p, natural_.centre);
    if (there.phase == nullptr) return;
    read_row(weights, n, 0, plan_.filters, row);
    for (const Block& block : plan_.blocks) {
      float* to = packed + there.at(block, n % (plan_.chunk_block * plan_.p));
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
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t tap = 0; tap < taps; tap += lanes) {
        const int rows = static_cast<int>(std::min<int64_t>(lanes, taps - tap));
        for (int64_t channel = 0; channel < channels; channel += lanes) {
          const int columns = static_cast<int>(std::min<int64_t>(lanes, channels - channel));
          const float* from[kMaxLanes] = {};
          float* to[kMaxLanes];
          for (int i = 0; i < rows; ++i) from[i] = spatial + (n * taps + tap + i) * channels + channel;
          for (int i = 0; i < columns; ++i) to[i] = gathered + (n * channels + channel + i) * taps + tap;
          kernels().transpose(from, columns, to, rows);
        }
      }
    }
  });
}

}  // namespace hetconv
