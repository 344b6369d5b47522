// Packed weights as Python holds them: a header of one cache line, which says for which instruction set and algorithm
// they are, then what the kernels read. Winograd's end with the spatial weights as the layer has them, since
// transformed ones do not tell their last bits. Shapes are checked ones.
#pragma once

#include "het_conv.h"

namespace hetconv {

constexpr int64_t kHeader = 16;

int64_t packed_weights_size(const Shape& shape);
void pack_weights(const Shape& shape, const Weights& weights, float* packed, const Threads& threads);

// Whether this is what pack_weights gives for the shape, whose algorithm is set to the one that it is packed for.
bool is_packed_for(Shape& shape, const float* packed, int64_t elements);

// Of a shape that it is packed for.
void unpack_weights(const Shape& shape, const float* packed, float* spatial, float* pointwise, const Threads& threads);

}  // namespace hetconv
