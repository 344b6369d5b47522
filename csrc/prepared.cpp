#include "prepared.h"

#include <array>
#include <memory>

namespace hetconv {
namespace {

constexpr size_t kKept = 64;  // more than the layers of most networks that differ; a few to a hundred KiB each

struct Key {
  Shape shape;
  Direction direction;
  int threads;
  const Kernels* kernels;

  bool operator==(const Key&) const = default;
};

struct Kept {
  Key key;
  std::unique_ptr<const Prepared> prepared;
};

}  // namespace

Prepared::Prepared(const Shape& shape, Direction direction, int threads)
    : plan(direction == Direction::forward ? plan_forward(shape) : plan_input_grad(shape)), strips(plan, threads) {
  for (const Phase& phase : plan.phases) sums.push_back(strips.sums(phase));
  if (plan.winograd) ring.emplace(plan, strips);
}

const Prepared& prepare(const Shape& shape, Direction direction, int threads) {
  static thread_local std::array<Kept, kKept> all;
  static thread_local size_t oldest = 0;
  const Key key{shape, direction, threads, &kernels()};
  for (const Kept& kept : all) {
    if (kept.prepared != nullptr && kept.key == key) return *kept.prepared;
  }
  Kept& kept = all[oldest];
  kept.prepared.reset();
  kept = {key, std::make_unique<const Prepared>(shape, direction, threads)};
  oldest = (oldest + 1) % kKept;
  return *kept.prepared;
}

}  // namespace hetconv
