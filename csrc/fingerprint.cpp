// A number that changes with any of an array's values: what kept packed weights are compared by.
#include "het_conv.h"

#include <algorithm>
#include <cstring>

namespace hetconv {
namespace {

constexpr int kSums = 64;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HETCONV_EVERY_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HETCONV_EVERY_ISA
#endif

// sum = rotate(sum, 5) + value, in 64 columns. Rotating before adding makes the order count, and carries make signs
// count: 2^31 added an even number of times would vanish from a plain sum.
HETCONV_EVERY_ISA void mix(const float* values, int64_t rows, uint32_t* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    uint32_t bits[kSums];
    std::memcpy(bits, values + row * kSums, sizeof(bits));
    for (int i = 0; i < kSums; ++i) sums[i] = (sums[i] << 5 | sums[i] >> 27) + bits[i];
  }
}

}  // namespace

uint64_t fingerprint(const float* values, int64_t count) {
  uint32_t sums[kSums] = {};
  float rest[kSums] = {};
  const int64_t rows = count / kSums;
  mix(values, rows, sums);
  std::copy(values + rows * kSums, values + count, rest);
  mix(rest, 1, sums);
  uint64_t all = static_cast<uint64_t>(count);
  for (const uint32_t sum : sums) all = (all ^ sum) * 0x9e3779b97f4a7c15u;
  return all;
}

}  // namespace hetconv
