#include "prepared.h"

#include <memory>

#include "kept.h"

namespace hetconv {
namespace {

struct Key {
  Shape shape;
  Direction direction;
  int threads;
  const Kernels* kernels;

  bool operator==(const Key&) const = default;
};

}  // namespace

Prepared::Prepared(const Shape& shape, Direction direction, int threads)
    : plan(direction == Direction::forward ? plan_forward(shape) : plan_input_grad(shape)), strips(plan, threads) {
  for (const Phase& phase : plan.phases) sums.push_back(strips.sums(phase));
  if (plan.winograd) ring.emplace(plan, strips);
}

const Prepared& prepare(const Shape& shape, Direction direction, int threads) {
  static thread_local Kept<Key, Prepared> kept;
  return kept.get({shape, direction, threads, &kernels()},
                  [&] { return std::make_unique<const Prepared>(shape, direction, threads); });
}

}  // namespace hetconv
