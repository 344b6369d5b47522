// The weight gradients: output gradient times input, summed over pixels. Threads share the outputs, not the pixels, so
// that sums do not depend on their number.
#include <algorithm>
#include <vector>

#include "pack.h"
#include "parallel.h"
#include "plan.h"

namespace hetconv {
namespace {

// Pixels in one block: its input and its output gradient stay in the L2 cache.
constexpr int64_t kBlockElements = 64 * 1024;

// The part of a segment that one tile covers.
struct Item {
  int block, segment;
  int64_t chunk, chunks;
  int64_t grad;  // where it is in the packed gradient
};

std::vector<Item> make_items(const Plan& plan) {
  const Phase& phase = plan.phases[0];
  std::vector<Item> items;
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const Block& block = plan.blocks[b];
    const int most = kernels().max_pixels[block.vectors];
    int64_t grad = phase.chunks * block.vector * kernels().lanes;
    for (size_t s = 0; s < phase.segments.size(); ++s) {
      for (int64_t first = 0; first < phase.segments[s].count;) {
        int64_t chunks = std::min<int64_t>(phase.segments[s].count - first, most);
        while (kernels().grad_tile[block.vectors][chunks] == nullptr) --chunks;
        items.push_back({static_cast<int>(b), static_cast<int>(s), first, chunks, grad});
        grad += chunks * block.vectors * kernels().lanes;
        first += chunks;
      }
    }
  }
  return items;
}

// The runs of pixels in output rows [first, last), counted over all images, whose tap is inside of the input.
std::vector<PixelRun> make_runs(const Shape& shape, const Input& grad_y, const Input& x, const Segment& tap, int64_t first,
                           int64_t last) {
  const auto divide_up = [](int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; };
  const int64_t left = divide_up(-tap.column, shape.stride_width);
  const int64_t right = std::min(shape.out_width, divide_up(shape.in_width - tap.column, shape.stride_width));
  std::vector<PixelRun> runs;
  for (int64_t i = first; i < last && left < right; ++i) {
    const int64_t image = i / shape.out_height, row = i % shape.out_height;
    const int64_t in_row = row * shape.stride_height + tap.row;
    if (in_row < 0 || in_row >= shape.in_height) continue;
    for (int64_t column = left; column < right; column += kGradTerms) {
      runs.push_back({image * x.strides.batch + in_row * x.strides.row +
                          (column * shape.stride_width + tap.column) * x.strides.column,
                      image * grad_y.strides.batch + row * grad_y.strides.row + column * grad_y.strides.column,
                      std::min(kGradTerms, right - column)});
    }
  }
  return runs;
}

void run_items(const Plan& plan, const Shape& shape, const Input& grad_y, const Input& x, const std::vector<Item>& items,
               int64_t begin, int64_t end, float* packed_grad) {
  const Phase& phase = plan.phases[0];
  const int64_t rows = shape.batch * shape.out_height;
  const int64_t elements = std::max<int64_t>(1, shape.out_width) * std::max(shape.in_channels, shape.out_channels);
  const int64_t step = std::max<int64_t>(1, kBlockElements / elements);
  for (int64_t first = 0; first == 0 || first < rows; first += step) {  // no rows still give zeros
    std::vector<std::vector<PixelRun>> runs;
    for (const Segment& segment : phase.segments) {
      runs.push_back(make_runs(shape, grad_y, x, segment, first, std::min(rows, first + step)));
    }
    for (int64_t i = begin; i < end; ++i) {
      const Item& item = items[i];
      const Block& block = plan.blocks[item.block];
      const Segment& segment = phase.segments[item.segment];
      const std::vector<PixelRun>& run = runs[item.segment];
      GradTile tile{x.data + segment.channel + item.chunk * segment.step,
                    grad_y.data,
                    x.strides.column * shape.stride_width,
                    grad_y.strides.column,
                    run.data(),
                    static_cast<int64_t>(run.size()),
                    segment.spatial ? plan.read : Read::broadcast,
                    segment.spatial,
                    block.shared,
                    segment.step,
                    &plan.vectors[block.vector],
                    plan.p,
                    packed_grad + item.grad,
                    first == 0};
      kernels().grad_tile[block.vectors][item.chunks](tile);
    }
  }
}

}  // namespace

void weight_grad(const Shape& shape, const Input& grad_y, const Input& x, float* packed_grad, float* grad_spatial,
                 float* grad_pointwise, const Threads& threads) {
  const Plan plan = plan_forward(shape);
  const std::vector<Item> items = make_items(plan);
  parallel(threads, static_cast<int64_t>(items.size()), [&](int64_t begin, int64_t end) {
    run_items(plan, shape, grad_y, x, items, begin, end, packed_grad);
  });
  unpack(plan, shape, packed_grad, grad_spatial, grad_pointwise, threads);
}

}  // namespace hetconv
