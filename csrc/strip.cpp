#include "strip.h"

#include <algorithm>
#include <numeric>

#include "winograd.h"

namespace hetconv {
namespace {

// Elements of a strip: it stays in the L2 cache while the blocks' weights pass by. Where that is few pixels, for which
// many weights pass by, a larger one is better.
constexpr int64_t kStripElements = 32 * 1024;
constexpr int64_t kMostStripElements = 96 * 1024;
constexpr int64_t kFewPixels = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t unit) { return divide_up(a, unit) * unit; }

// `line` and `positions` say where a tap is and how many positions a phase has along the axis.
Axis make_axis(const Plan& plan, int64_t stride, int64_t in_size, int32_t Tap::* line, int64_t Phase::* positions) {
  int64_t least = 0, most = 0, apart = 0, largest = 0;
  bool any = false;
  for (const Phase& phase : plan.phases) {
    largest = std::max(largest, phase.*positions);
    for (const Tap& tap : phase.taps) {
      const int64_t at = tap.*line;
      if (any) apart = std::gcd(apart, at - least);
      least = any ? std::min(least, at) : at;
      most = any ? std::max(most, at) : at;
      any = true;
    }
  }
  if (apart == 0) apart = stride;  // one tap: lines between those that are read need no place
  const int64_t apart_classes = apart / std::gcd(apart, stride);
  const int64_t step = stride * apart_classes / apart, span = (most - least) / apart;
  const int64_t classes = std::min(apart_classes, std::max<int64_t>(1, largest));  // others have no position
  const int64_t whole = round_up(divide_up(largest, classes), plan.winograd ? kSquare : 1);
  return {classes, whole, step, span, in_size, apart, stride, least};
}

const char* bytes(const Input& input, int64_t element) {
  return static_cast<const char*>(input.data) + element * (input.type == Type::bfloat16 ? 2 : 4);
}

}  // namespace

Strips::Strips(const Plan& plan, int threads, int64_t size)
    : plan_(plan),
      row_(make_axis(plan, plan.phases[0].in_row_step, plan.in_height, &Tap::row, &Phase::rows)),
      column_(make_axis(plan, plan.phases[0].in_column_step, plan.in_width, &Tap::column, &Phase::columns)),
      size_(size),
      unit_(plan.winograd ? kSquare : 1),
      maps_(plan.batch * row_.classes * column_.classes) {
  choose_extent(threads);
  height_ = row_.lines(extent_.rows);
  width_ = column_.lines(extent_.columns);
  // an odd number of cache lines
  parts_ = plan.read == Read::contiguous ? plan.p / kernels().lanes : 1;
  pixel_ = plan.channels % kMaxLanes == 0 ? (plan.channels / kMaxLanes | 1) * kMaxLanes : plan.channels;
}

void Strips::choose_extent(int threads) {
  extent_ = {1, row_.positions, column_.positions};
  const auto size = [&] { return row_.lines(extent_.rows) * column_.lines(extent_.columns) * plan_.channels; };
  const auto fits = [&] {
    if (plan_.winograd) return places() <= most_squares(plan_) * kSquare * kSquare;
    const bool few = extent_.rows * extent_.columns <= kFewPixels;
    return size() <= size_ * (few ? kMostStripElements : kStripElements);
  };
  if (fits()) {
    const int64_t few = divide_up(kFewPixels, extent_.rows * extent_.columns);
    extent_.maps = plan_.winograd
                       ? most_squares(plan_) * kSquare * kSquare / places()
                       : std::max(size_ * kStripElements / size(), std::min(few, size_ * kMostStripElements / size()));
    extent_.maps = std::clamp<int64_t>(extent_.maps, 1, maps_);
  }
  const auto half = [&](int64_t part, int64_t unit) { return round_up(divide_up(part, 2), unit); };
  while (!fits() && extent_.rows > unit_) extent_.rows -= unit_;
  while (!fits() && extent_.columns > unit_) extent_.columns = half(extent_.columns, unit_);
  for (bool more = extent_.columns < column_.positions; more && extent_.rows < row_.positions;) {  // lower, so taller
    extent_.rows += unit_;
    more = fits();
    if (!more) extent_.rows -= unit_;
  }
  const auto even = [](int64_t part, int64_t whole, int64_t unit) {
    return round_up(divide_up(whole, divide_up(whole, part)), unit);
  };
  extent_.maps = even(extent_.maps, maps_, 1);
  extent_.rows = even(extent_.rows, row_.positions, unit_);
  const auto items = [&] {
    counts_ = {divide_up(maps_, extent_.maps), divide_up(row_.positions, extent_.rows),
               divide_up(column_.positions, extent_.columns)};
    return count() * static_cast<int64_t>(plan_.blocks.size());
  };
  while (items() % threads != 0 && items() < 8 * threads && extent_.maps * extent_.rows > unit_) {
    if (extent_.maps > 1) {
      extent_.maps = half(extent_.maps, 1);
    } else {
      extent_.rows = half(extent_.rows, unit_);
    }
  }
}

Strips::Extent Strips::begin(int64_t strip) const {
  return {strip / (counts_.rows * counts_.columns) * extent_.maps,
          strip / counts_.columns % counts_.rows * extent_.rows, strip % counts_.columns * extent_.columns};
}

// Filters of one vector read the same vector of every chunk: they find their channels side by side, and touch half of
// the cache lines or fewer.
int64_t Strips::place(int64_t channel) const {
  const int64_t lanes = kernels().lanes;
  if (parts_ == 1) return channel;
  const int64_t chunk = channel / plan_.p, part = channel % plan_.p / lanes;
  return (part * (plan_.channels / plan_.p) + chunk) * lanes + channel % lanes;
}

