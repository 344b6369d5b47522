// What was made for the keys that were asked for last.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>

namespace hetconv {

template <class Key, class Value>
class Kept {
 public:
  // Made by `make()`, a unique_ptr, where it is not there; valid until the next call.
  template <class Make>
  const Value& get(const Key& key, const Make& make) {
    for (const Entry& entry : entries_) {
      if (entry.key == key) return *entry.value;
    }
    Entry& entry = entries_[oldest_];
    entry.key.reset();
    entry.value = make();
    entry.key = key;
    oldest_ = (oldest_ + 1) % kMost;
    return *entry.value;
  }

 private:
  static constexpr std::size_t kMost = 64;  // more than the layers of most networks that differ; a few to 100 KiB each
  struct Entry {
    std::optional<Key> key;
    std::unique_ptr<const Value> value;
  };
  std::array<Entry, kMost> entries_;
  std::size_t oldest_ = 0;
};

}  // namespace hetconv
