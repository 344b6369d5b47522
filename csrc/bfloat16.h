// bfloat16, the upper half of float32, as the drivers convert it. Kernels convert whole vectors: simd.h.
#pragma once

#include <bit>
#include <cstdint>

namespace hetconv {

inline float widen(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

inline uint16_t narrow(float value) {  // to nearest, ties to even
  if (value != value) return 0x7fc0;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace hetconv
