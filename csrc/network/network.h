// A whole network for inference: a list of steps, run one after another on one piece of memory. What follows from the
// images' size (tables, places in memory) is found once and kept for the sizes that were used last.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../het_conv.h"
#include "../int8/int8.h"

namespace hetconv {

// An activation, channels-last. Of 8 bits: blocks of 64 channels (int8/int8.h). Of float32: channels in their natural
// order, `pixel` elements from one pixel to the next.
struct Value {
  Int8Output type;
  int64_t channels, height, width, pixel;

  int64_t pixel_bytes() const { return pixel * (type == Int8Output::uint8 ? 1 : 4); }
  int64_t bytes(int64_t batch) const { return batch * height * width * pixel_bytes(); }
  // Of the same type.
  Value of_size(int64_t other_channels, int64_t other_height, int64_t other_width) const;
};

inline Value uint8_value(int64_t channels, int64_t height, int64_t width) {
  return {Int8Output::uint8, channels, height, width, whole_blocks(channels)};
}
inline Value float_value(int64_t channels, int64_t height, int64_t width) {
  return {Int8Output::float32, channels, height, width, channels};
}

inline Value Value::of_size(int64_t other_channels, int64_t other_height, int64_t other_width) const {
  return type == Int8Output::uint8 ? uint8_value(other_channels, other_height, other_width)
                                   : float_value(other_channels, other_height, other_width);
}

// One step's work at one size of images: from its inputs to its output.
using Run = std::function<void(const void* const* inputs, void* output, const Threads& threads)>;

class Step {
 public:
  virtual ~Step() = default;
  // The output of these inputs. Throws std::invalid_argument, whose text is the reason.
  virtual Value output(const std::vector<Value>& inputs) const = 0;
  virtual Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int threads) const = 0;
  virtual int64_t bytes() const { return 0; }          // of weights
  virtual bool wants_finite() const { return false; }  // whether it gives a wrong number of one that is not finite
};

// Images as the caller has them: float32, strides in elements.
struct Images {
  const float* data;
  int64_t batch, channels, height, width;
  int64_t batch_stride, channel_stride, row_stride, column_stride;
};

// In channels-last order, without gaps.
struct Result {
  int64_t channels, height, width;
};

class Network {
 public:
  explicit Network(int64_t in_channels) : in_channels_(in_channels) {}

  // Value 0 is the images; each step makes the next one. Returns its number.
  int64_t add(std::unique_ptr<Step> step, std::vector<int64_t> inputs);

  // Of the last step. Throws std::invalid_argument where the steps do not take images of this size.
  Result result(int64_t height, int64_t width) const;

  // False, and nothing is known of `y`, where the images hold a number that is not finite and a step wants that.
  bool run(const Images& images, float* y, const Threads& threads);

  int64_t weight_bytes() const;

 private:
  struct Entry {
    std::unique_ptr<Step> step;
    std::vector<int64_t> inputs;
  };
  struct Sized;

  std::vector<Value> values(int64_t height, int64_t width) const;
  Sized& sized(const Images& images, int threads);

  int64_t in_channels_;
  std::vector<Entry> entries_;
  bool wants_finite_ = false;
  std::vector<std::shared_ptr<Sized>> kept_;
  std::mutex one_at_a_time_;  // the memory is one call's
};

}  // namespace hetconv
