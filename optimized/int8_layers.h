// Which layers of a pipeline run in bytes when the int8 feature is on: all that can and pay for it, but those that a
// model's calibration keeps in fp32. Layers enter themselves here while they are made; calibration switches them one by
// one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace i2i {

/// Fewer input or output channels do not pay for quantizing: such layers stay fp32.
constexpr std::int64_t kLeastInt8Channels = 64;

class Int8Layers {
 public:
  struct Layer {
    bool on = true;
    double operations = 0;  ///< multiplications and additions so far, in either form
  };

  /// @param kept        layers that stay fp32
  /// @param switchable  layers keep both forms, so that `layers()[...].on` can change between runs
  explicit Int8Layers(std::set<std::string> kept, bool switchable = false)
      : kept_(std::move(kept)), switchable_(switchable) {}
  Int8Layers(const Int8Layers&) = delete;
  Int8Layers& operator=(const Int8Layers&) = delete;

  /// Enters a layer that int8 can run. @return null if it stays fp32; else its entry, which stays where it is
  /// @param pays  whether bytes are faster on this processor; a calibration measures every layer, wherever it runs
  Layer* enter(const std::string& name, bool pays);

  bool switchable() const { return switchable_; }
  std::map<std::string, Layer>& layers() { return layers_; }

  /// Names to be kept that no layer has. Asked when all layers are made.
  std::vector<std::string> unknown() const;

 private:
  std::set<std::string> kept_, met_;
  bool switchable_;
  std::map<std::string, Layer> layers_;
};

}  // namespace i2i
