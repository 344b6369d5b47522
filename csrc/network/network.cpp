#include "network.h"

#include "../checked.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace hetconv {
namespace {

constexpr size_t kKept = 4;  // sizes of images
constexpr int64_t kLine = 64;

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};

struct Room {
  int64_t begin, end;
  size_t last_use;
};

// The first gap between the rooms that are in use which is large enough.
int64_t first_gap(std::vector<Room> rooms, int64_t bytes) {
  std::sort(rooms.begin(), rooms.end(), [](const Room& a, const Room& b) { return a.begin < b.begin; });
  int64_t at = 0;
  for (const Room& room : rooms) {
    if (at + bytes <= room.begin) break;
    at = std::max(at, room.end);
  }
  return at;
}

// Whether images are channels-last without gaps.
bool in_place(const Images& x) {
  return x.channel_stride == 1 && x.column_stride == x.channels && x.row_stride == x.width * x.channels &&
         (x.batch == 1 || x.batch_stride == x.height * x.row_stride);
}

// Images to channels-last memory without gaps. False where one of the numbers is not finite.
bool take(const Images& x, float* to) {
  float not_finite = 0;  // 0 · x is 0 of every finite x
  for (int64_t b = 0; b < x.batch; ++b) {
    for (int64_t row = 0; row < x.height; ++row) {
      const float* const from = x.data + b * x.batch_stride + row * x.row_stride;
      float* const line = to + (b * x.height + row) * x.width * x.channels;
      for (int64_t c = 0; c < x.channels; ++c) {
        for (int64_t column = 0; column < x.width; ++column) {
          const float value = from[c * x.channel_stride + column * x.column_stride];
          not_finite += 0 * value;
          line[column * x.channels + c] = value;
        }
      }
    }
  }
  return not_finite == 0;
}

}  // namespace

struct Network::Sized {
  int64_t batch, height, width;
  int threads;
  const char* instruction_set;
  std::vector<Run> runs;
  std::vector<void*> places;  // of each value; the last one is the caller's
  std::vector<std::vector<const void*>> inputs;
  std::vector<const void**> of_images;  // those inputs that are the images
  std::unique_ptr<char, Free> memory;
  int64_t bytes = 0;
};

int64_t Network::add(std::unique_ptr<Step> step, std::vector<int64_t> inputs) {
  const int64_t made = static_cast<int64_t>(entries_.size()) + 1;
  for (const int64_t input : inputs) {
    if (input < 0 || input >= made)
      throw std::invalid_argument("a step refers to a value that no step before it makes");
  }
  wants_finite_ |= step->wants_finite();
  entries_.push_back({std::move(step), std::move(inputs)});
  return made;
}

std::vector<Value> Network::values(int64_t height, int64_t width) const {
  if (entries_.empty()) throw std::invalid_argument("a network has no steps");
  if (in_channels_ < 1) throw std::invalid_argument("a network takes images of no channels");
  check_range("image size", {height, width}, 1);
  check_elements({height, width, in_channels_});
  std::vector<Value> values{float_value(in_channels_, height, width)};
  for (const Entry& entry : entries_) {
    std::vector<Value> inputs;
    for (const int64_t input : entry.inputs) inputs.push_back(values[static_cast<size_t>(input)]);
    values.push_back(entry.step->output(inputs));
    if (values.back().height < 1 || values.back().width < 1) {
      throw std::invalid_argument("images of " + std::to_string(height) + "×" + std::to_string(width) +
                                  " are smaller than the network's windows");
    }
    const Value& made = values.back();
    check_elements({made.height, made.width, made.pixel});
  }
  if (values.back().type != Int8Output::float32) {  // the caller's memory has room for floats, without blocks
    throw std::invalid_argument("the last step of a network must give float32");
  }
  return values;
}

Result Network::result(int64_t height, int64_t width) const {
  const Value last = values(height, width).back();
  return {last.channels, last.height, last.width};
}

Network::Sized& Network::sized(const Images& images, int threads) {
  const auto same = [&](const std::shared_ptr<Sized>& one) {
    return one->batch == images.batch && one->height == images.height && one->width == images.width &&
           one->threads == threads && one->instruction_set == hetconv::instruction_set();
  };
  const auto found = std::find_if(kept_.begin(), kept_.end(), same);
  if (found != kept_.end()) return **found;
  auto made = std::make_shared<Sized>();
  made->batch = images.batch, made->height = images.height, made->width = images.width, made->threads = threads;
  made->instruction_set = hetconv::instruction_set();
  const std::vector<Value> values = this->values(images.height, images.width);
  for (const Value& value : values) check_elements({images.batch, value.height, value.width, value.pixel});
  std::vector<size_t> last_use(values.size(), 0);
  for (size_t i = 0; i < entries_.size(); ++i) {
    for (const int64_t input : entries_[i].inputs) last_use[static_cast<size_t>(input)] = i + 1;
  }
  std::vector<Room> rooms;
  std::vector<int64_t> begins;
  for (size_t i = 0; i + 1 < values.size(); ++i) {  // the last value is written where the caller wants it
    std::erase_if(rooms, [&](const Room& room) { return room.last_use < i; });
    const int64_t bytes = (values[i].bytes(images.batch) + kLine - 1) / kLine * kLine;
    begins.push_back(first_gap(rooms, bytes));
    rooms.push_back({begins.back(), begins.back() + bytes, last_use[i]});
    made->bytes = std::max(made->bytes, rooms.back().end);
  }
  made->memory.reset(static_cast<char*>(std::aligned_alloc(kLine, static_cast<size_t>(std::max(made->bytes, kLine)))));
  if (made->memory == nullptr) throw std::bad_alloc();
  for (const int64_t begin : begins) made->places.push_back(made->memory.get() + begin);
  made->places.push_back(nullptr);
  for (size_t i = 0; i < entries_.size(); ++i) {
    std::vector<Value> inputs;
    made->inputs.emplace_back();
    for (const int64_t input : entries_[i].inputs) {
      inputs.push_back(values[static_cast<size_t>(input)]);
      made->inputs.back().push_back(made->places[static_cast<size_t>(input)]);
    }
    for (size_t k = 0; k < entries_[i].inputs.size(); ++k) {
      if (entries_[i].inputs[k] == 0) made->of_images.push_back(&made->inputs.back()[k]);
    }
    made->runs.push_back(entries_[i].step->prepare(inputs, values[i + 1], images.batch, threads));
  }
  if (kept_.size() == kKept) kept_.erase(kept_.begin());
  kept_.push_back(made);
  return *made;
}

bool Network::run(const Images& images, float* y, const Threads& threads) {
  const std::lock_guard lock(one_at_a_time_);
  if (images.channels != in_channels_) {
    throw std::invalid_argument("images have " + std::to_string(images.channels) + " channels, the network takes " +
                                std::to_string(in_channels_));
  }
  Sized& now = sized(images, threads.count);
  const bool read_in_place = !wants_finite_ && in_place(images);
  if (!read_in_place && !take(images, static_cast<float*>(now.places[0])) && wants_finite_) return false;
  for (const void** const input : now.of_images) {
    *input = read_in_place ? static_cast<const void*>(images.data) : now.places[0];
  }
  const size_t steps = now.runs.size();
  for (size_t i = 0; i < steps; ++i) {
    now.runs[i](now.inputs[i].data(), i + 1 == steps ? y : now.places[i + 1], threads);
  }
  return true;
}

int64_t Network::weight_bytes() const {
  int64_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.step->bytes();
  return bytes;
}

}  // namespace hetconv
