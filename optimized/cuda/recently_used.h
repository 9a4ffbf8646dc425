// A few things by key, of which the one that was not used for longest makes room. Both backends keep captured work so.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <utility>

namespace i2i {

template <typename Value>
class RecentlyUsed {
 public:
  /// @param most  things that are kept, at least 1
  explicit RecentlyUsed(std::size_t most) : most_(most) {}

  /// The thing of that key, from now on the newest; made where there is none, after room was made for it.
  template <typename Make>
  Value& get(const std::string& key, const Make& make) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->first != key) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      return entry->second;
    }
    while (entries_.size() >= most_) entries_.pop_back();
    entries_.emplace_front(key, make());
    return entries_.front().second;
  }

 private:
  std::size_t most_;
  std::list<std::pair<std::string, Value>> entries_;  ///< by time of use, the newest first
};

}  // namespace i2i
