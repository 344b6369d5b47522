// The part of ONNX Runtime's C interface that is used here, declared in our own words: its Python packages bring no
// headers, and a build downloads nothing. Functions are in a table whose order only ever grows at its end, and
// OrtCustomOp says of which version it is, so what is written here holds for every ONNX Runtime from 1.17 on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hetconv::ort {

constexpr uint32_t kVersion = 17;  // the oldest with ParallelFor

struct Status;  // null where all is well
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;

enum class Code : int32_t { fail = 1, invalid_argument = 2 };
enum class Element : int32_t { any = 0, float32 = 1, uint8 = 2, int8 = 3, int32 = 6 };
enum class Presence : int32_t { required, optional, variadic };
enum class Memory : int32_t { standard = 0 };

using Table = const void* const*;  // OrtApi

struct ApiBase {
  Table (*get_api)(uint32_t version);  // null where the version is not known
  const char* (*get_version)();
};

// A function of the table, by its position.
template <size_t position, class Signature>
struct Function {
  static Signature* of(Table api) { return reinterpret_cast<Signature*>(api[position]); }
};

using CreateStatus = Function<0, Status*(Code, const char* message)>;
using GetErrorMessage = Function<2, const char*(const Status*)>;
using ReleaseStatus = Function<93, void(Status*)>;

using CreateCustomOpDomain = Function<26, Status*(const char* name, CustomOpDomain**)>;
using AddToDomain = Function<27, Status*(CustomOpDomain*, const struct CustomOp*)>;
using AddCustomOpDomain = Function<28, Status*(SessionOptions*, CustomOpDomain*)>;
using HasSessionConfigEntry = Function<237, Status*(const SessionOptions*, const char* key, int* found)>;
using GetSessionConfigEntry = Function<238, Status*(const SessionOptions*, const char* key, char* value, size_t* size)>;

// A null array asks for the size.
using GetIntAttribute = Function<86, Status*(const KernelInfo*, const char* name, int64_t*)>;
using GetTextAttribute = Function<87, Status*(const KernelInfo*, const char* name, char*, size_t* size)>;
using GetRealsAttribute = Function<162, Status*(const KernelInfo*, const char* name, float*, size_t* size)>;
using GetIntsAttribute = Function<163, Status*(const KernelInfo*, const char* name, int64_t*, size_t* size)>;
using CountInputs = Function<230, Status*(const KernelInfo*, size_t*)>;
using GetConstantInput = Function<249, Status*(const KernelInfo*, size_t index, int* is_constant, const Value**)>;

using CountCallInputs = Function<88, Status*(const KernelContext*, size_t*)>;
using GetInput = Function<90, Status*(const KernelContext*, size_t index, const Value**)>;
using GetOutput = Function<91, Status*(KernelContext*, size_t index, const int64_t* sizes, size_t dims, Value**)>;
using ParallelFor = Function<274, Status*(const KernelContext*, void (*)(void* data, size_t part), size_t parts,
                                          size_t batches, void* data)>;

using GetData = Function<51, Status*(Value*, void**)>;
using GetElementType = Function<60, Status*(const TensorInfo*, Element*)>;
using CountDimensions = Function<61, Status*(const TensorInfo*, size_t*)>;
using GetDimensions = Function<62, Status*(const TensorInfo*, int64_t*, size_t)>;
using GetTensorInfo = Function<65, Status*(const Value*, TensorInfo**)>;
using ReleaseTensorInfo = Function<99, void(TensorInfo*)>;

// An operator, as ONNX Runtime asks about it. Members are in its order; those behind are of later versions.
struct CustomOp {
  uint32_t version;
  void* (*create)(const CustomOp*, Table, const KernelInfo*);  // not called where create_or_say_why is there
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  Element (*input_type)(const CustomOp*, size_t);
  size_t (*input_count)(const CustomOp*);
  Element (*output_type)(const CustomOp*, size_t);
  size_t (*output_count)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);  // not called where compute_or_say_why is there
  void (*destroy)(void* kernel);
  Presence (*input_presence)(const CustomOp*, size_t);
  Presence (*output_presence)(const CustomOp*, size_t);
  Memory (*input_memory)(const CustomOp*, size_t);
  int (*fewest_variadic_inputs)(const CustomOp*);
  int (*variadic_inputs_alike)(const CustomOp*);
  int (*fewest_variadic_outputs)(const CustomOp*);
  int (*variadic_outputs_alike)(const CustomOp*);
  Status* (*create_or_say_why)(const CustomOp*, Table, const KernelInfo*, void** kernel);
  Status* (*compute_or_say_why)(void* kernel, KernelContext*);
  Status* (*infer_shape)(const CustomOp*, void*);
  int (*first_version)(const CustomOp*);
  int (*last_version)(const CustomOp*);
};

}  // namespace hetconv::ort
