// Networks for callers that do not speak C++: a handle, steps by name, errors as text.
#pragma once

#include "../entries.h"
#include "network.h"

extern "C" {

// Null on failure; hetconv_error() says why, of all of these.
hetconv::Network* hetconv_network_new(int64_t in_channels);
void hetconv_network_delete(hetconv::Network* network);

// Appends a step, and returns the number of the value that it makes; -1 on failure. What its numbers, reals and arrays
// are is in make_step.cpp. counts: of inputs, numbers, reals and arrays; types_and_sizes: of each array, its
// ElementType and how many elements it has. Arrays are copied, but for packed weights: these must outlive the network.
int64_t hetconv_network_add(hetconv::Network* network, const char* kind, const int64_t* counts, const int64_t* inputs,
                            const int64_t* numbers, const float* reals, const void* const* arrays,
                            const int64_t* types_and_sizes);

// The channels, height and width of the last step's output. False on failure.
int hetconv_network_result(const hetconv::Network* network, int64_t height, int64_t width, int64_t* sizes);

// numbers: batch, channels, height and width; then the strides of each, in elements. Returns 0 on failure, and 2 where
// the images hold a number that is not finite and a step of 8 bits reads them.
int hetconv_network_run(hetconv::Network* network, const int64_t* numbers, const float* x, float* y);

int64_t hetconv_network_weight_bytes(const hetconv::Network* network);
}
