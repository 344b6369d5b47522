// How a vector of filters reads a chunk of channels: the loaders behind `Read`, and the switch that picks one.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace hetconv {
namespace {

template <Read read>
HETCONV_INLINE Vec read_chunk(const float* p, int64_t parts, const FilterVector& vector) {
  if constexpr (read == Read::broadcast) return set1(*p);
  if constexpr (read == Read::repeat2) return repeat2(p);
#if defined(__AVX2__)
  if constexpr (read == Read::repeat4) return repeat4(p);
#endif
#if defined(__AVX512F__)
  if constexpr (read == Read::repeat8) return repeat8(p);
#endif
  if constexpr (read == Read::contiguous) return load(p);
  if constexpr (read == Read::permuted) return permute(p, static_cast<int>(parts), vector.index);
  if constexpr (read == Read::wrapped) return wrap(p, vector.wrap, parts);
}

// Calls loop.template run<read, shared>(). `shared`: one chunk serves all C filter vectors of the tile; where reading a
// chunk costs more than a load, plans make no other tiles.
template <int C, class Loop>
HETCONV_INLINE void dispatch(Read read, bool shared, Loop& loop) {
  if constexpr (C > 1) {
    if (!shared) {
      return read == Read::contiguous ? loop.template run<Read::contiguous, false>()
                                      : loop.template run<Read::broadcast, false>();
    }
  }
  switch (read) {
    case Read::broadcast:
      return loop.template run<Read::broadcast, true>();
    case Read::repeat2:
      return loop.template run<Read::repeat2, true>();
#if defined(__AVX2__)
    case Read::repeat4:
      return loop.template run<Read::repeat4, true>();
#endif
#if defined(__AVX512F__)
    case Read::repeat8:
      return loop.template run<Read::repeat8, true>();
#endif
    case Read::contiguous:
      return loop.template run<Read::contiguous, true>();
    case Read::permuted:
      return loop.template run<Read::permuted, true>();
    case Read::wrapped:
      return loop.template run<Read::wrapped, true>();
    default:
      return;
  }
}

}  // namespace
}  // namespace hetconv
