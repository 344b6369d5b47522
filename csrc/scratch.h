// Memory that a thread keeps from one call to the next: fresh memory costs a page fault for each 4 KiB, which for small
// maps takes more time than everything else.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace hetconv {

class Scratch {
 public:
  // At least so many elements, aligned to 64 bytes, with any values; valid until the next call.
  float* get(int64_t elements) {
    if (elements > size_) {
      memory_.reset();
      size_ = 0;
      const int64_t rounded = (elements + 15) / 16 * 16;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(rounded) * sizeof(float))));
      if (memory_ == nullptr) throw std::bad_alloc();
      size_ = rounded;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t size_ = 0;
};

}  // namespace hetconv
