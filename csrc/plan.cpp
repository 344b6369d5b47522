#include "plan.h"

#include <algorithm>
#include <utility>

#include "winograd.h"

namespace hetconv {
namespace {

Read spatial_read(const Shape& shape, int lanes) {
  const int64_t p = shape.shifted ? shape.p : 1;
  if (p == 1) return Read::broadcast;
  if (p % lanes == 0) return Read::contiguous;
  if (p > lanes) return Read::wrapped;
  if (lanes % p != 0) return Read::permuted;
  return p == 2 ? Read::repeat2 : p == 4 ? Read::repeat4 : Read::repeat8;
}

FilterVector shifted_vector(int64_t filter, int64_t filters, int64_t p, int lanes) {
  FilterVector vector{};
  vector.filter = filter;
  vector.filters = static_cast<int32_t>(std::min<int64_t>(lanes, filters - filter));
  const int64_t residue = filter % p;
  if (p < lanes) {
    for (int lane = 0; lane < lanes; ++lane) vector.index[lane] = static_cast<int32_t>((residue + lane) % p);
  } else {
    vector.channel = residue;
    vector.wrap = static_cast<int32_t>(std::min<int64_t>(lanes, p - residue));
  }
  return vector;
}

// Shifted: neighbours, whatever their residues, ordered so that those that read alike can share a block.
// Blocked: the filters of one group only, since each group reads its own channels.
std::vector<FilterVector> make_vectors(const Plan& plan, bool shifted, int lanes) {
  std::vector<FilterVector> vectors;
  if (shifted) {
    for (int64_t filter = 0; filter < plan.filters; filter += lanes) {
      vectors.push_back(shifted_vector(filter, plan.filters, plan.p, lanes));
    }
    std::stable_sort(vectors.begin(), vectors.end(), [&](const FilterVector& a, const FilterVector& b) {
      return a.filter % plan.p < b.filter % plan.p;
    });
    return vectors;
  }
  const int64_t group = plan.filters / plan.p;
  for (int64_t first = 0; first < plan.filters; first += group) {
    for (int64_t filter = first; filter < first + group; filter += lanes) {
      FilterVector vector{};
      vector.filter = filter;
      vector.filters = static_cast<int32_t>(std::min<int64_t>(lanes, first + group - filter));
      vector.channel = first / group * (plan.channels / plan.p);
      vectors.push_back(vector);
    }
  }
  return vectors;
}

bool read_alike(const FilterVector& a, const FilterVector& b) {
  return a.channel == b.channel && std::equal(a.index, a.index + kMaxLanes, b.index);
}

// The largest blocks whose vectors read alike; where few do, mixed ones, which read a chunk once for each vector.
std::vector<Block> make_blocks(const std::vector<FilterVector>& vectors, bool permuted) {
  const int count = static_cast<int>(vectors.size());
  std::vector<Block> blocks;
  for (int first = 0; first < count;) {
    int alike = 1, size = kMaxVectors;
    while (first + alike < count && alike < kMaxVectors && read_alike(vectors[first], vectors[first + alike])) ++alike;
    const bool mixed = alike < kMaxVectors && !permuted;
    while (kernels().max_pixels[size] == 0 || size > (mixed ? count - first : alike)) --size;
    blocks.push_back({first, size, size <= alike});
    first += size;
  }
  return blocks;
}

// Puts the centre last, and counts.
void set_taps(Phase& phase, const Shape& shape, const Plan& plan, std::vector<Tap> taps) {
  const int64_t centre = shape.kernel_height * shape.kernel_width / 2;
  std::stable_partition(taps.begin(), taps.end(), [&](const Tap& tap) { return tap.index != centre; });
  phase.has_centre = !taps.empty() && taps.back().index == centre && !(plan.winograd && plan.p == 1);
  phase.taps = std::move(taps);
  phase.ring_chunks = (plan.winograd ? kPositions : phase.ring()) * (plan.channels / plan.p);
  phase.chunks = phase.ring_chunks + phase.has_centre * plan.channels;
}

void finish(Plan& plan, const Shape& shape) {
  const int lanes = kernels().lanes;
  plan.terms = kTerms;
  plan.vectors = make_vectors(plan, shape.shifted, lanes);
  plan.read = spatial_read(shape, lanes);
  plan.blocks = make_blocks(plan.vectors, plan.read == Read::permuted || plan.read == Read::wrapped);
  for (Phase& phase : plan.phases) {
    phase.packed = plan.packed_size;
    plan.packed_size += phase.chunks * static_cast<int64_t>(plan.vectors.size()) * lanes;
  }
}

}  // namespace

Plan plan_forward(const Shape& shape) {
  Plan plan{};
  plan.winograd = uses_winograd(shape);
  plan.batch = shape.batch;
  plan.channels = shape.in_channels;
  plan.filters = shape.out_channels;
  plan.p = shape.p;
  plan.shifted = shape.shifted;
  plan.in_height = shape.in_height;
  plan.in_width = shape.in_width;
  Phase phase{};
  phase.row_step = phase.column_step = 1;
  phase.rows = shape.out_height;
  phase.columns = shape.out_width;
  phase.in_row_step = shape.stride_height;
  phase.in_column_step = shape.stride_width;
  std::vector<Tap> taps;
  for (int64_t row = 0; row < shape.kernel_height; ++row) {
    for (int64_t column = 0; column < shape.kernel_width; ++column) {
      taps.push_back({static_cast<int32_t>(row * shape.dilation_height - shape.padding_height),
                      static_cast<int32_t>(column * shape.dilation_width - shape.padding_width),
                      static_cast<int32_t>(row * shape.kernel_width + column)});
    }
  }
  set_taps(phase, shape, plan, std::move(taps));
  plan.phases.push_back(phase);
  finish(plan, shape);
  return plan;
}

Plan plan_input_grad(const Shape& shape) {
  Plan plan{};
  plan.transposed = true;
  plan.winograd = uses_winograd(shape);
  plan.batch = shape.batch;
  plan.channels = shape.out_channels;
  plan.filters = shape.in_channels;
  plan.p = shape.p;
  plan.shifted = shape.shifted;
  plan.in_height = shape.out_height;
  plan.in_width = shape.out_width;
  for (int64_t first_row = 0; first_row < std::min(shape.stride_height, shape.in_height); ++first_row) {
    for (int64_t first_column = 0; first_column < std::min(shape.stride_width, shape.in_width); ++first_column) {
      Phase phase{};
      phase.first_row = first_row;
      phase.first_column = first_column;
      phase.row_step = shape.stride_height;
      phase.column_step = shape.stride_width;
      phase.rows = (shape.in_height - first_row + shape.stride_height - 1) / shape.stride_height;
      phase.columns = (shape.in_width - first_column + shape.stride_width - 1) / shape.stride_width;
      phase.in_row_step = phase.in_column_step = 1;
      std::vector<Tap> taps;
      for (int64_t row = 0; row < shape.kernel_height; ++row) {
        for (int64_t column = 0; column < shape.kernel_width; ++column) {
          const int64_t down = first_row + shape.padding_height - row * shape.dilation_height;
          const int64_t right = first_column + shape.padding_width - column * shape.dilation_width;
          if (down % shape.stride_height != 0 || right % shape.stride_width != 0) continue;
          taps.push_back({static_cast<int32_t>(down / shape.stride_height),
                          static_cast<int32_t>(right / shape.stride_width),
                          static_cast<int32_t>(row * shape.kernel_width + column)});
        }
      }
      set_taps(phase, shape, plan, std::move(taps));
      plan.phases.push_back(phase);
    }
  }
  finish(plan, shape);
  return plan;
}

}  // namespace hetconv
