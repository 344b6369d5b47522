// How a layer of 8 bits becomes tiles: that of float32 with quads of channels as its channels.
#pragma once

#include "../plan.h"
#include "int8.h"

namespace hetconv {

// The layer that the float32 kernels' tables describe: of quads, and of filters up to whole blocks.
Shape shape_of_quads(const Shape& shape);
Plan plan_int8(const Shape& shape);

}  // namespace hetconv
