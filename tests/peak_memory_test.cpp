// Promise: the memory that a report gives an implementation is its own. Mapped weights that leave or come back while it
// is watched change nothing of it, and what was held for a moment only is in the peak.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "harness/measure.h"
#include "interface/synthetic_model.h"
#include "tests/process_memory.h"

namespace i2i {
namespace {

constexpr std::int64_t kWeights = 128 << 20, kOwn = 48 << 20, kSlack = 6 << 20;

std::int64_t mapped_now() {
  const Memory memory = memory_now();
  return memory.resident - memory.anonymous;
}

struct Seen {
  std::int64_t kept, added, mapped;
};

/// Weights in a file, then `watched` of them.
template <typename Watched>
Seen watch(const Watched& watched) {
  return in_a_child([&] {
    const Weights weights = synthetic_weights({{"a.weight", {8192, 4096}}}, "test");
    return watched(weights.at("a.weight"));
  });
}

TEST(PeakMemory, CountsWhatIsPackedAlthoughMappedPagesLeave) {
  const Seen seen = watch([](const at::Tensor& weight) {
    const std::int64_t mapped = mapped_now();
    const PeakMemory memory;
    const at::Tensor packed = at::ones({kOwn}, at::kByte);
    release_pages(weight);
    return Seen{memory.kept_bytes(), memory.added_bytes(), mapped - mapped_now()};
  });
  ASSERT_GE(seen.mapped, kWeights / 2) << "nothing left memory";
  EXPECT_NEAR(static_cast<double>(seen.kept), static_cast<double>(kOwn), kSlack);
}

TEST(PeakMemory, IsNotThatOfMappedPagesThatComeBack) {
  const Seen seen = watch([](const at::Tensor& weight) {
    release_pages(weight);
    const PeakMemory memory;
    { const at::Tensor passing = at::ones({kOwn}, at::kByte); }
    const double sum = weight.sum().item<double>();
    return Seen{memory.kept_bytes(), memory.added_bytes(), sum == 0 ? 0 : mapped_now()};
  });
  EXPECT_GE(seen.mapped, kWeights / 2);
  EXPECT_NEAR(static_cast<double>(seen.kept), 0, kSlack);
  EXPECT_LE(seen.added, kOwn + kSlack);
}

}  // namespace
}  // namespace i2i
