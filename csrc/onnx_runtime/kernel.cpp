#include "kernel.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>

namespace hetconv::ort {

std::string words(const Ints& sizes) {
  std::string text = "(";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

int64_t Node::integer(const char* name) const {
  int64_t value = 0;
  try {
    call<GetIntAttribute>(api_, info_, name, &value);
  } catch (const Error&) {
    throw Error(std::string("attribute ") + name + " is missing or no integer");
  }
  return value;
}

Pair Node::pair(const char* name) const {
  int64_t values[2] = {};
  size_t size = 0;
  try {
    call<GetIntsAttribute>(api_, info_, name, nullptr, &size);
    if (size == 2) call<GetIntsAttribute>(api_, info_, name, values, &size);
  } catch (const Error&) {
    size = 0;
  }
  if (size != 2) throw Error(std::string("attribute ") + name + " must be two integers, for height and width");
  return {values[0], values[1]};
}

std::string Node::text(const char* name) const {
  std::string value;
  try {
    size_t size = 0;
    call<GetTextAttribute>(api_, info_, name, nullptr, &size);
    value.resize(size);
    call<GetTextAttribute>(api_, info_, name, value.data(), &size);
    value.resize(size == 0 ? 0 : size - 1);  // without the zero at its end
  } catch (const Error&) {
    throw Error(std::string("attribute ") + name + " is missing or no text");
  }
  return value;
}

namespace {

// An attribute that is a list, of any length.
template <class Get, class T>
std::vector<T> list(Table api, const KernelInfo* info, const char* name, const char* what) {
  std::vector<T> values;
  try {
    size_t size = 0;
    call<Get>(api, info, name, static_cast<T*>(nullptr), &size);
    values.resize(size);
    if (size > 0) call<Get>(api, info, name, values.data(), &size);
  } catch (const Error&) {
    throw Error(std::string("attribute ") + name + " is missing or no list of " + what);
  }
  return values;
}

}  // namespace

Ints Node::integers(const char* name) const { return list<GetIntsAttribute, int64_t>(api_, info_, name, "integers"); }

std::vector<float> Node::reals(const char* name) const {
  return list<GetRealsAttribute, float>(api_, info_, name, "floats");
}

size_t Node::inputs() const {
  size_t count = 0;
  call<CountInputs>(api_, info_, &count);
  return count;
}

const Value* Node::constant(size_t input) const {
  if (input >= inputs()) return nullptr;
  int is_constant = 0;
  const Value* value = nullptr;
  call<GetConstantInput>(api_, info_, input, &is_constant, &value);
  return is_constant != 0 ? value : nullptr;
}

Tensor tensor(Table api, const Value* value) {
  TensorInfo* info = nullptr;
  call<GetTensorInfo>(api, value, &info);
  size_t dims = 0;
  Tensor found{};
  void* data = nullptr;
  try {
    call<GetElementType>(api, info, &found.type);
    call<CountDimensions>(api, info, &dims);
    found.sizes.resize(dims);
    call<GetDimensions>(api, info, found.sizes.data(), dims);
    call<GetData>(api, const_cast<Value*>(value), &data);
  } catch (...) {
    ReleaseTensorInfo::of(api)(info);
    throw;
  }
  ReleaseTensorInfo::of(api)(info);
  found.data = static_cast<const float*>(data);
  return found;
}

int64_t Tensor::count() const { return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>()); }

std::optional<Tensor> Call::tensor(size_t input) const {
  size_t count = 0;
  call<CountCallInputs>(api_, context_, &count);
  if (input >= count) return std::nullopt;
  const Value* value = nullptr;
  call<GetInput>(api_, context_, input, &value);
  return value == nullptr ? std::nullopt : std::optional(ort::tensor(api_, value));
}

float* Call::output(const Ints& sizes) const {
  Value* value = nullptr;
  call<GetOutput>(api_, context_, size_t{0}, sizes.data(), sizes.size(), &value);
  void* data = nullptr;
  call<GetData>(api_, value, &data);
  return static_cast<float*>(data);
}

// `Threads` has no place for the call that they belong to.
const Call*& Call::current() {
  static thread_local const Call* call = nullptr;
  return call;
}

Threads Call::threads() const {
  current() = this;
  return {threads_, &for_each};
}

void Call::for_each(int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context) {
  struct Job {
    int64_t size, parts;
    void (*body)(const void*, int64_t, int64_t);
    const void* context;
    std::atomic<bool> failed{false};  // for want of memory; exceptions must not cross ONNX Runtime
  };
  const Call& now = *current();
  Job job{size, std::min<int64_t>(size, now.threads_), body, context};
  call<ParallelFor>(
      now.api_, now.context_,
      [](void* data, size_t part) {
        Job& of = *static_cast<Job*>(data);
        const int64_t begin = static_cast<int64_t>(part) * of.size / of.parts;
        const int64_t end = (static_cast<int64_t>(part) + 1) * of.size / of.parts;
        try {
          of.body(of.context, begin, end);
        } catch (...) {
          of.failed = true;
        }
      },
      static_cast<size_t>(job.parts), size_t{0}, &job);
  if (job.failed) throw Error("there is not enough memory");
}

}  // namespace hetconv::ort
