// Which algorithm is faster for a layer and its images: an estimate, fitted to measurements of both.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "winograd.h"

namespace hetconv {
namespace {

std::atomic<bool>& allowed() {
  static std::atomic<bool> winograd{true};
  return winograd;
}

// In multiply-adds for each output: what the loops do at the speed that they reach, and what is spent outside of them.
double direct_cost(double channels, double p) { return channels * (1 + 8 / p) / 0.93 + 20; }

double winograd_cost(const Shape& shape, double channels, double filters, double height, double width) {
  const double squares_of_map = std::ceil(height / kSquare) * std::ceil(width / kSquare);
  const double padded = squares_of_map * kSquare * kSquare / (height * width);
  const double p = static_cast<double>(shape.p);
  const double squares = std::min<double>(squares_of_map * static_cast<double>(shape.batch), kMostSquares);
  // tiles are of 6 squares, and weights are read from the L3 cache at the speed of 8
  const double tiles = std::max(8.0, 6 * std::ceil(squares / 6)) / squares;
  const double centre = shape.p > 1 ? channels / 0.85 + 40 : 40;
  return centre + padded * (channels * 2.25 / p / 0.9 * tiles + 30 + 14 * channels / filters);
}

// What packing takes longer with Winograd.
double packing_cost(double channels, double p, double outputs) { return 800 * channels / p / outputs; }

}  // namespace

void allow_winograd(bool allow) { allowed().store(allow, std::memory_order_relaxed); }

Algorithm choose_algorithm(Shape shape, bool input_grad, bool packing) {
  shape.algorithm = Algorithm::winograd;
  const int64_t rows = input_grad ? shape.in_height : shape.out_height, columns = input_grad ? shape.in_width : shape.out_width;
  if (!allowed().load(std::memory_order_relaxed) || !uses_winograd(shape) || shape.batch * rows * columns == 0) {
    return Algorithm::direct;
  }
  const double channels = static_cast<double>(input_grad ? shape.out_channels : shape.in_channels);
  const double filters = static_cast<double>(input_grad ? shape.in_channels : shape.out_channels);
  const double height = static_cast<double>(rows), width = static_cast<double>(columns), p = static_cast<double>(shape.p);
  double cost = winograd_cost(shape, channels, filters, height, width);
  if (packing) cost += packing_cost(channels, p, height * width * static_cast<double>(shape.batch));
  return cost < direct_cost(channels, p) ? Algorithm::winograd : Algorithm::direct;
}

}  // namespace hetconv
