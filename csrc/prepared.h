// What a convolution needs to know of its shape. To find it out takes as long as a layer of a few pixels does, so each
// thread keeps it for the shapes that it computed last.
#pragma once

#include <optional>
#include <vector>

#include "strip.h"
#include "winograd.h"

namespace hetconv {

enum class Direction { forward, input_grad };

struct Prepared {
  Prepared(const Shape& shape, Direction direction, int threads);
  Prepared(const Prepared&) = delete;  // its parts refer to one another
  Prepared& operator=(const Prepared&) = delete;

  Plan plan;
  Strips strips;
  std::vector<Sums> sums;  // of each phase
  std::optional<WinogradRing> ring;
};

// Valid until this thread asks for another shape.
const Prepared& prepare(const Shape& shape, Direction direction, int threads);

// The convolution of what was prepared with `threads.count` threads.
void convolve(const Prepared& layer, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
              const Threads& threads);

}  // namespace hetconv
