// Tensors of PyTorch over its stable C interface, named as in PyTorch's own headers; errors are exceptions.
#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "abi.h"

namespace hetconv::torch {

constexpr uint64_t kVersion = 0x020b000000000000;  // 2.11, the oldest that we run on

[[noreturn]] inline void refuse(const std::string& message) { throw std::runtime_error(message); }

template <class Part>
std::string as_text(const Part& part) {
  if constexpr (std::is_arithmetic_v<Part>) {
    return std::to_string(part);
  } else {
    return part;
  }
}

// The parts of the message, texts and numbers, are put together only where it is needed.
#define STD_TORCH_CHECK(condition, ...) \
  ((condition) ? void() : hetconv::torch::refuse(hetconv::torch::joined(__VA_ARGS__)))

template <class... Parts>
std::string joined(const Parts&... parts) {
  return (as_text(parts) + ...);
}

// What a function of PyTorch returned: 0, or it failed.
inline void call(AOTITorchError code) {
  if (code == 0) return;
  const char* const why =
      torch_exception_get_what_without_backtrace == nullptr ? nullptr : torch_exception_get_what_without_backtrace();
  refuse(std::string("hetconv: PyTorch could not do what the operator asked it for") +
         (why == nullptr ? "; it has printed why" : std::string(": ") + why));
}

// The type of a tensor's elements.
struct ScalarType {
  int32_t code;
  bool operator==(const ScalarType&) const = default;

  static const ScalarType Float, BFloat16;
};
inline const ScalarType ScalarType::Float{aoti_torch_dtype_float32()};
inline const ScalarType ScalarType::BFloat16{aoti_torch_dtype_bfloat16()};

struct MemoryFormat {
  int32_t code;

  static const MemoryFormat Contiguous, ChannelsLast;
};
inline const MemoryFormat MemoryFormat::Contiguous{aoti_torch_memory_format_contiguous_format()};
inline const MemoryFormat MemoryFormat::ChannelsLast{aoti_torch_memory_format_channels_last()};

inline const int32_t kCpu = aoti_torch_device_type_cpu();

// A handle of its own; copies share the elements.
class Tensor {
 public:
  explicit Tensor(AtenTensorHandle owned) : handle_(owned) {}
  Tensor(const Tensor& other) { call(aoti_torch_new_tensor_handle(other.handle_, &handle_)); }
  Tensor(Tensor&& other) noexcept : handle_(other.release()) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Tensor() {
    if (handle_ != nullptr) aoti_torch_delete_tensor_object(handle_);
  }

  AtenTensorHandle get() const { return handle_; }
  AtenTensorHandle release() noexcept { return std::exchange(handle_, nullptr); }

  int64_t dim() const { return asked<int64_t>(aoti_torch_get_dim); }
  int64_t numel() const { return asked<int64_t>(aoti_torch_get_numel); }
  int64_t size(int64_t dim) const { return asked<int64_t>(aoti_torch_get_size, dim); }
  int64_t stride(int64_t dim) const { return asked<int64_t>(aoti_torch_get_stride, dim); }
  bool is_contiguous() const { return asked<bool>(aoti_torch_is_contiguous); }
  bool is_cpu() const { return asked<int32_t>(aoti_torch_get_device_type) == kCpu; }
  ScalarType scalar_type() const { return {asked<int32_t>(aoti_torch_get_dtype)}; }

  void* mutable_data_ptr() const { return asked<void*>(torch_get_mutable_data_ptr); }
  const void* const_data_ptr() const { return asked<const void*>(torch_get_const_data_ptr); }
  template <class Element>
  Element* mutable_data_ptr() const {
    check_type<Element>();
    return static_cast<Element*>(mutable_data_ptr());
  }
  template <class Element>
  const Element* const_data_ptr() const {
    check_type<Element>();
    return static_cast<const Element*>(const_data_ptr());
  }

 private:
  AtenTensorHandle handle_ = nullptr;

  template <class Answer, class Function, class... Arguments>
  Answer asked(Function function, Arguments... arguments) const {
    Answer answer{};
    call(function(handle_, arguments..., &answer));
    return answer;
  }

  template <class Element>
  void check_type() const {
    static_assert(std::is_same_v<Element, float>);
    STD_TORCH_CHECK(scalar_type() == ScalarType::Float, "hetconv: the operator expected a float32 tensor");
  }
};

// The first result of an operator of PyTorch, which takes over the handles among its arguments.
template <size_t arguments>
Tensor call_operator(const char* name, std::array<StableIValue, arguments> stack) {
  call(torch_call_dispatcher(name, "", stack.data(), kVersion));
  return Tensor(reinterpret_cast<AtenTensorHandle>(stack[0]));
}

inline StableIValue handed_over(Tensor tensor) { return reinterpret_cast<StableIValue>(tensor.release()); }

inline Tensor contiguous(const Tensor& x, MemoryFormat format = MemoryFormat::Contiguous) {
  return call_operator<2>("aten::contiguous", {handed_over(x), static_cast<StableIValue>(format.code)});
}

inline void copy_(const Tensor& to, const Tensor& from) {
  const StableIValue non_blocking = 0;
  call_operator<3>("aten::copy_", {handed_over(to), handed_over(from), non_blocking});
}

inline uint32_t get_num_threads() {
  uint32_t threads = 0;
  call(torch_get_num_threads(&threads));
  return threads;
}

template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Body& body) {
  const auto run = [](int64_t first, int64_t last, void* context) {
    (*static_cast<const Body*>(context))(first, last);
  };
  call(torch_parallel_for(begin, end, grain, run, const_cast<void*>(static_cast<const void*>(&body))));
}

}  // namespace hetconv::torch
