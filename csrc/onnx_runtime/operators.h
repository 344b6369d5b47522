// The operators of the domain ai.hetconv.
#pragma once

#include <memory>

#include "kernel.h"

namespace hetconv::ort {

std::unique_ptr<Kernel> het_conv2d(Table api, const Node& node);
std::unique_ptr<Kernel> max_pool2d(Table api, const Node& node);
std::unique_ptr<Kernel> average_pool2d(Table api, const Node& node);
std::unique_ptr<Kernel> network(Table api, const Node& node);

}  // namespace hetconv::ort
