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

// Calls loop.template run<read, shared>() for a segment. `shared`: one chunk serves all filter vectors of the tile.
template <class Loop>
HETCONV_INLINE void dispatch(Read read, bool shared, const Loop& loop) {
  switch (read) {
    case Read::broadcast:
      return shared ? loop.template run<Read::broadcast, true>() : loop.template run<Read::broadcast, false>();
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
      return shared ? loop.template run<Read::contiguous, true>() : loop.template run<Read::contiguous, false>();
    case Read::permuted:
      return shared ? loop.template run<Read::permuted, true>() : loop.template run<Read::permuted, false>();
    case Read::wrapped:
      return shared ? loop.template run<Read::wrapped, true>() : loop.template run<Read::wrapped, false>();
    default:
      return;
  }
}

}  // namespace
}  // namespace hetconv
