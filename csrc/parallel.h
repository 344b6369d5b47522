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

}  // namespace hetconv
