// GroupNorm and SiLU over channels-last memory; a task is one image's run of whole groups, read twice while it is in
// the cache.
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
  // Runs of whole groups that start on a cache line; all channels at once where there are none such.
  const std::int64_t per_group = channels / groups, unit = std::lcm(per_group, std::int64_t{16});
  std::int64_t run = channels % unit == 0 ? unit : channels;
  const std::int64_t threads = thread_count();
  while (run < 64 && channels % (2 * run) == 0 && images * (channels / (2 * run)) >= threads) run *= 2;
  const std::int64_t runs = channels / run;
  const Kernels& use = kernels();
  for_each_task(images * runs, static_cast<double>(x.count * channels) * (silu ? 0.5 : 0.25), [&](std::int64_t task) {
    const std::int64_t image = task / runs, first = task % runs * run;
    GroupNormBlock block;
    block.x = x.data + image * pixels * channels + first;
    block.y = y.data + image * pixels * channels + first;
    block.pixels = pixels;
    block.stride = channels;
    block.channels = run;
    block.channels_per_group = per_group;
    block.weight = scale + first;
    block.bias = shift + first;
    block.eps = eps;
    block.silu = silu;
    float* scratch = thread_scratch(2, 7 * run);
    block.sums = reinterpret_cast<double*>(scratch);
    block.scratch = scratch + 4 * run;
    use.group_norm(block);
  });
}

}  // namespace i2i::cpu
