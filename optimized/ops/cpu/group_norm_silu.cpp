// GroupNorm and SiLU over channels-last memory. A task is one image's run of whole groups, read twice while it is in
// the cache; where it would not stay there, a task is a strip of pixels with all channels, first for the sums and then
// for the result.
#include <algorithm>
#include <numeric>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

void group_norm_silu(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, std::int64_t groups,
                     double eps, bool silu, const at::Tensor& out) {
  const Rows x = rows_of(input, "group_norm_silu input"), y = rows_of(out, "group_norm_silu out");
  const std::int64_t channels = x.width, images = x.images, pixels = x.count / images;
  TORCH_CHECK(input.sizes() == out.sizes() && groups > 0 && channels % groups == 0, "group_norm_silu: ", input.sizes(),
              " to ", out.sizes(), " in ", groups, " groups");
  const float* scale = optional_floats(weight, channels, "group_norm_silu weight");
  const float* shift = optional_floats(bias, channels, "group_norm_silu bias");
  const Kernels& use = kernels();
  GroupNormBlock whole;  // one image with all channels
  whole.pixels = pixels;
  whole.stride = whole.channels = channels;
  whole.channels_per_group = channels / groups;
  whole.weight = scale;
  whole.bias = shift;
  whole.eps = eps;
  whole.silu = silu;
  const auto place = [&](GroupNormBlock& block, std::int64_t image, std::int64_t pixel, std::int64_t channel) {
    block.origin = x.data + image * pixels * channels + channel;
    block.x = block.origin + pixel * channels;
    block.y = y.data + (image * pixels + pixel) * channels + channel;
  };
  const double cost_ns = static_cast<double>(x.count * channels) * (silu ? 0.5 : 0.25);

  // Runs of whole groups that start on a cache line; all channels at once where there are none such.
  const std::int64_t unit = std::lcm(whole.channels_per_group, std::int64_t{16}), threads = thread_count();
  std::int64_t run = channels % unit == 0 ? unit : channels;
  while (run < 64 && channels % (2 * run) == 0 && images * (channels / (2 * run)) >= threads) run *= 2;
  constexpr std::int64_t kFloatsThatStay = 512 << 10;
  if (pixels * run <= kFloatsThatStay) {
    const std::int64_t runs = channels / run;
    for_each_task(images * runs, cost_ns, [&](std::int64_t task) {
      const std::int64_t first = task % runs * run;
      GroupNormBlock block = whole;
      place(block, task / runs, 0, first);
      block.channels = run;
      block.weight += first;
      block.bias += first;
      block.sums = reinterpret_cast<double*>(thread_scratch(2, 7 * run));
      block.factors = reinterpret_cast<float*>(block.sums + 2 * run);
      use.group_norm_sums(block);
      use.group_norm_factors(block);
      use.group_norm_normalise(block);
    });
    return;
  }

  const std::int64_t per_strip = std::max<std::int64_t>(1, (64 << 10) / channels);
  const std::int64_t strips = (pixels + per_strip - 1) / per_strip;
  const auto strip_of = [&](std::int64_t image, std::int64_t strip) {
    GroupNormBlock block = whole;
    place(block, image, strip * per_strip, 0);
    block.pixels = std::min(per_strip, pixels - strip * per_strip);
    return block;
  };
  float* scratch = thread_scratch(0, (4 * strips + 3) * channels);
  auto* sums = reinterpret_cast<double*>(scratch);
  for (std::int64_t image = 0; image < images; ++image) {
    // From the end, which whoever wrote x has left in the cache; then from the start, which the sums have left there.
    for_each_task(strips, cost_ns, [&](std::int64_t task) {
      GroupNormBlock block = strip_of(image, strips - 1 - task);
      block.sums = sums + (strips - 1 - task) * 2 * channels;
      use.group_norm_sums(block);
    });
    for (std::int64_t strip = 1; strip < strips; ++strip) {
      for (std::int64_t k = 0; k < 2 * channels; ++k) sums[k] += sums[strip * 2 * channels + k];
    }
    GroupNormBlock factors = whole;
    place(factors, image, 0, 0);
    factors.sums = sums;
    factors.factors = scratch + 4 * strips * channels;
    use.group_norm_factors(factors);
    for_each_task(strips, cost_ns, [&](std::int64_t task) {
      GroupNormBlock block = strip_of(image, task);
      block.factors = factors.factors;
      use.group_norm_normalise(block);
    });
  }
}

}  // namespace i2i::cpu
