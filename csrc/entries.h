// What Python calls through ctypes (src/hetconv/ops/native.py). Any integers may come: what is refused returns a
// negative number, and hetconv_error() says why in one line. Pointers are trusted. network/api.h has more of them.
#pragma once

#include <cstdint>
#include <functional>

#include "het_conv.h"

namespace hetconv {

Threads process_threads();  // of whoever links these entries

// Runs `body`, and keeps the text of what it throws for hetconv_error. False if it threw.
bool without_exceptions(const std::function<void()>& body);

}  // namespace hetconv

#define HETCONV_ENTRY __attribute__((visibility("default")))

extern "C" {

// Of this thread's last call that was refused.
HETCONV_ENTRY const char* hetconv_error();

HETCONV_ENTRY const char* hetconv_instruction_set();
HETCONV_ENTRY int hetconv_choose_instruction_set(const char* name);
HETCONV_ENTRY void hetconv_allow_winograd(int allow);
HETCONV_ENTRY uint64_t hetconv_fingerprint(const void* data, int64_t bytes);
HETCONV_ENTRY int64_t hetconv_multiply_adds(int64_t rounds);
HETCONV_ENTRY int64_t hetconv_int8_multiply_adds(int64_t rounds);

// layer: in_channels, out_channels, p, kernel height, kernel width, shifted; then stride, padding and dilation (2
// numbers each), batch, height and width. Returns the algorithm.
HETCONV_ENTRY int hetconv_choose_algorithm(const int64_t* layer);

// layer: in_channels, out_channels, p, kernel height, kernel width, shifted. With how many weights there are. Returns
// how many elements they have, packed; a null `packed` asks for no more.
HETCONV_ENTRY int64_t hetconv_pack(const int64_t* layer, int algorithm, const float* spatial, int64_t spatial_count,
                                   const float* pointwise, int64_t pointwise_count, float* packed);

// Refused, and nothing is written, if the weights were packed for another layer or instruction set.
HETCONV_ENTRY int hetconv_unpack(const int64_t* layer, const float* packed, int64_t elements, float* spatial,
                                 int64_t spatial_count, float* pointwise, int64_t pointwise_count);

// The same of 8 bits; sizes are bytes.
HETCONV_ENTRY int64_t hetconv_pack_int8(const int64_t* layer, const int8_t* spatial, int64_t spatial_count,
                                        const int8_t* pointwise, int64_t pointwise_count, char* packed);
HETCONV_ENTRY int hetconv_unpack_int8(const int64_t* layer, const char* packed, int64_t bytes, int8_t* spatial,
                                      int64_t spatial_count, int8_t* pointwise, int64_t pointwise_count);
}
