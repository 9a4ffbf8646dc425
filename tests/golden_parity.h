// Holds a pipeline to every case of the goldens, with one thread and with two; a failure names the first stage that is
// off. Shared by the tests of both implementations; only tests include this.
#pragma once

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "harness/goldens.h"

namespace i2i::golden {

inline const std::vector<Case>& all_cases() {
  static const auto cases = read_cases(default_folder());
  return cases;
}

inline const Tolerances& tolerances() {
  static const auto derived = derive_tolerances(all_cases());
  return derived;
}

using MakePipeline = std::function<std::unique_ptr<Pipeline>(std::shared_ptr<const Model>)>;

/// Prints the worst step of every stage and fails with the first stage that is off.
inline void expect_parity(const Case& one, const MakePipeline& make_pipeline, int threads, Stages stages) {
  at::set_num_threads(threads);
  const auto model = load_model_of(one);
  const auto pipeline = make_pipeline(model);
  const Outcome outcome = run_case(one, *model, *pipeline, tolerances(), stages);
  EXPECT_EQ(outcome.out_of_order, std::vector<std::string>{});
  for (const Finding& worst : outcome.worst_of_stages()) {
    fmt::print("  {:<32} {}\n", worst.where(),
               worst.problem.empty() ? fmt::format("{:.2e} of {:.1e}", worst.distance, worst.allowed) : worst.problem);
  }
  if (const Finding* first = outcome.first_failed(); first != nullptr) {
    ADD_FAILURE() << one.family << " " << one.name << ": first off at " << first->where() << ": "
                  << (first->problem.empty()
                          ? fmt::format("{:.3e} away, {:.1e} allowed", first->distance, first->allowed)
                          : first->problem);
  }
}

/// Index into all_cases, and threads: the goldens were made with one, and sums in another order must hold too.
using Parameter = std::tuple<std::size_t, int>;
inline auto every_case() {
  return testing::Combine(testing::Range(std::size_t{0}, all_cases().size()), testing::Values(1, 2));
}

/// A test's name: family, case and threads.
inline std::string case_name(const testing::TestParamInfo<Parameter>& info) {
  const auto& one = all_cases()[std::get<0>(info.param)];
  auto name = fmt::format("{}_{}_{}_threads", one.family, one.name, std::get<1>(info.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace i2i::golden
