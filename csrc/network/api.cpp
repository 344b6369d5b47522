#include "api.h"

#include "../checked.h"
#include "make_step.h"

#define HETCONV_API extern "C" HETCONV_ENTRY

HETCONV_API hetconv::Network* hetconv_network_new(int64_t in_channels) {
  hetconv::Network* made = nullptr;
  hetconv::without_exceptions([&] { made = new hetconv::Network(in_channels); });
  return made;
}

HETCONV_API void hetconv_network_delete(hetconv::Network* network) { delete network; }

HETCONV_API int64_t hetconv_network_add(hetconv::Network* network, const char* kind, const int64_t* counts,
                                        const int64_t* inputs, const int64_t* numbers, const float* reals,
                                        const void* const* arrays, const int64_t* types_and_sizes) {
  int64_t made = -1;
  hetconv::without_exceptions([&] {
    if (counts[0] < 1) throw hetconv::Refused("a step reads no value");
    hetconv::StepArguments arguments{counts[0], {numbers, numbers + counts[1]}, {reals, reals + counts[2]}, {}};
    for (int64_t i = 0; i < counts[3]; ++i) {
      const auto type = static_cast<hetconv::ElementType>(types_and_sizes[2 * i]);
      arguments.arrays.push_back({arrays[i], type, types_and_sizes[2 * i + 1]});
    }
    made = network->add(hetconv::make_step(kind, arguments), {inputs, inputs + counts[0]});
  });
  return made;
}

HETCONV_API int hetconv_network_result(const hetconv::Network* network, int64_t height, int64_t width, int64_t* sizes) {
  return hetconv::without_exceptions([&] {
    const hetconv::Result result = network->result(height, width);
    sizes[0] = result.channels, sizes[1] = result.height, sizes[2] = result.width;
  });
}

HETCONV_API int hetconv_network_run(hetconv::Network* network, const int64_t* numbers, const float* x, float* y) {
  bool finite = true;
  const bool done = hetconv::without_exceptions([&] {
    const int64_t* const n = numbers;
    finite = network->run({x, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}, y, hetconv::process_threads());
  });
  return !done ? 0 : finite ? 1 : 2;
}

HETCONV_API int64_t hetconv_network_weight_bytes(const hetconv::Network* network) { return network->weight_bytes(); }
