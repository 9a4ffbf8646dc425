// Work that the denoising loop may leave out, at a cost in likeness: off by default, chosen per run, read by the
// optimized implementation only. On the command line these are the features with a value (`i2i features`).
#pragma once

namespace i2i {

/// A step is one UNet evaluation, as results and traces count them: each evaluation of Heun, DPM2 and PNDM is one.
struct StepSavings {
  /// From one whole UNet evaluation to the next; the steps between evaluate the outermost resnets only, on the deep
  /// features of the whole one (Ma et al. 2023, arXiv:2312.00858). 1 is off; in [1, 50].
  int reuse_interval = 1;
  /// How many resnets on the way down, counting the first convolution as one, and on the way up a step between
  /// evaluates; from 1 to the resnets on the UNet's way up.
  int reuse_depth = 1;
  /// Guidance acts from this share of the executed steps to that one; before and after, only the conditional row is
  /// evaluated (Kynkaanniemi et al. 2024, arXiv:2404.07724). Steps at one timestep go together: an interval of noise
  /// levels. 0 <= guidance_from < guidance_to <= 1.
  double guidance_from = 0;
  double guidance_to = 1;
  /// Up to this share of the executed steps all are whole: the first ones decide what the picture shows, and what they
  /// leave out may lead to another one. In [0, 1).
  double reuse_from = 0;

  bool any() const { return reuse_interval > 1 || guidance_from > 0 || guidance_to < 1; }
};

}  // namespace i2i
