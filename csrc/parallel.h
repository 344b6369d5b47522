// A lambda over the parts of a range.
#pragma once

#include "het_conv.h"

namespace hetconv {

template <class Body>
void parallel(const Threads& threads, int64_t size, const Body& body) {
  if (size <= 0) return;
  if (threads.count <= 1 || size == 1) return body(0, size);
  threads.for_each(
      size, [](const void* context, int64_t begin, int64_t end) { (*static_cast<const Body*>(context))(begin, end); },
      &body);
}

// The same, on one thread where all of it moves fewer bytes than waking another one takes the time of (or does a
// quarter as many multiply-adds: about 10 µs).
constexpr int64_t kWorthAThread = 128 * 1024;

template <class Body>
void parallel_where_it_pays(const Threads& threads, int64_t size, int64_t bytes_each, const Body& body) {
  const bool pays = size > 1 && bytes_each >= kWorthAThread / size;
  pays ? parallel(threads, size, body) : parallel({1, nullptr}, size, body);
}

}  // namespace hetconv
