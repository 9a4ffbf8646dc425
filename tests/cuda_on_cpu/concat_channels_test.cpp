// Promise: two tensors stand side by side along the channels, bit for bit, NaN payloads included, whatever their
// widths. The verdict is "emulated".
#include "optimized/ops/cuda/concat_channels.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

template <typename Word>
void check(std::size_t rows, std::size_t a_channels, std::size_t b_channels, std::uint64_t seed,
           std::size_t skipped = 0) {
  SCOPED_TRACE(testing::Message() << rows << " rows of " << a_channels << " + " << b_channels);
  std::mt19937_64 random(seed);
  std::vector<Word> a(rows * a_channels + skipped), b(rows * b_channels);
  for (Word& word : a) word = static_cast<Word>(random());
  for (Word& word : b) word = static_cast<Word>(random());
  const DeviceBuffer<Word> a_device(a, "a"), b_device(b, "b"), out(rows * (a_channels + b_channels), "out");
  const ConcatChannels call{a_device.data() + skipped,
                            b_device.data(),
                            out.data(),
                            sizeof(Word) == 4 ? ElementType::kFloat32 : ElementType::kBFloat16,
                            static_cast<std::int64_t>(rows),
                            static_cast<int>(a_channels),
                            static_cast<int>(b_channels)};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(concat_channels(call, nullptr), out));
  const auto words = out.host();
  for (std::size_t row = 0, i = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < a_channels + b_channels; ++c, ++i) {
      ASSERT_EQ(words[i], c < a_channels ? a[skipped + row * a_channels + c] : b[row * b_channels + c - a_channels])
          << "row " << row << ", channel " << c;
    }
  }
}

template <typename Word>
void check_all_shapes(std::uint64_t seed) {
  check<Word>(5, 320, 320, seed);
  check<Word>(9, 64, 32, seed);
  check<Word>(1, 8, 8, seed);
  check<Word>(7, 30, 16, seed);  // no vectors in a
  check<Word>(7, 16, 30, seed);  // nor in b
  check<Word>(31, 1, 9, seed);
  check<Word>(4, 16, 16, seed, 1);  // not aligned
}

TEST(ConcatChannelsKernel, IsExact) {
  in_random_orders([](std::uint64_t seed) {
    check_all_shapes<std::uint16_t>(seed);
    check_all_shapes<std::uint32_t>(seed);
  });
}

TEST(ConcatChannelsKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<std::uint16_t>(70, 40, 24, 1); });
}

TEST(ConcatChannelsKernel, ReadsAndWritesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check<std::uint16_t>(16, 320, 640, 1); });
  EXPECT_EQ(traffic.global_sectors, 2u * 16 * 960 * 2 / 32) << traffic.text();
}

TEST(ConcatChannelsKernel, RefusesTooMuch) {
  ConcatChannels call{};
  call.rows = std::int64_t{1} << 20;
  call.a_channels = call.b_channels = 1024;
  EXPECT_EQ(concat_channels(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
