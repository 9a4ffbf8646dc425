// Promise: every primitive gives what primitives_golden.txt holds. Executed on the CPU, that says the stored numbers
// are the CPU runtime's; on a GPU, that hardware and CPU runtime read the PTX ISA alike, without which no other test
// there means anything. I2I_UPDATE_GOLDENS=1 writes the file instead (CPU only).
#include "tests/cuda_on_cpu/primitives.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda {
namespace {

using cuda_on_cpu::DeviceBuffer;

const char* const kFile = I2I_SOURCE_DIR "/tests/cuda_on_cpu/primitives_golden.txt";

std::vector<unsigned> result_of(const Primitive& primitive) {
  const DeviceBuffer<unsigned> input(primitive.input(), "input");
  const DeviceBuffer<unsigned> output(static_cast<std::size_t>(primitive.outputs), "output");
  const cudaError_t error = primitive.run(input.data(), output.data(), nullptr);
  const auto& report = cuda_on_cpu::last_report();
  EXPECT_EQ(error, cudaSuccess) << primitive.name << ": " << report.text();
  EXPECT_TRUE(report.clean()) << primitive.name << ": " << report.text();
  // Where the runtime watches every access; under the sanitizers it does not.
  if (cuda_on_cpu::checks().accesses) {
    EXPECT_EQ(output.unwritten_bytes(), 0u) << primitive.name;
  }
  return output.host();
}

double as_number(unsigned word) {
  float value;
  std::memcpy(&value, &word, sizeof(value));
  return double{value};
}

testing::AssertionResult agrees(const Primitive& primitive, const std::vector<unsigned>& got,
                                const std::vector<unsigned>& golden) {
  if (got.size() != golden.size()) return testing::AssertionFailure() << got.size() << " words, not " << golden.size();
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double number = as_number(got[i]), expected = as_number(golden[i]);
    if (primitive.tolerance == 0
            ? got[i] != golden[i]
            : !(std::abs(number - expected) <= primitive.tolerance * std::max(1.0, std::abs(expected)))) {
      return testing::AssertionFailure() << "word " << i << " is " << got[i] << " (" << number << "), the golden's is "
                                         << golden[i] << " (" << expected << ")";
    }
  }
  return testing::AssertionSuccess();
}

/// A line each: the name, then the words.
std::map<std::string, std::vector<unsigned>> read_goldens() {
  std::map<std::string, std::vector<unsigned>> goldens;
  std::ifstream file(kFile);
  for (std::string line, name; std::getline(file, line);) {
    std::istringstream words(line);
    words >> name;
    for (unsigned word; words >> word;) goldens[name].push_back(word);
  }
  return goldens;
}

TEST(Primitives, AreTheGoldens) {
  if (std::getenv("I2I_UPDATE_GOLDENS") != nullptr) {
    ASSERT_TRUE(cuda_on_cpu::checks().accesses) << "goldens come from the checked CPU runtime";
    std::ofstream file(kFile);
    for (const Primitive& primitive : primitives()) {
      file << primitive.name;
      for (const unsigned word : result_of(primitive)) file << ' ' << word;
      file << '\n';
    }
    GTEST_SKIP() << "wrote " << kFile;
  }
  const auto goldens = read_goldens();
  ASSERT_EQ(goldens.size(), primitives().size()) << kFile << " holds other primitives";
  for (const Primitive& primitive : primitives())
    EXPECT_TRUE(agrees(primitive, result_of(primitive), goldens.at(primitive.name))) << primitive.name;
}

// A golden with one wrong bit must not pass, nor a number just beyond its tolerance.
TEST(Primitives, AWrongBitIsFound) {
  if (!cuda_on_cpu::checks().accesses) GTEST_SKIP() << "seen on the CPU runtime";
  for (const Primitive& primitive : primitives()) {
    auto golden = result_of(primitive);
    const auto got = golden;
    if (primitive.tolerance == 0) {
      golden[golden.size() / 2] ^= 1u;
    } else {
      const double number = as_number(golden[3]);
      const auto moved = static_cast<float>(number + 2.5 * primitive.tolerance * std::max(1.0, std::abs(number)));
      std::memcpy(&golden[3], &moved, sizeof(moved));
    }
    EXPECT_FALSE(agrees(primitive, got, golden)) << primitive.name;
  }
}

}  // namespace
}  // namespace i2i::cuda
