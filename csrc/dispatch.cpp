// Which instruction set the kernels run on: the best the processor has, unless one is chosen.
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstring>

#include "bfloat16/kernels.h"
#include "int8/kernels.h"
#include "kernels.h"

namespace hetconv {
namespace {

// Sets that differ in their products of 8 bits or bfloat16 only share the float32 kernels.
struct Candidate {
  const char* name;
  const Kernels* kernels;
  const Int8Kernels* int8;
  const Bfloat16Kernels* bfloat16 = nullptr;
};

const Candidate candidates[] = {
#if defined(__aarch64__)
    {"neon_i8mm", &kernels_neon, &int8_kernels_neon_i8mm},
    {"neon_dotprod", &kernels_neon, &int8_kernels_neon_dotprod},
    {"neon", &kernels_neon, &int8_kernels_neon},
#elif defined(__x86_64__)
    {"avx512_amx", &kernels_avx512, &int8_kernels_avx512_amx, &bfloat16_kernels_avx512_amx},
    {"avx512_vnni", &kernels_avx512, &int8_kernels_avx512_vnni},
    {"avx512", &kernels_avx512, &int8_kernels_avx512},
    {"avx2_vnni", &kernels_avx2, &int8_kernels_avx2_vnni},
    {"avx2", &kernels_avx2, &int8_kernels_avx2},
#endif
    {"portable", &kernels_portable, &int8_kernels_portable},
};

#if defined(__x86_64__)
// Linux gives a process the AMX registers when it asks for them, once; other systems are not asked.
bool amx_permitted() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25, kBfloat16 = 1u << 22, kAll = kTile | kInt8 | kBfloat16;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kAll) != kAll) return false;
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

#if defined(__aarch64__)
// Linux tells a process what the processor has; other systems are not asked, and have NEON, as every one has.
bool has_dotprod() {
#if defined(__linux__)
  constexpr unsigned long kDotprod = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotprod) != 0;
#else
  return false;
#endif
}

bool has_i8mm() {
#if defined(__linux__)
  constexpr unsigned long kI8mm = 1ul << 13;  // HWCAP2_I8MM
  return (getauxval(AT_HWCAP2) & kI8mm) != 0;
#else
  return false;
#endif
}
#endif

bool supports(const Candidate& candidate) {
#if defined(__aarch64__)
  if (candidate.int8 == &int8_kernels_neon_i8mm) return has_i8mm();
  if (candidate.int8 == &int8_kernels_neon_dotprod) return has_dotprod();
  if (candidate.kernels == &kernels_neon) return true;
#elif defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (candidate.int8 == &int8_kernels_avx512_amx) {
    return avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512bf16") && amx_permitted();
  }
  if (candidate.int8 == &int8_kernels_avx512_vnni) return avx512 && __builtin_cpu_supports("avx512vnni");
  if (candidate.int8 == &int8_kernels_avx512) return avx512;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (candidate.int8 == &int8_kernels_avx2_vnni) return avx2 && __builtin_cpu_supports("avxvnni");
  if (candidate.int8 == &int8_kernels_avx2) return avx2;
#endif
  return candidate.kernels == &kernels_portable;
}

const Candidate* best_or_named(const char* name) {
  for (const Candidate& candidate : candidates) {
    if ((name == nullptr || std::strcmp(name, candidate.name) == 0) && supports(candidate)) return &candidate;
  }
  return nullptr;
}

std::atomic<const Candidate*>& chosen() {
  static std::atomic<const Candidate*> candidate{best_or_named(nullptr)};
  return candidate;
}

const Candidate& current() { return *chosen().load(std::memory_order_relaxed); }

}  // namespace

const Kernels& kernels() { return *current().kernels; }

const Int8Kernels& int8_kernels() { return *current().int8; }

const Bfloat16Kernels* bfloat16_kernels() { return current().bfloat16; }

const char* instruction_set() { return current().name; }

int64_t multiply_adds(int64_t rounds) { return kernels().multiply_adds(rounds); }

int64_t int8_multiply_adds(int64_t rounds) { return int8_kernels().multiply_adds(rounds); }

bool choose_instruction_set(const char* name) {
  const Candidate* const named = best_or_named(name);
  if (named != nullptr) chosen().store(named, std::memory_order_relaxed);
  return named != nullptr;
}

}  // namespace hetconv
