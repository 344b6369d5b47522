// A network of a file of steps on the images in it, without Python: run_steps FILE > outputs.
// tests/build/test_aarch64.py writes the file: numbers are int64, lists are their length and what is in them.
//
//   in_channels, batch, height, width | images, float32, contiguous | how many steps |
//   of each: kind, inputs, numbers, reals (float32), how many arrays, their bytes
//
// Weights are natural: they are packed here.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <list>
#include <string>
#include <vector>

#include "../network/api.h"
#include "../network/make_step.h"

namespace {

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::exit(1);
}

class Reader {
 public:
  explicit Reader(const char* path) : file_(path, std::ios::binary) {}
  int64_t number() {
    int64_t read = 0;
    take(&read, 1);
    return read;
  }
  template <class Item>
  std::vector<Item> list() {
    std::vector<Item> items(static_cast<size_t>(number()));
    take(items.data(), items.size());
    return items;
  }
  std::string text() {
    const std::vector<char> letters = list<char>();
    return {letters.begin(), letters.end()};
  }

 private:
  template <class Item>
  void take(Item* to, size_t count) {
    if (!file_.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(Item)))) {
      fail("the file is cut short");
    }
  }
  std::ifstream file_;
};

struct alignas(64) Line {
  char bytes[64];
};

using Packed = std::vector<Line>;

// Sets how many elements the packed weights have.
Packed pack(bool int8, const std::vector<int64_t>& numbers, const std::vector<char>& spatial,
            const std::vector<char>& pointwise, int64_t& size) {
  const int64_t layer[] = {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[12]};
  const int64_t each = int8 ? 1 : 4;
  const int64_t counts[] = {static_cast<int64_t>(spatial.size()) / each, static_cast<int64_t>(pointwise.size()) / each};
  const auto packed = [&](void* to) {
    const void *const from = spatial.data(), *const others = pointwise.data();
    return int8 ? hetconv_pack_int8(layer, static_cast<const int8_t*>(from), counts[0],
                                    static_cast<const int8_t*>(others), counts[1], static_cast<char*>(to))
                : hetconv_pack(layer, 0, static_cast<const float*>(from), counts[0], static_cast<const float*>(others),
                               counts[1], static_cast<float*>(to));
  };
  size = packed(nullptr);
  if (size < 0) fail(hetconv_error());
  Packed made(static_cast<size_t>((size * each + 63) / 64));
  packed(made.data());
  return made;
}

}  // namespace

namespace hetconv {

Threads process_threads() {
  return {1, [](int64_t size, void (*body)(const void*, int64_t, int64_t), const void* context) {
            body(context, 0, size);
          }};
}

}  // namespace hetconv

int main(int argc, char** argv) {
  if (argc != 2) fail("usage: run_steps FILE > outputs");
  Reader file(argv[1]);
  const int64_t channels = file.number(), batch = file.number(), height = file.number(), width = file.number();
  const std::vector<float> images = file.list<float>();
  hetconv::Network* const network = hetconv_network_new(channels);
  std::list<Packed> kept;
  for (int64_t left = file.number(); left > 0; --left) {
    const std::string kind = file.text();
    const std::vector<int64_t> inputs = file.list<int64_t>();
    const std::vector<int64_t> numbers = file.list<int64_t>();
    const std::vector<float> reals = file.list<float>();
    std::vector<std::vector<char>> arrays(static_cast<size_t>(file.number()));
    for (std::vector<char>& array : arrays) array = file.list<char>();
    const auto type = [&](size_t at) {  // of the array, packed weights being one
      if (kind == "table" || (kind == "int8_convolution" && at == 0)) return hetconv::ElementType::uint8;
      if (kind == "select_channels" || (kind == "int8_convolution" && at == 1)) return hetconv::ElementType::int32;
      return hetconv::ElementType::float32;
    };
    std::vector<const void*> given;
    std::vector<int64_t> types_and_sizes;
    const bool packs = kind == "int8_convolution" || kind == "float_convolution";
    if (packs) {
      int64_t size = 0;
      kept.push_back(pack(kind == "int8_convolution", numbers, arrays[0], arrays[1], size));
      given.push_back(kept.back().data());
      types_and_sizes = {static_cast<int64_t>(type(0)), size};
    }
    for (size_t i = packs ? 2 : 0; i < arrays.size(); ++i) {
      const hetconv::ElementType of = type(given.size());
      const int64_t each = of == hetconv::ElementType::uint8 ? 1 : 4;
      types_and_sizes.insert(types_and_sizes.end(),
                             {static_cast<int64_t>(of), static_cast<int64_t>(arrays[i].size()) / each});
      given.push_back(arrays[i].data());
    }
    const int64_t counts[] = {static_cast<int64_t>(inputs.size()), static_cast<int64_t>(numbers.size()),
                              static_cast<int64_t>(reals.size()), static_cast<int64_t>(given.size())};
    const int64_t made = hetconv_network_add(network, kind.c_str(), counts, inputs.data(), numbers.data(), reals.data(),
                                             given.data(), types_and_sizes.data());
    if (made < 0) fail(hetconv_error());
  }
  int64_t sizes[3];
  if (!hetconv_network_result(network, height, width, sizes)) fail(hetconv_error());
  std::vector<float> outputs(static_cast<size_t>(batch * sizes[0] * sizes[1] * sizes[2]));
  const int64_t run[] = {batch, channels, height, width, channels * height * width, height * width, width, 1};
  if (hetconv_network_run(network, run, images.data(), outputs.data()) != 1) fail(hetconv_error());
  std::fprintf(stderr, "%s\n", hetconv_instruction_set());
  std::fwrite(outputs.data(), sizeof(float), outputs.size(), stdout);
  hetconv_network_delete(network);
  return 0;
}
