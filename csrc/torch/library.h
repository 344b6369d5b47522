// Functions of C++ as operators of PyTorch's dispatcher.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "tensor.h"

namespace hetconv::torch {

using Boxed = void (*)(StableIValue* stack, uint64_t inputs, uint64_t outputs);

// An argument from the stack, whose handle it takes over.
template <class Type>
struct Unbox {
  static_assert(std::is_integral_v<Type>);
  static Type from(StableIValue value) { return static_cast<Type>(value); }
};

template <>
struct Unbox<bool> {
  static bool from(StableIValue value) { return (value & 0xff) != 0; }
};

template <>
struct Unbox<Tensor> {
  static Tensor from(StableIValue value) { return Tensor(reinterpret_cast<AtenTensorHandle>(value)); }
};

template <class Type>
struct Unbox<std::optional<Type>> {
  static std::optional<Type> from(StableIValue value) {
    const std::unique_ptr<StableIValue> inner(reinterpret_cast<StableIValue*>(value));
    return inner == nullptr ? std::nullopt : std::optional(Unbox<Type>::from(*inner));
  }
};

template <class Item>
struct Unbox<std::vector<Item>> {
  static std::vector<Item> from(StableIValue value) {
    struct Delete {
      void operator()(StableListHandle list) const { torch_delete_list(list); }
    };
    const std::unique_ptr<StableListOpaque, Delete> list(reinterpret_cast<StableListHandle>(value));
    size_t size = 0;
    call(torch_list_size(list.get(), &size));
    std::vector<Item> items;
    items.reserve(size);
    for (size_t i = 0; i < size; ++i) {
      StableIValue item = 0;
      call(torch_list_get_item(list.get(), i, &item));
      items.push_back(Unbox<Item>::from(item));
    }
    return items;
  }
};

inline void put(StableIValue* stack, Tensor result) { stack[0] = handed_over(std::move(result)); }

template <class... Results>
void put(StableIValue* stack, std::tuple<Results...> results) {
  std::apply([&](Results&... result) { ((*stack++ = handed_over(std::move(result))), ...); }, results);
}

template <class Type>
constexpr uint64_t kResults = 1;
template <class... Types>
constexpr uint64_t kResults<std::tuple<Types...>> = sizeof...(Types);

template <auto function>
struct Box;

template <class Result, class... Arguments, Result (*function)(Arguments...)>
struct Box<function> {
  static void call(StableIValue* stack, uint64_t inputs, uint64_t outputs) {
    STD_TORCH_CHECK(inputs == sizeof...(Arguments) && outputs == kResults<Result>,
                    "hetconv: the operator's schema and its kernel have not the same number of arguments");
    run(stack, std::index_sequence_for<Arguments...>());
  }

 private:
  template <size_t... positions>
  static void run(StableIValue* stack, std::index_sequence<positions...>) {
    std::tuple<Arguments...> arguments{Unbox<Arguments>::from(stack[positions])...};
    put(stack, std::apply(function, std::move(arguments)));
  }
};

// A function as the dispatcher calls it.
template <auto function>
constexpr Boxed box = &Box<function>::call;

// Operators that are registered as long as this is there: their schemas, or their kernels for one dispatch key.
class Library {
 public:
  Library(const char* name, void (*fill)(Library&)) {
    torch::call(aoti_torch_library_init_fragment(name, __FILE__, __LINE__, &handle_));
    fill(*this);
  }
  Library(const char* name, const char* key, void (*fill)(Library&)) {
    torch::call(aoti_torch_library_init_impl(name, key, __FILE__, __LINE__, &handle_));
    fill(*this);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { aoti_torch_delete_library_object(handle_); }

  void def(const char* schema) { torch::call(aoti_torch_library_def(handle_, schema)); }
  void impl(const char* name, Boxed kernel) { torch::call(torch_library_impl(handle_, name, kernel, kVersion)); }

 private:
  TorchLibraryHandle handle_ = nullptr;
};

}  // namespace hetconv::torch
