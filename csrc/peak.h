// What the processor can do at most: multiply-adds that never leave the registers.
#pragma once

#include "simd.h"

namespace hetconv {
namespace {

constexpr int kChains = 10;  // enough to hide the latency of one, few enough for 16 registers

// Returns how many multiply-adds were done; each chain has one per round and lane.
int64_t multiply_adds(int64_t rounds) {
  Vec sums[kChains];
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) sums[i] = set1(static_cast<float>(i));
  const Vec factor = set1(0.5f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) {
      sums[i] = fma(sums[i], factor, factor);
      HETCONV_TOUCH(volatile, sums[i]);
    }
  }
  return rounds * kChains * kLanes;
}

}  // namespace
}  // namespace hetconv