Strips::Map Strips::map(int64_t index) const {
  return {index / (row_.classes * column_.classes), index / column_.classes % row_.classes, index % column_.classes};
}

void Sums::add(int64_t at, bool spatial) {
  const auto terms = [](const Sum& sum) { return sum.spatial + sum.pointwise; };
  if (partial_.empty() || terms(partial_.back()) == terms_) partial_.push_back({at_.data() + at_.size(), 0, 0});
  at_.push_back(static_cast<int32_t>(at));
  ++(spatial ? partial_.back().spatial : partial_.back().pointwise);
}

int64_t Strips::tap(const Tap& tap) const {
  return (tap.row - row_.least) / row_.in_step * width_ + (tap.column - column_.least) / column_.in_step;
}

Sums Strips::sums(const Phase& phase) const {
  Sums made(phase.chunks, plan_.terms);
  std::vector<int64_t> taps;
  for (const Tap& at : phase.taps) taps.push_back(tap(at) * pixel_);
  const int64_t chunks = plan_.winograd ? 0 : plan_.channels / plan_.p, step = plan_.shifted ? plan_.p : 1;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t at = place(chunk * step);
    for (int64_t tap = 0; tap < phase.ring(); ++tap) made.add(taps[static_cast<size_t>(tap)] + at, plan_.p > 1);
  }
  for (int64_t channel = 0; phase.has_centre && channel < plan_.channels; ++channel) {
    made.add(taps.back() + place(channel), false);
  }
  return made;
}

void Strips::copy(const Input& input, int64_t strip, float* to, float padding) const {
  const Strides& in = input.strides;
  const Extent first = begin(strip);
  const int64_t maps = std::min(extent_.maps, maps_ - first.maps);
  const int64_t rows = row_.lines(std::min(extent_.rows, row_.positions - first.rows));
  const int64_t columns = column_.lines(std::min(extent_.columns, column_.positions - first.columns));
  for (int64_t m = 0; m < maps; ++m) {
    const Map at = map(first.maps + m);
    const int64_t top = row_.first_line(at.row_class, first.rows);
    const int64_t left = column_.first_line(at.column_class, first.columns);
    // columns [inside, outside) of the strip are of the image
    const auto lines = [&](int64_t distance) { return divide_up(std::max<int64_t>(0, distance), column_.in_step); };
    const int64_t inside = std::min(lines(-left), columns);
    const int64_t outside = std::clamp(lines(column_.in_size - left), inside, columns);
    for (int64_t row = 0; row < rows; ++row) {
      float* const line = to + (m * height_ + row) * width_ * pixel_;
      const int64_t y = top + row * row_.in_step;
      if (y < 0 || y >= row_.in_size || inside == outside) {
        std::fill(line, line + columns * pixel_, padding);
        continue;
      }
      std::fill(line, line + inside * pixel_, padding);
      std::fill(line + outside * pixel_, line + columns * pixel_, padding);
      const int64_t from = at.image * in.batch + y * in.row + (left + inside * column_.in_step) * in.column;
      kernels().copy(input.type, bytes(input, from), column_.in_step * in.column, line + inside * pixel_, pixel_,
                     plan_.channels / parts_, parts_, outside - inside);
    }
  }
}

Strips::Piece Strips::next(const Input& input, int64_t strip) const {
  const bool in_one_piece = counts_.columns == 1 && row_.classes * column_.classes == 1;
  if (strip + 1 >= count() || row_.in_size == 0 || !in_one_piece) return {nullptr, 0};
  const auto end_row = [&](const Extent& first) {  // counted over all images
    const int64_t last = std::min(first.maps + extent_.maps, maps_) - 1;
    const int64_t positions = std::min(first.rows + extent_.rows, row_.positions);
    const int64_t row = row_.first_line(0, positions - 1) + row_.span * row_.in_step + 1;
    return last * row_.in_size + std::clamp<int64_t>(row, 0, row_.in_size);
  };
  const int64_t from = end_row(begin(strip)), to = end_row(begin(strip + 1));
  const auto at = [&](int64_t row) {
    return row / row_.in_size * input.strides.batch + row % row_.in_size * input.strides.row;
  };
  return {bytes(input, at(from)), std::max<int64_t>(0, bytes(input, at(to)) - bytes(input, at(from)))};
}

std::vector<Pixel> Strips::pixels(int64_t strip, const Phase& phase, const Strides& out) const {
  const Extent first = begin(strip);
  const int64_t maps = std::min(extent_.maps, maps_ - first.maps);
  std::vector<Pixel> pixels;
  for (int64_t m = 0; m < maps; ++m) {
    const Map at = map(first.maps + m);
    for (int64_t row = 0; row < extent_.rows; ++row) {
      const int64_t y = at.row_class + (first.rows + row) * row_.classes;
      if (y >= phase.rows) break;
      const int64_t line = at.image * out.batch + (phase.first_row + y * phase.row_step) * out.row;
      const int64_t in = (m * height_ + row * row_.step) * width_;
      for (int64_t column = 0; column < extent_.columns; ++column) {
        const int64_t x = at.column_class + (first.columns + column) * column_.classes;
        if (x >= phase.columns) break;
        pixels.push_back({(in + column * column_.step) * pixel_,
                          line + (phase.first_column + x * phase.column_step) * out.column,
                          (m * extent_.rows + row) * extent_.columns + column});
      }
    }
  }
  return pixels;
}

std::vector<Pixel> Strips::squares(int64_t strip, const Phase& phase) const {
  std::vector<Pixel> squares = pixels(strip, phase, {0, 0, 0});
  std::erase_if(squares, [&](const Pixel& pixel) {
    return pixel.place % extent_.columns % kSquare != 0 || pixel.place / extent_.columns % extent_.rows % kSquare != 0;
  });
  return squares;
}

}  // namespace hetconv
