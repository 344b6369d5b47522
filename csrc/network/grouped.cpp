// Standard convolutions as steps whatever their groups and the size of their kernel, in float32: depthwise ones on a
// kernel of their own, all others on HetConv's of P = 1, group by group.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "../checked.h"
#include "../parallel.h"
#include "../prepared.h"
#include "aligned.h"
#include "steps.h"

namespace hetconv {
namespace {

class Grouped : public Step {
 public:
  explicit Grouped(const GroupedLayer& layer) : layer_(layer), bias_(layer.bias, layer.bias + layer.out_channels) {
    layer_.weights = nullptr, layer_.bias = nullptr;
  }
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_step(x.channels == layer_.in_channels && x.type == Int8Output::float32,
               "a grouped convolution is given other channels");
    const Value made =
        float_value(layer_.out_channels, layer_.window.out_height(x.height), layer_.window.out_width(x.width));
    if (layer_.residual) {
      check_step(inputs.size() == 2, "a residual is missing");
      check_residual(inputs[1], made);
    }
    return made;
  }

 protected:
  const float* residual(const void* const* in) const {
    return layer_.residual ? static_cast<const float*>(in[1]) : nullptr;
  }

  GroupedLayer layer_;
  std::vector<float> bias_;
};

class DepthwiseStep : public Grouped {
 public:
  explicit DepthwiseStep(const GroupedLayer& layer) : Grouped(layer) {
    const int64_t channels = layer.out_channels, taps = layer.window.kernel_height * layer.window.kernel_width;
    weights_.resize(static_cast<size_t>(channels * taps));
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) weights_[tap * channels + c] = layer.weights[c * taps + tap];
    }
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    const int64_t line = y.width * y.pixel * layer_.window.kernel_height * layer_.window.kernel_width * 4;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height, line, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const float* const image = static_cast<const float*>(in[0]) + i / y.height * x.height * x.width * x.pixel;
          run_row(x, y, image, residual(in), static_cast<float*>(out), i);
        }
      });
    };
  }
  int64_t bytes() const override { return static_cast<int64_t>(weights_.size()) * 4; }

 private:
  void run_row(const Value& x, const Value& y, const float* image, const float* added, float* out, int64_t line) const {
    const Window& w = layer_.window;
    const int64_t top = line % y.height * w.stride_height - w.padding_height;
    const Range rows = taps_inside(top, x.height, w.kernel_height, w.dilation_height);
    const int64_t reach = (w.kernel_width - 1) * w.dilation_width;
    // Outputs whose taps are all inside the image are computed together, those at its sides one by one.
    const int64_t whole_begin = std::min(y.width, divide_up(w.padding_width, w.stride_width));
    const int64_t last = x.width + w.padding_width - reach;  // the first place that is too far right
    const int64_t whole_end = std::clamp(divide_up(last, w.stride_width), whole_begin, y.width);
    for (int64_t column = 0; column < y.width;) {
      const bool whole = column >= whole_begin && column < whole_end;
      const int64_t left = column * w.stride_width - w.padding_width, count = whole ? whole_end - column : 1;
      const Range taps = taps_inside(left, x.width, w.kernel_width, w.dilation_width);
      const int64_t to = (line * y.width + column) * y.pixel;
      const int64_t row = top + rows.begin * w.dilation_height, at = left + taps.begin * w.dilation_width;
      const bool any = rows.begin < rows.end && taps.begin < taps.end;  // else the pointer is not read
      kernels().depthwise({any ? image + (row * x.width + at) * x.pixel : image, w.dilation_height * x.width * x.pixel,
                           w.dilation_width * x.pixel, w.stride_width * x.pixel, rows.end - rows.begin,
                           taps.end - taps.begin,
                           weights_.data() + (any ? rows.begin * w.kernel_width + taps.begin : 0) * x.channels,
                           w.kernel_width * x.channels, x.channels, count, bias_.data(),
                           added == nullptr ? nullptr : added + to, layer_.activation, out + to});
      column += count;
    }
  }

  std::vector<float> weights_;  // (Kh, Kw, M)
};

