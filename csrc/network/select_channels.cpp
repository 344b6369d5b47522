// Some of a value's channels, in any order: slices, and the shuffle of channels between grouped convolutions.
#include <algorithm>
#include <cstring>

#include "../parallel.h"
#include "steps.h"

namespace hetconv {
namespace {

// Channels that are neighbours before and afterwards.
struct Stretch {
  int64_t from, to, count;
};

std::vector<Stretch> stretches_of(const std::vector<int32_t>& channels) {
  std::vector<Stretch> found;
  for (size_t i = 0; i < channels.size(); ++i) {
    if (i > 0 && channels[i] == channels[i - 1] + 1) {
      ++found.back().count;
    } else {
      found.push_back({channels[i], static_cast<int64_t>(i), 1});
    }
  }
  return found;
}

class SelectChannels : public Step {
 public:
  SelectChannels(int64_t count, const int32_t* channels) : channels_(channels, channels + count) {
    check_step(*std::min_element(channels_.begin(), channels_.end()) >= 0, "a channel is before the first one");
  }
  Value output(const std::vector<Value>& inputs) const override {
    const Value& x = inputs[0];
    check_step(*std::max_element(channels_.begin(), channels_.end()) < x.channels, "a channel is behind the last one");
    return x.of_size(static_cast<int64_t>(channels_.size()), x.height, x.width);
  }
  Run prepare(const std::vector<Value>& inputs, const Value& output, int64_t batch, int) const override {
    const Value x = inputs[0], y = output;
    const std::vector<Stretch> stretches = stretches_of(channels_);
    if (y.type == Int8Output::float32) {
      return over_pixels(x, y, batch, [stretches](const char* from, char* to) {
        for (const Stretch& s : stretches)
          std::memcpy(to + 4 * s.to, from + 4 * s.from, static_cast<size_t>(4 * s.count));
      });
    }
    if (stretches.size() == 1 && channels_[0] % kBlock == 0) {  // blocks hold them as they are
      return over_pixels(x, y, batch,
                         [first = channels_[0], bytes = static_cast<size_t>(y.pixel)](const char* from, char* to) {
                           std::memcpy(to, from + first, bytes);
                         });
    }
    std::vector<int32_t> bytes(static_cast<size_t>(y.pixel), 0);
    for (size_t i = 0; i < channels_.size(); ++i) {
      bytes[static_cast<size_t>(byte_of(static_cast<int64_t>(i)))] = static_cast<int32_t>(byte_of(channels_[i]));
    }
    return over_pixels(x, y, batch, [bytes](const char* from, char* to) {
      for (const int32_t byte : bytes) *to++ = from[byte];
    });
  }
  int64_t bytes() const override { return static_cast<int64_t>(channels_.size()) * 4; }

 private:
  template <class Copy>
  static Run over_pixels(const Value& x, const Value& y, int64_t batch, const Copy& copy) {
    return [=](const void* const* in, void* out, const Threads& all) {
      parallel_where_it_pays(all, batch * y.height * y.width, y.pixel_bytes() * 2, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          copy(static_cast<const char*>(in[0]) + i * x.pixel_bytes(), static_cast<char*>(out) + i * y.pixel_bytes());
        }
      });
    };
  }

  std::vector<int32_t> channels_;
};

}  // namespace

std::unique_ptr<Step> select_channels_step(int64_t count, const int32_t* channels) {
  return std::make_unique<SelectChannels>(count, channels);
}

}  // namespace hetconv
