#include "interface/error.h"

namespace i2i {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidConnection:
      return "invalid_connection";
    case ErrorCode::kSourceImageError:
      return "source_image_error";
    case ErrorCode::kEmptyPrompt:
      return "empty_prompt";
    case ErrorCode::kInvalidStrength:
      return "invalid_strength";
    case ErrorCode::kInvalidGuidance:
      return "invalid_guidance";
    case ErrorCode::kInvalidSteps:
      return "invalid_steps";
    case ErrorCode::kBatchSizeExceeded:
      return "batch_size_exceeded";
    case ErrorCode::kInvalidRequest:
      return "invalid_request";
    case ErrorCode::kGenerationFailed:
      return "generation_failed";
    case ErrorCode::kUsage:
      return "usage";
  }
  return "unknown";
}

}  // namespace i2i
