#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// Zeros around an image: of u8, bytes that stand for 0.
class PadImage : public Step {
 public:
  PadImage(const Sides& sides, int32_t zero) : sides_(sides), zero_(zero) {
    check_step(zero >= 0 && zero <= 255, "a zero is no u8");
    check_step(std::min({sides.top, sides.bottom, sides.left, sides.right}) >= 0, "an image is padded by less than 0");
  }
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_within({sides_.top, sides_.bottom, x.height});
    check_within({sides_.left, sides_.right, x.width});
    return x.of_size(x.channels, sides_.top + x.height + sides_.bottom, sides_.left + x.width + sides_.right);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    const int filler = y.type == Int8Output::uint8 ? zero_ : 0;
    return [=, this](const void* const* in, void* out, const Threads& all) {
      const int64_t line = y.width * y.pixel_bytes(), inner = x.width * x.pixel_bytes();
      parallel_where_it_pays(all, batch * y.height, line * 2, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          char* const to = static_cast<char*>(out) + i * line;
          const int64_t row = i % y.height - sides_.top;
          std::memset(to, filler, static_cast<size_t>(line));
          if (row < 0 || row >= x.height) continue;
          const char* const from = static_cast<const char*>(in[0]) + (i / y.height * x.height + row) * inner;
          std::memcpy(to + sides_.left * y.pixel_bytes(), from, static_cast<size_t>(inner));
        }
      });
    };
  }

 private:
  static void check_within(std::initializer_list<int64_t> lengths) {
    int64_t sum = 0;
    for (const int64_t length : lengths) sum += length > INT32_MAX ? INT32_MAX + int64_t{1} : length;
    check_step(sum <= INT32_MAX, "an image is padded by too much");
  }

  Sides sides_;
  int32_t zero_;
};

}  // namespace

std::unique_ptr<Step> pad_image_step(const Sides& sides, int32_t zero) {
  return std::make_unique<PadImage>(sides, zero);
}

}  // namespace hetconv
