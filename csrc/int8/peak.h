// What the processor can do at most in 8 bits: multiply-adds that never leave the registers.
#pragma once

#include "dot.h"

namespace hetconv {
namespace {

constexpr int kInt8Chains = 12;  // enough to hide the latency of one; with the factors they fill 16 registers

// Returns how many multiply-adds were done: four per round, chain and lane.
int64_t int8_multiply_adds_in_registers(int64_t rounds) {
  Int sums[kInt8Chains];
#pragma GCC unroll 12
  for (int i = 0; i < kInt8Chains; ++i) sums[i] = as_int(zero());
  const Quads quads = quads_of(as_int(set1(1.0f)));
  float ones[kWords * kLanes];
  for (float& one : ones) one = 1.0f;
  const Weight weight = load_weight(ones);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kInt8Chains; ++i) {
      sums[i] = dot(sums[i], quads, weight);
      HETCONV_TOUCH(volatile, sums[i]);
    }
  }
  return rounds * kInt8Chains * kLanes * 4;
}

}  // namespace
}  // namespace hetconv
