// Network for ONNX Runtime: a whole network as one call, the steps that a deployed network runs.
//
//   inputs      x (B, C, H, W); weights: the arrays of all steps, one after another, as the layers have them (a
//               convolution's weights spatial and pointwise), which are packed here when a session is made
//   attributes  in_channels; kinds: of the steps, as network/make_step.cpp names them, with spaces between; counts: of
//               each step's inputs, numbers, reals and arrays; inputs, numbers, reals: those of all steps, one after
//               another; checksum: of all that
//   output      (B, H', W', N)
#include <memory>
#include <sstream>

#include "../network/make_step.h"
#include "../network/network.h"
#include "operators.h"

namespace hetconv::ort {
namespace {

constexpr int64_t kCounts = 4;

ElementType type_of(Element type) {
  switch (type) {
    case Element::float32:
      return ElementType::float32;
    case Element::int32:
      return ElementType::int32;
    case Element::uint8:
      return ElementType::uint8;
    case Element::int8:
      return ElementType::int8;
    default:
      throw Error("its weights have another shape or type");
  }
}

int64_t bytes_of(ElementType type) { return type == ElementType::float32 || type == ElementType::int32 ? 4 : 1; }

// What the node says, before any of it is believed.
struct Description {
  std::string kinds;
  Ints counts, inputs, numbers;
  std::vector<float> reals;
  std::vector<Array> arrays;

  Description(Table api, const Node& node)
      : kinds(node.text("kinds")),
        counts(node.integers("counts")),
        inputs(node.integers("inputs")),
        numbers(node.integers("numbers")),
        reals(node.reals("reals")) {
    for (size_t i = 1; i < node.inputs(); ++i) {
      const Value* const value = node.constant(i);
      if (value == nullptr) throw Error("its weights must be constants");
      const Tensor found = tensor(api, value);
      arrays.push_back({found.data, type_of(found.type), found.count()});
    }
  }

  uint64_t checksum() const {
    uint64_t sum = 0;
    const auto add = [&](const void* data, size_t bytes) {
      sum = sum * 0x9e3779b97f4a7c15u + fingerprint(data, static_cast<int64_t>(bytes));
    };
    add(kinds.data(), kinds.size());
    for (const Ints* const list : {&counts, &inputs, &numbers}) add(list->data(), list->size() * sizeof(int64_t));
    add(reals.data(), reals.size() * sizeof(float));
    for (const Array& array : arrays) add(array.data, static_cast<size_t>(array.count * bytes_of(array.type)));
    return sum;
  }
};

// The next so many elements of a list.
template <class T>
std::vector<T> take(const std::vector<T>& from, size_t& at, int64_t count) {
  if (count < 0 || static_cast<size_t>(count) > from.size() - at) throw Error("its description is cut short");
  const auto begin = from.begin() + static_cast<std::ptrdiff_t>(at);
  at += static_cast<size_t>(count);
  return {begin, begin + count};
}

class WholeNetwork : public Kernel {
 public:
  WholeNetwork(Table api, const Node& node) {
    const Description all(api, node);
    if (all.checksum() != static_cast<uint64_t>(node.integer("checksum"))) {
      throw Error("its checksum is not that of its content: the file was changed");
    }
    network_ = std::make_unique<hetconv::Network>(node.integer("in_channels"));
    std::istringstream kinds(all.kinds);
    size_t at = 0, input = 0, number = 0, real = 0, array = 0;
    for (std::string kind; kinds >> kind;) {
      const Ints counts = take(all.counts, at, kCounts);
      const Ints inputs = take(all.inputs, input, counts[0]);
      StepArguments step{counts[0], take(all.numbers, number, counts[1]), take(all.reals, real, counts[2]),
                         take(all.arrays, array, counts[3])};
      try {
        packed_.push_back(pack_arrays(kind, step));
        network_->add(make_step(kind, step), inputs);
      } catch (const std::exception& error) {
        throw Error("step " + std::to_string(at / kCounts - 1) + " (" + kind + "): " + error.what());
      }
    }
    if (at == 0) throw Error("it has no steps");
  }

  void run(const Call& call) const override {
    const Tensor x = *call.tensor(0);
    if (x.sizes.size() != 4 || x.sizes[0] < 1) {
      throw Error("images are " + words(x.sizes) + "; the network takes (B, C, H, W), B of at least 1");
    }
    const int64_t channels = x.sizes[1], height = x.sizes[2], width = x.sizes[3];
    const Result result = network_->result(height, width);
    float* const y = call.output({x.sizes[0], result.height, result.width, result.channels});
    const Images images{x.data,         x.sizes[0], channels, height, width, channels * height * width,
                        height * width, width,      1};
    if (!network_->run(images, y, call.threads())) {
      throw Error("images hold NaN or infinity, which 8 bits cannot carry");
    }
  }

 private:
  std::vector<std::unique_ptr<Aligned>> packed_;  // read by the network as long as it lives
  std::unique_ptr<hetconv::Network> network_;
};

}  // namespace

std::unique_ptr<Kernel> network(Table api, const Node& node) { return std::make_unique<WholeNetwork>(api, node); }

}  // namespace hetconv::ort
