// Packed weights of 8 bits as Python holds them: a header of one cache line, which says for which layer and instruction
// set they are; the largest sum, in its size, that each filter can come to; then what the kernels read. Shapes are
// checked ones, of layers as they are.
#pragma once

#include "int8.h"

namespace hetconv {

int64_t int8_packed_weights_size(const Shape& layer);  // bytes
void pack_int8_weights(const Shape& layer, const int8_t* spatial, const int8_t* pointwise, char* packed);

// Whether this is what pack_int8_weights gives for the layer.
bool is_packed_int8_for(const Shape& layer, const char* packed, int64_t bytes);

// Of a layer that they are packed for.
void unpack_int8_weights(const Shape& layer, const char* packed, int8_t* spatial, int8_t* pointwise);
int64_t int8_largest_sum(const char* packed, int64_t filter);
const char* int8_weights_of_kernels(const Shape& layer, const char* packed);

}  // namespace hetconv
