// What kernels of ONNX Runtime's operators are made of: attributes, tensors, its threads, and errors as exceptions.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../checked.h"
#include "abi.h"

namespace hetconv::ort {

using Ints = std::vector<int64_t>;

// One line for the user.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Function, class... Arguments>
void call(Table api, Arguments... arguments) {
  Status* const status = Function::of(api)(arguments...);
  if (status == nullptr) return;
  const std::string message = GetErrorMessage::of(api)(status);
  ReleaseStatus::of(api)(status);
  throw Error(message);
}

std::string words(const Ints& sizes);  // such as (1, 2, 3)

// A node's attributes and constant inputs.
class Node {
 public:
  Node(Table api, const KernelInfo* info) : api_(api), info_(info) {}
  int64_t integer(const char* name) const;
  Pair pair(const char* name) const;
  std::string text(const char* name) const;
  Ints integers(const char* name) const;
  std::vector<float> reals(const char* name) const;
  size_t inputs() const;
  const Value* constant(size_t input) const;  // null if it is computed, or absent

 private:
  Table api_;
  const KernelInfo* info_;
};

struct Tensor {
  Ints sizes;
  const float* data;  // of another type where `type` says so
  Element type;

  int64_t count() const;
};

Tensor tensor(Table api, const Value* value);

// One run of a kernel.
class Call {
 public:
  Call(Table api, KernelContext* context, int threads) : api_(api), context_(context), threads_(threads) {}
  std::optional<Tensor> tensor(size_t input) const;
  float* output(const Ints& sizes) const;
  Threads threads() const;  // ONNX Runtime's, for this call and this thread

 private:
  Table api_;
  KernelContext* context_;
  int threads_;

  static const Call*& current();
  static void for_each(int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context);
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const Call& call) const = 0;  // several threads may run one kernel at once
};

}  // namespace hetconv::ort
