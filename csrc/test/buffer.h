// Memory of exactly so many elements, so that AddressSanitizer sees each access outside of it; aligned to 64 bytes, as
// torch's is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

struct Buffer {
  float* data;
  int64_t size;
  Buffer(int64_t size, float value) : data(nullptr), size(size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, static_cast<size_t>(size > 0 ? size : 1) * sizeof(float)) != 0) std::abort();
    data = static_cast<float*>(memory);
    std::fill(data, data + size, value);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data); }
};
