// Images of another size, of u8 and of float32: each pixel that of the nearest place, or a mean of the four around it.
//
// Places are computed in float32 as PyTorch computes them. Bilinear u8 is the nearest integer, halves to even.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// One line of the output: (1 − share) of one line of the input, and `share` of another.
struct Blend {
  int64_t first, second;
  float share;
};

// Of an axis. `scale` is 0 where the sizes say it. PyTorch copies an axis that keeps its size, but for nearest-exact,
// and doubles the nearest of one that becomes twice as long, whatever the scale.
std::vector<Blend> blends_of(Sampling sampling, int64_t from, int64_t to, float scale) {
  const bool corners = sampling == Sampling::bilinear_corners;
  const bool by_scale = scale > 0 && !corners && !(sampling == Sampling::nearest && to == 2 * from);
  const float ratio = by_scale   ? static_cast<float>(1.0 / static_cast<double>(scale))
                      : !corners ? static_cast<float>(from) / static_cast<float>(to)
                      : to > 1   ? static_cast<float>(from - 1) / static_cast<float>(to - 1)
                                 : 0.0f;
  std::vector<Blend> blends;
  for (int64_t i = 0; i < to; ++i) {
    const float at = static_cast<float>(i), middle = at + 0.5f;
    const float place = sampling == Sampling::nearest_exact ? middle * ratio
                        : from == to                        ? at
                        : sampling == Sampling::nearest     ? at * ratio
                        : corners                           ? at * ratio
                                                            : std::max(middle * ratio - 0.5f, 0.0f);
    const int64_t first = std::min(static_cast<int64_t>(std::min(std::floor(place), 2147483648.0f)), from - 1);
    const float share = std::min(place - static_cast<float>(first), 1.0f);
    const bool blended = sampling == Sampling::bilinear || corners;
    blends.push_back({first, std::min(first + 1, from - 1), blended ? share : 0.0f});
  }
  return blends;
}

// Four pixels, and the share of each.
struct Square {
  const uint8_t* pixels[4];
  float shares[4];
};

void mix(const Square& square, float* y, int64_t count) {
  const auto pixel = [&](int i) { return reinterpret_cast<const float*>(square.pixels[i]); };
  const float *const a = pixel(0), *const b = pixel(1), *const c = pixel(2), *const d = pixel(3);
  const float p = square.shares[0], q = square.shares[1], r = square.shares[2], s = square.shares[3];
  for (int64_t i = 0; i < count; ++i) y[i] = (a[i] * p + b[i] * q) + (c[i] * r + d[i] * s);
}

// Rounded by adding and taking away 1.5 · 2^23.
void mix(const Square& square, uint8_t* y, int64_t count) {
  const uint8_t *const a = square.pixels[0], *const b = square.pixels[1], *const c = square.pixels[2],
                       *const d = square.pixels[3];
  const float p = square.shares[0], q = square.shares[1], r = square.shares[2], s = square.shares[3];
  const auto real = [](uint8_t byte) { return static_cast<float>(byte); };
  const float magic = 12582912.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float sum = (real(a[i]) * p + real(b[i]) * q) + (real(c[i]) * r + real(d[i]) * s);
    y[i] = static_cast<uint8_t>(static_cast<int32_t>((sum + magic) - magic));
  }
}

class Resize : public Step {
 public:
  explicit Resize(const Resizing& resizing) : resizing_(resizing) {
    check_step(resizing.height >= 0 && resizing.width >= 0, "images are resized to less than nothing");
    for (const float scale : {resizing.scale_height, resizing.scale_width}) {
      check_step(scale >= 0 && scale <= 65536.0f, "images are resized by a scale that is no number up to 65,536");
    }
  }
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs.size() <= 2, "images are resized to the size of one other value");
    const Value& x = inputs[0];
    if (inputs.size() == 2) return x.of_size(x.channels, inputs[1].height, inputs[1].width);
    return x.of_size(x.channels, size_of(x.height, resizing_.height, resizing_.scale_height),
                     size_of(x.width, resizing_.width, resizing_.scale_width));
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    const bool by_scale = inputs.size() == 1;
    const auto blends = [&](int64_t from, int64_t to, int64_t size, float scale) {
      return blends_of(resizing_.sampling, from, to, by_scale && size == 0 ? scale : 0.0f);
    };
    return [=, nearest = resizing_.sampling <= Sampling::nearest_exact,
            rows = blends(x.height, y.height, resizing_.height, resizing_.scale_height),
            columns = blends(x.width, y.width, resizing_.width, resizing_.scale_width)](const void* const* in,
                                                                                        void* out, const Threads& all) {
      const int64_t bytes = x.pixel_bytes(), line = y.width * bytes;
      parallel_where_it_pays(all, batch * y.height, line * (nearest ? 2 : 8), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const Blend& row = rows[static_cast<size_t>(i % y.height)];
          const auto* const image = static_cast<const uint8_t*>(in[0]) + i / y.height * x.height * x.width * bytes;
          uint8_t* to = static_cast<uint8_t*>(out) + i * line;
          for (const Blend& column : columns) {
            const auto at = [&](int64_t r, int64_t c) { return image + (r * x.width + c) * bytes; };
            if (nearest) {
              std::memcpy(to, at(row.first, column.first), static_cast<size_t>(bytes));
            } else {
              const float below = row.share, right = column.share, above = 1 - below, left = 1 - right;
              const Square square{{at(row.first, column.first), at(row.first, column.second),
                                   at(row.second, column.first), at(row.second, column.second)},
                                  {above * left, above * right, below * left, below * right}};
              y.type == Int8Output::uint8 ? mix(square, to, y.pixel)
                                          : mix(square, reinterpret_cast<float*>(to), y.pixel);
            }
            to += bytes;
          }
        }
      });
    };
  }

 private:
  static int64_t size_of(int64_t from, int64_t size, float scale) {
    const double scaled = static_cast<double>(from) * static_cast<double>(scale);
    check_step(size <= INT32_MAX && scaled <= INT32_MAX, "images are resized to too many pixels");
    return size > 0 ? size : static_cast<int64_t>(scaled);
  }

  Resizing resizing_;
};

}  // namespace

std::unique_ptr<Step> resize_step(const Resizing& resizing) { return std::make_unique<Resize>(resizing); }

}  // namespace hetconv
