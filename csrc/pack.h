// Natural weights to packed ones, in the order the tiles consume them, and gradients back.
// Packed: for each phase, block, segment, chunk, filter vector of the block: one vector of weights.
#pragma once

#include "plan.h"

namespace hetconv {

void pack(const Plan& plan, const Shape& shape, const Weights& weights, float* packed, const Threads& threads);
void unpack(const Plan& plan, const Shape& shape, const float* packed, float* spatial, float* pointwise,
            const Threads& threads);

}  // namespace hetconv
