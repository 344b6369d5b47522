// A hash of an array's values: what kept packed weights are compared by.
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

// sum = (rotate(sum, 13) ^ value) * odd, in 64 columns that begin with different numbers. Each step is one-to-one in
// the sum and in the value, so a column that differs in one value always ends with another sum; and columns of one and
// the same value, as in a constant array, end with 64 different functions of it.
HETCONV_EVERY_ISA void mix(const char* values, int64_t rows, uint32_t* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    uint32_t bits[kSums];
    std::memcpy(bits, values + row * sizeof(bits), sizeof(bits));
    for (int i = 0; i < kSums; ++i) sums[i] = ((sums[i] << 13 | sums[i] >> 19) ^ bits[i]) * 0x9e3779b1u;
  }
}

}  // namespace

uint64_t fingerprint(const void* data, int64_t bytes) {
  constexpr int64_t row = kSums * sizeof(uint32_t);
  uint32_t sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = static_cast<uint32_t>(i + 1) * 0x85ebca6bu;
  const char* const values = static_cast<const char*>(data);
  char rest[row] = {};
  mix(values, bytes / row, sums);
  std::copy(values + bytes / row * row, values + bytes, rest);
  mix(rest, 1, sums);
  uint64_t all = static_cast<uint64_t>(bytes);
  for (const uint32_t sum : sums) {
    all = (all ^ sum) * 0x9e3779b97f4a7c15u;
    all ^= all >> 32;
  }
  return all;
}

}  // namespace hetconv
