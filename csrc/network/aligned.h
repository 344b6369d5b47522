// Memory of a step's weights, aligned to cache lines; packed ones are made once for each algorithm that is needed.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "../het_conv.h"

namespace hetconv {

class Aligned {
 public:
  explicit Aligned(int64_t bytes) : bytes_(bytes) {
    const int64_t rounded = (bytes + 63) / 64 * 64 + 64;
    memory_.reset(static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(rounded))));
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  char* data() const { return memory_.get(); }
  int64_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
  int64_t bytes_;
};

// A network prepares its steps one at a time.
class PackedByAlgorithm {
 public:
  template <class Make>
  std::shared_ptr<const Aligned> of(Algorithm algorithm, const Make& make) const {
    std::shared_ptr<const Aligned>& kept = kept_[algorithm == Algorithm::winograd];
    if (instruction_set_ != instruction_set()) kept_[0] = kept_[1] = nullptr, instruction_set_ = instruction_set();
    if (kept == nullptr) kept = make();
    return kept;
  }

 private:
  mutable const char* instruction_set_ = nullptr;
  mutable std::shared_ptr<const Aligned> kept_[2];
};

}  // namespace hetconv
