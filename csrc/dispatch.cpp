// Which instruction set the kernels run on: the best the processor has, unless one is chosen.
#include <atomic>
#include <cstring>

#include "kernels.h"

namespace hetconv {
namespace {

struct Candidate {
  const Kernels* kernels;
  bool supported;
};

const Kernels* best_or_named(const char* name) {
  const Candidate candidates[] = {
#if defined(__x86_64__)
      {&kernels_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")},
      {&kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {&kernels_portable, true},
  };
  for (const Candidate& candidate : candidates) {
    if (candidate.supported && (name == nullptr || std::strcmp(name, candidate.kernels->name) == 0)) {
      return candidate.kernels;
    }
  }
  return nullptr;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{best_or_named(nullptr)};
  return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

const char* instruction_set() { return kernels().name; }

int64_t multiply_adds(int64_t rounds) { return kernels().multiply_adds(rounds); }

bool choose_instruction_set(const char* name) {
  const Kernels* const named = best_or_named(name);
  if (named != nullptr) chosen().store(named, std::memory_order_relaxed);
  return named != nullptr;
}

}  // namespace hetconv
