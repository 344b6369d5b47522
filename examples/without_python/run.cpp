// Runs a deployed network that AOTInductor has compiled, without Python: loads HetConv's kernels, then the package.
//
//   run native.so package.pt2 batch channels height width
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

// The same numbers as make_package.py's, exact in float32: multiples of 1/512 in [-1, 1).
static torch::Tensor make_input(const std::vector<int64_t>& size) {
  int64_t count = 1;
  for (const int64_t length : size) count *= length;
  return (torch::arange(count) * 389 % 1024 - 512).to(torch::kFloat32).div(512).reshape(size);
}

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s native.so package.pt2 size...\n", argv[0]);
    return 2;
  }
  if (dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "cannot load the kernels: %s\n", dlerror());
    return 1;
  }
  std::vector<int64_t> size;
  for (int i = 3; i < argc; ++i) size.push_back(std::atoll(argv[i]));
  try {
    const c10::InferenceMode inference;
    torch::inductor::AOTIModelPackageLoader network(argv[2]);
    for (const torch::Tensor& output : network.run({make_input(size)})) {
      const torch::Tensor values = output.contiguous().flatten();
      for (int64_t i = 0; i < values.numel(); ++i) std::printf("%.9g\n", values[i].item<float>());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "the network does not run: %s\n", error.what());
    return 1;
  }
  return 0;
}
