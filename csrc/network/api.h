// Networks for callers that do not speak C++: a handle, steps by name, errors as text.
#pragma once

#include "network.h"

namespace hetconv {

// Runs `body`, and keeps the text of what it throws for hetconv_network_error. False if it threw.
bool without_exceptions(const std::function<void()>& body);

}  // namespace hetconv

extern "C" {

// Why the last call of this thread that failed did so.
const char* hetconv_network_error();

// Null on failure.
hetconv::Network* hetconv_network_new(int64_t in_channels);
void hetconv_network_delete(hetconv::Network* network);

// Appends a step (steps.h; what each kind's numbers, reals and arrays are is in api.cpp), and returns the number of the
// value that it makes; -1 on failure.
int64_t hetconv_network_add(hetconv::Network* network, const char* kind, const int64_t* inputs, int64_t input_count,
                            const int64_t* numbers, const float* reals, const void* const* arrays);

// The channels, height and width of the last step's output. False on failure.
int hetconv_network_result(const hetconv::Network* network, int64_t height, int64_t width, int64_t* sizes);

int64_t hetconv_network_weight_bytes(const hetconv::Network* network);
int64_t hetconv_network_arena_bytes(const hetconv::Network* network);
}
