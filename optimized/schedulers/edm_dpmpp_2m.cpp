#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "optimized/schedulers/edm.h"

namespace i2i::schedulers {

/// Lu et al. 2022, arXiv:2211.01095, multistep of orders 1 to 3, in Karras' levels: a = 1, s = sigma, l = -log(sigma).
StepSchedule make_edm_dpmpp_2m(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"thresholding"});
  const std::string algorithm = text(spec, "algorithm_type", "dpmsolver++"),
                    solver = text(spec, "solver_type", "midpoint");
  const bool noisy = algorithm == "sde-dpmsolver++", heun = solver == "heun";
  if (!noisy && algorithm != "dpmsolver++" && algorithm != "deis") refuse(spec, "algorithm_type=" + algorithm);
  if (!heun && solver != "midpoint" && solver != "logrho" && solver != "bh1" && solver != "bh2") {
    refuse(spec, "solver_type=" + solver);
  }
  const int highest_order = static_cast<int>(number(spec, "solver_order", 2));
  if (highest_order < 1 || highest_order > (noisy ? 2 : 3)) refuse(spec, fmt::format("solver_order={}", highest_order));
  StepSchedule schedule = edm_schedule(spec, plan, true);
  const std::size_t length = schedule.timesteps.size();
  const bool few = flag(spec, "lower_order_final") && length < 15;
  const bool euler_last = flag(spec, "euler_at_final") || few || schedule.sigmas.back() == 0;
  const auto l = [&](std::size_t i) { return -std::log(schedule.sigmas[i]); };

  for (std::size_t i = schedule.first; i < length; ++i) {
    std::size_t order = std::min(i - schedule.first + 1, static_cast<std::size_t>(highest_order));
    if (i + 1 == length && euler_last) order = 1;
    if (i + 2 == length && few) order = std::min<std::size_t>(order, 2);
    const double sigma = schedule.sigmas[i], next = schedule.sigmas[i + 1];
    const double h = l(i + 1) - l(i), u = noisy ? 2 * h : h;  // infinite towards 0
    const double gone = 1 - std::exp(-u);
    double weights[3] = {gone, 0, 0};  // of x0, newest first
    if (order == 2) {
      const double r = (l(i) - l(i - 1)) / h, d1 = heun ? 1 - gone / u : gone / 2;
      weights[0] += d1 / r;
      weights[1] = -d1 / r;
    } else if (order == 3) {
      const double r0 = (l(i) - l(i - 1)) / h, r1 = (l(i - 1) - l(i - 2)) / h;
      // d1 = newer + r0 d2, d2 = (newer - older) / (r0 + r1), of the divided differences newer and older
      const double by_d1 = 1 - gone / u, by_d2 = -((u - gone) / (u * u) - 0.5);
      const double second = (by_d1 * r0 + by_d2) / (r0 + r1), newer = by_d1 + second;
      weights[0] += newer / r0;
      weights[1] = -newer / r0 - second / r1;
      weights[2] = second / r1;
    }
    const Linear2 x0 = edm_x0(spec, sigma);
    const double kept = noisy ? next / sigma * std::exp(-h) : next / sigma;
    StepRow row;
    row.sample = kept + weights[0] * x0.sample;
    row.noise_pred = weights[0] * x0.model;
    row.history[0] = weights[1];
    row.history[1] = weights[2];
    row.draws_noise = noisy;
    if (noisy) row.noise = next * std::sqrt(gone);
    row.remembers = true;
    row.remember_sample = x0.sample;
    row.remember_noise_pred = x0.model;
    schedule.rows.push_back(row);
  }
  return schedule;
}

}  // namespace i2i::schedulers
