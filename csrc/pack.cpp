#include "pack.h"

#include <algorithm>
#include <vector>

#include "parallel.h"

namespace hetconv {
namespace {

// Where the layer keeps its weights. The only place, apart from the chunks in plan.cpp, that knows the arrangement.
struct Natural {
  int64_t p, own_channels, own_filters, taps, centre, channels, pointwise;
  bool shifted;

  explicit Natural(const Shape& shape)
      : p(shape.p),
        own_channels(shape.in_channels / shape.p),
        own_filters(shape.out_channels / shape.p),
        taps(shape.kernel_height * shape.kernel_width),
        centre(taps / 2),
        channels(shape.in_channels),
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

// Where a vector of packed weights is: the chunk-th of a segment, of the c-th filter vector in a block.
struct Place {
  const Phase* phase = nullptr;
  const Segment* segment = nullptr;

  int64_t at(const Block& block, int c, int64_t chunk) const {
    const int64_t lanes = kernels().lanes;
    return phase->packed + (phase->chunks * block.vector + (segment->start + chunk) * block.vectors + c) * lanes;
  }
};

// Walks over the squares of lanes × lanes weights of a layer.
class Packer {
 public:
  Packer(const Plan& plan, const Shape& shape) : plan_(plan), natural_(shape), lanes_(kernels().lanes) {
    const Segment* const any = find_any_segment();
    per_segment_ = any == nullptr ? 1 : any->count / (any->spatial ? 1 : plan.p);
    const int64_t chunks = plan.channels / plan.p;
    places_.resize(static_cast<size_t>((chunks + per_segment_ - 1) / per_segment_ * natural_.taps));
    for (const Phase& phase : plan.phases) {
      for (const Segment& segment : phase.segments) {
        const int64_t first = segment.channel / (segment.spatial ? segment.step : plan.p);
        places_[static_cast<size_t>(first / per_segment_ * natural_.taps + segment.tap)] = {&phase, &segment};
      }
    }
  }

  void pack(const Weights& weights, float* packed, const Threads& threads) const {
    for_each_vector(threads, [&](const Block& block, int c) { pack_spatial(block, c, weights, packed); });
    if (natural_.taps == 0) return;
    if (plan_.transposed) {
      parallel(threads, plan_.channels, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) pack_row(n, weights, packed);
      });
    } else {
      for_each_vector(threads, [&](const Block& block, int c) { pack_pointwise(block, c, weights, packed); });
    }
  }

  void unpack(const float* packed, float* spatial, float* pointwise, const Threads& threads) const {
    for_each_vector(threads, [&](const Block& block, int c) {
      unpack_spatial(block, c, packed, spatial);
      unpack_pointwise(block, c, packed, spatial, pointwise);
    });
  }

 private:
  static constexpr int64_t kColumns = 128;

  const Plan& plan_;
  const Natural natural_;
  const int lanes_;
  int64_t per_segment_;  // chunks
  std::vector<Place> places_;

  const Segment* find_any_segment() const {
    for (const Phase& phase : plan_.phases) {
      if (!phase.segments.empty()) return &phase.segments[0];
    }
    return nullptr;
  }

  const Place& place(int64_t chunk, int64_t tap) const {
    return places_[static_cast<size_t>(chunk / per_segment_ * natural_.taps + tap)];
  }

