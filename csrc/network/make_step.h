// Steps by the names of their kinds. Arguments may come from a file: their numbers, counts and types are checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "aligned.h"
#include "steps.h"

namespace hetconv {

enum class ElementType : int64_t { float32, int32, uint8, int8 };

struct Array {
  const void* data;
  ElementType type;
  int64_t count;
};

// What these are of each kind is in make_step.cpp.
struct StepArguments {
  int64_t inputs;
  std::vector<int64_t> numbers;
  std::vector<float> reals;
  std::vector<Array> arrays;
};

// Arrays are copied, but for packed weights: these must outlive the step. Throws an exception whose text is the reason.
std::unique_ptr<Step> make_step(const std::string& kind, const StepArguments& arguments);

// Where a convolution is given weights as the layer has them, spatial and pointwise, has packed ones in their place:
// what make_step takes. Returns their memory; null where the kind has no packed weights.
std::unique_ptr<Aligned> pack_arrays(const std::string& kind, StepArguments& arguments);

}  // namespace hetconv
