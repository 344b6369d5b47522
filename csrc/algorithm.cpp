// Which algorithm is faster for a layer and its images: an estimate, fitted to measurements of both.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "bfloat16/amx.h"
#include "winograd.h"

namespace hetconv {
namespace {

std::atomic<bool>& allowed() {
  static std::atomic<bool> winograd{true};
  return winograd;
}

// Costs are in multiply-adds for each output of a filter: what the loops do at the speed that they reach, what is spent
// outside of them, and what weights take to be read.

// Weights come from the L3 cache or from memory where a network has more layers than one.
double reading_cost(double weights, double outputs) { return 10 * weights / outputs; }

double direct_cost(double channels, double p, double outputs) {
  return channels * (1 + 8 / p) / 0.93 + 20 + reading_cost(channels * (1 + 8 / p), outputs);
}

double winograd_cost(const Shape& shape, double channels, double filters, double height, double width) {
  const double squares_of_map = std::ceil(height / kSquare) * std::ceil(width / kSquare);
  const double padded = squares_of_map * kSquare * kSquare / (height * width);
  const double p = static_cast<double>(shape.p), batch = static_cast<double>(shape.batch);
  const double squares = std::min<double>(squares_of_map * batch, kMostSquares);
  const double tiles = 6 * std::ceil(squares / 6) / squares;  // they are of 6 squares
  const double centre = shape.p > 1 ? channels / 0.85 + 40 : 40;
  const double weights = channels * (kPositions / p + (shape.p > 1));
  return centre + padded * (channels * 2.25 / p / 0.9 * tiles + 30 + 14 * channels / filters) +
         reading_cost(weights, batch * height * width);
}

// What packing takes longer with Winograd.
double packing_cost(double channels, double p, double outputs) { return 800 * channels / p / outputs; }

}  // namespace

void allow_winograd(bool allow) { allowed().store(allow, std::memory_order_relaxed); }

Algorithm choose_algorithm(Shape shape, bool input_grad, bool packing, Type type) {
  const Direction direction = input_grad ? Direction::input_grad : Direction::forward;
  if (type == Type::bfloat16 && packing && uses_amx(shape, direction)) return Algorithm::amx;
  shape.algorithm = Algorithm::winograd;
  const int64_t rows = input_grad ? shape.in_height : shape.out_height,
                columns = input_grad ? shape.in_width : shape.out_width;
  if (!allowed().load(std::memory_order_relaxed) || !uses_winograd(shape) || shape.batch * rows * columns == 0) {
    return Algorithm::direct;
  }
  const double channels = static_cast<double>(input_grad ? shape.out_channels : shape.in_channels);
  const double filters = static_cast<double>(input_grad ? shape.in_channels : shape.out_channels);
  const double height = static_cast<double>(rows), width = static_cast<double>(columns),
               p = static_cast<double>(shape.p);
  const double outputs = height * width * static_cast<double>(shape.batch);
  double cost = winograd_cost(shape, channels, filters, height, width);
  if (packing) cost += packing_cost(channels, p, outputs);
  return cost < direct_cost(channels, p, outputs) ? Algorithm::winograd : Algorithm::direct;
}

}  // namespace hetconv