  template <class Visit>
  void for_each_vector(const Threads& threads, const Visit& visit) const {
    parallel(threads, static_cast<int64_t>(plan_.blocks.size()), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        for (int c = 0; c < plan_.blocks[static_cast<size_t>(b)].vectors; ++c) visit(plan_.blocks[static_cast<size_t>(b)], c);
      }
    });
  }

  // Calls visit(kernels of the lanes, -1 for none; first tap, taps; packed vectors of these taps, -1 for none).
  template <class Visit>
  void for_each_square(const Block& block, int c, const Visit& visit) const {
    const FilterVector& vector = plan_.vectors[static_cast<size_t>(block.vector + c)];
    int64_t kernel[kMaxLanes], step[kMaxLanes], at[kMaxLanes];
    for (int lane = 0; lane < lanes_; ++lane) {
      const bool used = lane < vector.filters;
      kernel[lane] = used ? natural_.kernel(plan_, vector.filter + lane, 0) : -1;
      step[lane] = used ? natural_.kernel(plan_, vector.filter + lane, 1) - kernel[lane] : 0;
    }
    for (int64_t chunk = 0; chunk < plan_.channels / plan_.p; ++chunk) {
      for (int64_t first = 0; first < natural_.taps; first += lanes_) {
        const int count = static_cast<int>(std::min<int64_t>(lanes_, natural_.taps - first));
        for (int i = 0; i < count; ++i) {
          const Place& there = place(chunk, first + i);
          const bool kept = there.phase != nullptr && there.segment->spatial;
          at[i] = kept ? there.at(block, c, chunk % per_segment_) : -1;
        }
        visit(kernel, first, count, at);
      }
      for (int lane = 0; lane < lanes_; ++lane) kernel[lane] += step[lane];
    }
  }

  void pack_spatial(const Block& block, int c, const Weights& weights, float* packed) const {
    for_each_square(block, c, [&](const int64_t* kernel, int64_t first, int count, const int64_t* at) {
      const float* from[kMaxLanes];
      float* to[kMaxLanes];
      for (int i = 0; i < lanes_; ++i) from[i] = kernel[i] < 0 ? nullptr : weights.spatial + kernel[i] + first;
      for (int i = 0; i < count; ++i) to[i] = at[i] < 0 ? nullptr : packed + at[i];
      kernels().transpose(from, count, to, lanes_);
    });
  }

  void unpack_spatial(const Block& block, int c, const float* packed, float* spatial) const {
    for_each_square(block, c, [&](const int64_t* kernel, int64_t first, int count, const int64_t* at) {
      const float* from[kMaxLanes] = {};
      float* to[kMaxLanes];
      for (int i = 0; i < count; ++i) from[i] = at[i] < 0 ? nullptr : packed + at[i];
      for (int i = 0; i < lanes_; ++i) to[i] = kernel[i] < 0 ? nullptr : spatial + kernel[i] + first;
      kernels().transpose(from, lanes_, to, count);
    });
  }

  // One filter's row of the pointwise matrix, centre taps filled in.
  void read_row(const Weights& weights, int64_t n, int64_t first, int64_t last, float* row) const {
    natural_.for_each_channel(
        n, first, last, [&](int64_t m, int64_t at) { row[m - first] = weights.spatial[at]; },
        [&](int64_t m, int64_t at, int64_t count) {
          for (int64_t i = 0; i < count; ++i) row[m - first + i] = weights.pointwise[at + i];
        });
  }

  void pack_pointwise(const Block& block, int c, const Weights& weights, float* packed) const {
    const FilterVector& vector = plan_.vectors[static_cast<size_t>(block.vector + c)];
    float rows[kMaxLanes][kColumns];
    for (int64_t first = 0; first < plan_.channels; first += kColumns) {
      const int64_t last = std::min(first + kColumns, plan_.channels);
      for (int lane = 0; lane < vector.filters; ++lane) read_row(weights, vector.filter + lane, first, last, rows[lane]);
      for (int64_t m = first; m < last; m += lanes_) {
        const int count = static_cast<int>(std::min<int64_t>(lanes_, last - m));
        const float* from[kMaxLanes];
        float* to[kMaxLanes];
        for (int lane = 0; lane < lanes_; ++lane) from[lane] = lane < vector.filters ? &rows[lane][m - first] : nullptr;
        for (int i = 0; i < count; ++i) to[i] = packed + pointwise_at(block, c, m + i);
        kernels().transpose(from, count, to, lanes_);
      }
    }
  }

  void unpack_pointwise(const Block& block, int c, const float* packed, float* spatial, float* pointwise) const {
    const FilterVector& vector = plan_.vectors[static_cast<size_t>(block.vector + c)];
    float rows[kMaxLanes][kColumns];
    for (int64_t first = 0; first < plan_.channels; first += kColumns) {
      const int64_t last = std::min(first + kColumns, plan_.channels);
      for (int64_t m = first; m < last; m += lanes_) {
        const int count = static_cast<int>(std::min<int64_t>(lanes_, last - m));
        const float* from[kMaxLanes] = {};
        float* to[kMaxLanes];
        for (int i = 0; i < count; ++i) from[i] = packed + pointwise_at(block, c, m + i);
        for (int lane = 0; lane < lanes_; ++lane) to[lane] = lane < vector.filters ? &rows[lane][m - first] : nullptr;
        kernels().transpose(from, lanes_, to, count);
      }
      for (int lane = 0; lane < vector.filters; ++lane) {
        natural_.for_each_channel(
            vector.filter + lane, first, last, [&](int64_t m, int64_t at) { spatial[at] = rows[lane][m - first]; },
            [&](int64_t m, int64_t at, int64_t count) {
              for (int64_t i = 0; i < count; ++i) pointwise[at + i] = rows[lane][m - first + i];
            });
      }
    }
  }

  int64_t pointwise_at(const Block& block, int c, int64_t channel) const {
    const int64_t per_segment = per_segment_ * plan_.p;
    return place(channel / plan_.p, natural_.centre).at(block, c, channel % per_segment);
  }

  // Transposed, a filter's row already lies along the lanes.
  void pack_row(int64_t n, const Weights& weights, float* packed) const {
    if (place(n / plan_.p, natural_.centre).phase == nullptr) return;
    float row[kColumns + kMaxLanes];
    for (const Block& block : plan_.blocks) {
      for (int c = 0; c < block.vectors; ++c) {
        const FilterVector& vector = plan_.vectors[static_cast<size_t>(block.vector + c)];
        std::fill(row + vector.filters, row + lanes_, 0.0f);
        read_row(weights, n, vector.filter, vector.filter + vector.filters, row);
        std::copy(row, row + lanes_, packed + pointwise_at(block, c, n));
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

}  // namespace hetconv
