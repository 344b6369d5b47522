// Functions of u8 values that are no sums: any function of one, by its table; and the product of two.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

class Table : public Step {
 public:
  explicit Table(const uint8_t* table) { std::copy_n(table, table_.size(), table_.begin()); }
  Value output(const std::vector<Value>& inputs) const override {
    check_step(inputs[0].type == Int8Output::uint8, "a table is of u8");
    return inputs[0];
  }
  Run prepare(const std::vector<Value>&, const Value& output, int64_t batch, int) const override {
    const int64_t blocks = output.bytes(batch) / kBlock;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, blocks, 4 * kBlock, [&](int64_t begin, int64_t end) {
        const auto* const from = static_cast<const uint8_t*>(in[0]);
        auto* const to = static_cast<uint8_t*>(out);
        for (int64_t i = begin * kBlock; i < end * kBlock; ++i) to[i] = table_[from[i]];
      });
    };
  }

 private:
  std::array<uint8_t, 256> table_;
};

class Product : public Step {
 public:
  explicit Product(const ByteProduct& product) : product_(product) {
    check_step(std::isfinite(product.scale) && std::abs(product.scale) < 32, "a product's range explodes");
    for (const int32_t zero : {product.a_zero, product.b_zero, product.zero}) {
      check_step(zero >= 0 && zero <= 255, "a zero is no u8");
    }
  }
  Value output(const std::vector<Value>& inputs) const override { return joined(inputs, Int8Output::uint8); }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value y = output;
    const int64_t image = y.height * y.width;
    const bool alike = inputs[1].height == y.height && inputs[1].width == y.width;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * image, 4 * y.pixel, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          multiply(static_cast<const uint8_t*>(in[0]) + i * y.pixel,
                   static_cast<const uint8_t*>(in[1]) + (alike ? i : i / image) * y.pixel,
                   static_cast<uint8_t*>(out) + i * y.pixel, y.pixel);
        }
      });
    };
  }

 private:
  // |a · b| < 2^16 is exact, and its multiple, below 2^21, is rounded by adding and taking away 1.5 · 2^23.
  void multiply(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t count) const {
    const int32_t a_zero = product_.a_zero, b_zero = product_.b_zero, zero = product_.zero;
    const float scale = product_.scale, magic = 12582912.0f;
    for (int64_t i = 0; i < count; ++i) {
      const float real = static_cast<float>((a[i] - a_zero) * (b[i] - b_zero)) * scale;
      const int32_t near = static_cast<int32_t>((real + magic) - magic) + zero;
      y[i] = static_cast<uint8_t>(near < 0 ? 0 : near > 255 ? 255 : near);
    }
  }

  ByteProduct product_;
};

}  // namespace

std::unique_ptr<Step> table_step(const uint8_t* table) { return std::make_unique<Table>(table); }
std::unique_ptr<Step> product_step(const ByteProduct& product) { return std::make_unique<Product>(product); }

}  // namespace hetconv