// Kernels of even size are odd ones with zeros before, and neighbouring groups whose filters fill one vector together
// are one with zeros between: an input that is infinite spoils what the zeros meet.
class GroupByGroup : public Grouped {
 public:
  explicit GroupByGroup(const GroupedLayer& layer)
      : Grouped(layer), joined_(joined(layer)), groups_(layer.groups / joined_), shape_(shape_of(layer, joined_)) {
    const int64_t in = shape_.in_channels / joined_, out = shape_.out_channels / joined_;
    const Window& w = layer.window;
    const int64_t kernel_row = shape_.kernel_width, kernel = shape_.kernel_height * kernel_row;
    const int64_t first = (shape_.kernel_height - w.kernel_height) * kernel_row + shape_.kernel_width - w.kernel_width;
    dense_.assign(static_cast<size_t>(layer.out_channels * shape_.in_channels * kernel), 0.0f);
    for (int64_t n = 0; n < layer.out_channels; ++n) {
      for (int64_t m = 0; m < in; ++m) {
        float* const to = dense_.data() + (n * shape_.in_channels + n / out % joined_ * in + m) * kernel + first;
        const float* const from = layer.weights + (n * in + m) * w.kernel_height * w.kernel_width;
        for (int64_t i = 0; i < w.kernel_height; ++i) {
          std::copy_n(from + i * w.kernel_width, w.kernel_width, to + i * kernel_row);
        }
      }
    }
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int threads) const override {
    const Value x = inputs[0], y = output;
    Shape shape = shape_;
    set_images(shape, batch, x.height, x.width);
    check_step(shape.out_height >= y.height && shape.out_width >= y.width,
               "a convolution's last window begins outside");
    shape.out_height = y.height, shape.out_width = y.width;
    const auto packed = weights_of(shape);
    const bool alone = groups_ > 1;  // then each group is one thread's
    const auto prepared = std::make_shared<Prepared>(shape, Direction::forward, alone ? 1 : threads);
    const Strides in{x.height * x.width * x.pixel, x.width * x.pixel, x.pixel};
    const Strides out{y.height * y.width * y.pixel, y.width * y.pixel, y.pixel};
    const int64_t filters = shape.out_channels, channels = shape.in_channels, each = packed_size(shape);
    return [=, this](const void* const* given, void* to, const Threads& all) {
      const float* const added = residual(given);
      const auto run = [&](int64_t group, const Threads& threads_of_group) {
        const Epilogue epilogue{bias_.data() + group * filters, added == nullptr ? nullptr : added + group * filters,
                                layer_.activation};
        convolve(*prepared, {static_cast<const float*>(given[0]) + group * channels, in},
                 reinterpret_cast<const float*>(packed->data()) + group * each, epilogue,
                 {static_cast<float*>(to) + group * filters, out}, threads_of_group);
      };
      if (!alone) return run(0, all);
      parallel_where_it_pays(all, groups_, multiply_adds_of(shape) / 16, [&](int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) run(group, {1, nullptr});
      });
    };
  }
  int64_t bytes() const override { return static_cast<int64_t>(dense_.size()) * 4; }

 private:
  static int64_t joined(const GroupedLayer& layer) {
    const int64_t filters = layer.out_channels / layer.groups;
    int64_t best = 1;
    for (int64_t count = 2; count <= layer.groups && count * filters <= kMaxLanes; ++count) {
      if (layer.groups % count == 0) best = count;
    }
    return best;
  }

  static Shape shape_of(const GroupedLayer& layer, int64_t joined) {
    const Window& w = layer.window;
    const int64_t even_rows = w.kernel_height % 2 == 0, even_columns = w.kernel_width % 2 == 0;
    return checked({.in_channels = layer.in_channels / layer.groups * joined,
                    .out_channels = layer.out_channels / layer.groups * joined,
                    .p = 1,
                    .kernel = {w.kernel_height + even_rows, w.kernel_width + even_columns},
                    .stride = {w.stride_height, w.stride_width},
                    .padding = {w.padding_height + even_rows * w.dilation_height,
                                w.padding_width + even_columns * w.dilation_width},
                    .dilation = {w.dilation_height, w.dilation_width}});
  }

  std::shared_ptr<const Aligned> weights_of(Shape& shape) const {
    shape.algorithm = choose_algorithm(shape, false, false);
    return packed_.of(shape.algorithm, [&] {
      const int64_t each = packed_size(shape);
      auto made = std::make_shared<Aligned>(each * groups_ * 4);
      const int64_t dense = static_cast<int64_t>(dense_.size()) / groups_;
      for (int64_t group = 0; group < groups_; ++group) {
        pack(shape, {dense_.data() + group * dense, nullptr}, reinterpret_cast<float*>(made->data()) + group * each,
             {1, nullptr});
      }
      return made;
    });
  }

  int64_t joined_, groups_;
  Shape shape_;
  std::vector<float> dense_;
  PackedByAlgorithm packed_;
};

}  // namespace

std::unique_ptr<Step> grouped_convolution_step(const GroupedLayer& layer) {
  check_step(layer.groups >= 1 && layer.in_channels >= 1 && layer.out_channels >= 1 &&
                 layer.in_channels % layer.groups == 0 && layer.out_channels % layer.groups == 0,
             "groups must divide a convolution's channels");
  check_elements(
      {layer.out_channels, layer.in_channels / layer.groups, layer.window.kernel_height, layer.window.kernel_width});
  if (layer.groups == layer.in_channels && layer.groups == layer.out_channels) {
    return std::make_unique<DepthwiseStep>(layer);
  }
  return std::make_unique<GroupByGroup>(layer);
}

}  // namespace hetconv
