// What ONNX Runtime calls when it loads this library, and its operators as ONNX Runtime asks about them.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "operators.h"

namespace hetconv::ort {
namespace {

constexpr const char* kDomain = "ai.hetconv";
constexpr const char* kThreads = "hetconv.threads";  // of the session, which operators are not told otherwise

using Make = std::unique_ptr<Kernel> (*)(Table, const Node&);

struct Operator : CustomOp {
  const char* type;
  Make make;
  size_t required, inputs;
  bool weights;  // whether its last input stands for any number of constants, of any types
  int threads;

  bool is_weights(size_t input) const { return weights && input + 1 == inputs; }
};

const Operator& of(const CustomOp* op) { return *static_cast<const Operator*>(op); }

struct Loaded {
  Table api;
  const Operator& op;
  std::unique_ptr<Kernel> kernel;
};

template <class Body>
Status* status_of(Table api, const char* where, const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return CreateStatus::of(api)(Code::invalid_argument, (std::string(where) + ": " + error.what()).c_str());
  }
}

Status* create(const CustomOp* op, Table api, const KernelInfo* info, void** kernel) {
  return status_of(api, of(op).type, [&] { *kernel = new Loaded{api, of(op), of(op).make(api, Node(api, info))}; });
}

Status* compute(void* kernel, KernelContext* context) {
  const Loaded& loaded = *static_cast<Loaded*>(kernel);
  return status_of(loaded.api, loaded.op.type,
                   [&] { loaded.kernel->run(Call(loaded.api, context, loaded.op.threads)); });
}

Operator make_operator(const char* type, Make make, size_t required, size_t inputs, bool weights, int threads) {
  Operator op{};
  op.version = kVersion;
  op.name = [](const CustomOp* op) { return of(op).type; };
  op.provider = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU's
  op.input_type = [](const CustomOp* op, size_t index) {
    return of(op).is_weights(index) ? Element::any : Element::float32;
  };
  op.output_type = [](const CustomOp*, size_t) { return Element::float32; };
  op.input_count = [](const CustomOp* op) { return of(op).inputs; };
  op.output_count = [](const CustomOp*) { return size_t{1}; };
  op.destroy = [](void* kernel) { delete static_cast<Loaded*>(kernel); };
  op.input_presence = [](const CustomOp* op, size_t index) {
    if (of(op).is_weights(index)) return Presence::variadic;
    return index < of(op).required ? Presence::required : Presence::optional;
  };
  op.fewest_variadic_inputs = [](const CustomOp*) { return 1; };
  op.variadic_inputs_alike = [](const CustomOp*) { return 0; };
  op.output_presence = [](const CustomOp*, size_t) { return Presence::required; };
  op.input_memory = [](const CustomOp*, size_t) { return Memory::standard; };
  op.create_or_say_why = create;
  op.compute_or_say_why = compute;
  op.first_version = [](const CustomOp*) { return 1; };
  op.last_version = [](const CustomOp*) { return std::numeric_limits<int>::max(); };
  op.type = type;
  op.make = make;
  op.required = required;
  op.inputs = inputs;
  op.weights = weights;
  op.threads = threads;
  return op;
}

struct Domain {
  Domain(Table api, int threads)
      : operators{make_operator("HetConv2d", &het_conv2d, 2, 5, false, threads),
                  make_operator("MaxPool2d", &max_pool2d, 1, 1, false, threads),
                  make_operator("AveragePool2d", &average_pool2d, 1, 1, false, threads),
                  make_operator("Network", &network, 2, 2, true, threads)} {
    call<CreateCustomOpDomain>(api, kDomain, &domain);
    for (const Operator& op : operators) call<AddToDomain>(api, domain, static_cast<const CustomOp*>(&op));
  }
  CustomOpDomain* domain = nullptr;
  const Operator operators[4];
};

// Sessions read their domain as long as they live, perhaps to the end of the process: domains are never freed.
CustomOpDomain* domain_for(Table api, int threads) {
  static std::mutex mutex;
  static auto& domains = *new std::map<int, std::unique_ptr<Domain>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Domain>& domain = domains[threads];
  if (domain == nullptr) domain = std::make_unique<Domain>(api, threads);
  return domain->domain;
}

int threads_of(Table api, const SessionOptions* options) {
  int found = 0;
  call<HasSessionConfigEntry>(api, options, kThreads, &found);
  if (found == 0) return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  size_t size = 0;
  call<GetSessionConfigEntry>(api, options, kThreads, nullptr, &size);
  std::string text(size, '\0');
  call<GetSessionConfigEntry>(api, options, kThreads, text.data(), &size);
  text.resize(std::strlen(text.c_str()));
  int threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size() || threads < 1) {
    throw Error(std::string(kThreads) + "=" + text + " must be an integer of at least 1");
  }
  return threads;
}

}  // namespace
}  // namespace hetconv::ort

extern "C" __attribute__((visibility("default"))) hetconv::ort::Status* RegisterCustomOps(
    hetconv::ort::SessionOptions* options, const hetconv::ort::ApiBase* base) {
  using namespace hetconv::ort;
  const Table api = base->get_api(kVersion);
  if (api == nullptr) {
    const std::string found = base->get_version();
    return CreateStatus::of(base->get_api(1))(
        Code::fail, ("hetconv: ONNX Runtime " + found + " is too old; its operators need 1.17 or newer").c_str());
  }
  return status_of(api, "hetconv",
                   [&] { call<AddCustomOpDomain>(api, options, domain_for(api, threads_of(api, options))); });
}
