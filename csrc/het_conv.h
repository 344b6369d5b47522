// HetConv on CPUs: the entry points. Of this folder only register.cpp and torch/ know PyTorch.
//
// Tensors are raw pointers. Activations are channels-last: channels are adjacent, batch, row and column strides are
// free and counted in elements. Weights are as the layer keeps them: spatial (N, M/P, Kh, Kw), pointwise (N, M - M/P).
#pragma once

#include <cstdint>

namespace hetconv {

// How the spatial kernels are computed: tap by tap, or 4×4 outputs at once with a quarter of the multiply-adds
// (Winograd; 3×3 kernels of stride 1, else direct). Or, of activations in bfloat16, all kernels with AMX. Weights are
// packed for one of them.
enum class Algorithm : int32_t { direct, winograd, amx };

struct Shape {
  int64_t batch, in_channels, out_channels, p;
  int64_t in_height, in_width, out_height, out_width;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width, padding_height, padding_width, dilation_height, dilation_width;
  bool shifted;  // filter n has its spatial kernels on channels n mod P, n mod P + P, ...; else on its block of M/P
  Algorithm algorithm;

  bool operator==(const Shape&) const = default;
};

struct Strides {
  int64_t batch, row, column;
};

// Of activations. Weights, biases and sums are float32.
enum class Type : int32_t { float32, bfloat16 };

struct Input {
  const void* data;
  Strides strides;
  Type type = Type::float32;
};

struct Output {
  void* data;
  Strides strides;
  Type type = Type::float32;
};

struct Weights {
  const float* spatial;
  const float* pointwise;
};

enum class Activation : int32_t { none, relu, relu6, silu, hardswish, hardsigmoid, sigmoid, gelu };
constexpr int64_t kActivations = 8;

// Functions of two values.
enum class Joining : int32_t { sum, product, difference, quotient, maximum, minimum };
constexpr int64_t kJoinings = 6;

// What is done to a sum before it is stored: activation(sum + bias + residual); null pointers are left out.
struct Epilogue {
  const float* bias;
  const void* residual;  // laid out as the output, and of its type
  Activation activation;
};

// How work is spread over threads: for_each(size, body, context) calls body(context, begin, end) on parts of [0, size).
// Each output is computed by one thread, in one order, so results do not depend on the parts.
struct Threads {
  int count;
  void (*for_each)(int64_t size, void (*body)(const void* context, int64_t begin, int64_t end), const void* context);
};

// The instruction set that kernels run on, by its name in dispatch.cpp; the best one here unless chosen. With and
// without VNNI, dot products or i8mm, only the kernels of 8 bits differ.
const char* instruction_set();
bool choose_instruction_set(const char* name);  // false, and nothing changes, where the processor lacks it

// Runs multiply-adds that never leave the registers, the processor's peak, and returns how many it did.
int64_t multiply_adds(int64_t rounds);

// Spatial weights stored (N, Kh, Kw, M/P), as a network in channels-last memory holds them, to (N, M/P, Kh, Kw).
void gather_taps(const Shape& shape, const float* spatial, float* gathered, const Threads& threads);

// The faster algorithm for these images. `packing`: weights are packed for one call only, with activations of this
// type.
bool uses_winograd(const Shape& shape);  // whether it is asked for, and possible
Algorithm choose_algorithm(Shape shape, bool input_grad, bool packing, Type type = Type::float32);
void allow_winograd(bool allow);  // to be chosen; it is, unless this says no

// Packed weights depend on the instruction set, the algorithm, channels, p, kernel and stride, and not on the image or
// the batch. `packed` buffers are aligned to 64 bytes.
int64_t packed_size(const Shape& shape);
void pack(const Shape& shape, const Weights& weights, float* packed, const Threads& threads);
// Of Winograd's weights, the pointwise ones only.
void unpack(const Shape& shape, const float* packed, float* spatial, float* pointwise, const Threads& threads);
// With AMX there is a bias only, strides are even, and outputs without gaps.
void forward(const Shape& shape, const Input& x, const float* packed, const Epilogue& epilogue, const Output& y,
             const Threads& threads);

int64_t packed_size_input_grad(const Shape& shape);
void pack_input_grad(const Shape& shape, const Weights& weights, float* packed, const Threads& threads);
void input_grad(const Shape& shape, const Input& grad_y, const float* packed, const Output& grad_x,
                const Threads& threads);

// `scratch` has so many elements. Strides are even where both inputs are bfloat16.
int64_t weight_grad_scratch(const Shape& shape, Type type);
void weight_grad(const Shape& shape, const Input& grad_y, const Input& x, float* scratch, float* grad_spatial,
                 float* grad_pointwise, const Threads& threads);

// A number that changes with any of the bytes, by which kept packed weights know that they are of today's weights.
uint64_t fingerprint(const void* data, int64_t bytes);

}  // namespace hetconv
