// The one exception of i2i and the action's error codes. Libraries throw it; only main.cpp prints it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace i2i {

/// The action's codes, and kUsage for a command line that cannot be understood.
enum class ErrorCode {
  kInvalidConnection,
  kSourceImageError,
  kEmptyPrompt,
  kInvalidStrength,
  kInvalidGuidance,
  kInvalidSteps,
  kBatchSizeExceeded,
  kInvalidRequest,
  kGenerationFailed,
  kUsage,
};

/// The code as the action spells it, for instance "invalid_strength".
std::string_view to_string(ErrorCode code);

/// One thing wrong with a request: where (JSON pointer), which code, and a sentence with the value and the bound.
struct Violation {
  std::string pointer;
  ErrorCode code;
  std::string message;
};

/// Thrown by every library of i2i. `violations` is empty unless a request was refused.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::vector<Violation> violations = {})
      : std::runtime_error(message), code_(code), violations_(std::move(violations)) {}

  ErrorCode code() const { return code_; }
  const std::vector<Violation>& violations() const { return violations_; }

 private:
  ErrorCode code_;
  std::vector<Violation> violations_;
};

}  // namespace i2i
