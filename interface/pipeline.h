// The contract that both implementations fulfil: one virtual generate, and the seams through which a harness looks
// inside.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "interface/action_plan.h"
#include "interface/image.h"
#include "interface/model_files.h"
#include "interface/noise.h"
#include "interface/request.h"
#include "interface/scheduler_spec.h"
#include "interface/step_savings.h"

namespace i2i {

/// Receives named stage tensors as they are made (names and shapes: semantics.md section 14).
/// Loop tensors arrive once per executed step; a sink that wants them whole stacks them.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  /// @param step  index of the executed step for "loop.*", otherwise -1
  virtual void tensor(std::string_view name, int step, const at::Tensor& value) = 0;
};

/// One timed stage. Names: preprocess, encode_prompt, vae_encode, unet, scheduler_step, vae_decode, postprocess.
struct StageTime {
  std::string name;
  int step = -1;  ///< executed step for unet and scheduler_step, otherwise -1
  double ms = 0;
};

struct Result {
  at::Tensor images;  ///< [B,H,W,3] float32 in [0,1], before rounding to bytes
  std::uint64_t seed = 0;
  int width = 0;
  int height = 0;
  int steps_run = 0;
  std::vector<std::string> warnings;
  std::vector<StageTime> stages;
  double total_ms = 0;
};

/// Options that hold for the life of a pipeline.
struct PipelineOptions {
  std::string device = "cpu";
  at::ScalarType dtype = at::kFloat;
  std::map<std::string, bool> features;  ///< optimized only: name -> on; unknown names are ErrorCode::kUsage
};

/// Options of one run.
struct GenerateOptions {
  SchedulerSpec scheduler;
  NoiseMode noise = NoiseMode::kPerImage;
  /// In [0, 1]: how far guidance's result is brought back to the deviation of the conditional noise_pred (Lin et al.
  /// 2023, arXiv:2305.08891, section 3.4; diffusers' parameter of that name).
  double guidance_rescale = 0;
  StepSavings savings;
  TraceSink* trace = nullptr;
  /// [L,B,4,h,w]: when defined, step i starts from locked_latents[i] instead of the step before (step-locked
  /// comparison).
  at::Tensor locked_latents;
};

class Pipeline {
 public:
  virtual ~Pipeline() = default;

  /// The whole action on a decoded source picture. Deterministic for a given seed and thread count.
  /// @throws Error(kGenerationFailed) where a tensor holds NaN or infinity, or memory runs out: what and where
  virtual Result generate(const Request& request, const Image& source, const GenerateOptions& options) = 0;
};

/// round_half_even(255 * x) of one image [H,W,3] in [0,1].
Image to_image(const at::Tensor& image_hwc);

}  // namespace i2i
