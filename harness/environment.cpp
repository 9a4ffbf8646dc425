#include "harness/environment.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "interface/model_files.h"
#include "optimized/cuda/backend.h"
#include "optimized/ops/cpu/instruction_sets.h"
#include "optimized/ops/cpu/kernels.h"

namespace i2i {
namespace {

// The value behind "key : value" in a file of such lines, "" where there is none.
std::string field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const auto colon = line.find(':');
    const auto start = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && start != std::string::npos) return line.substr(start);
  }
  return "";
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string deps_folder() {
  const char* overridden = std::getenv("I2I_DEPS");
  return overridden != nullptr ? overridden : I2I_DEPS;
}

Finding file_finding(const std::string& what, const std::string& path, const std::string& purpose) {
  const bool present = std::filesystem::exists(path);
  return {what, present, present ? path : fmt::format("{}; missing at {}: run ci/setup", purpose, path)};
}

}  // namespace

std::vector<std::pair<std::string, std::string>> environment() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const std::string governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  const std::string load = first_line("/proc/loadavg");
  return {{"date", fmt::format("{:%Y-%m-%d %H:%M} UTC",
                               std::chrono::floor<std::chrono::minutes>(std::chrono::system_clock::now()))},
          {"processor", field("/proc/cpuinfo", "model name")},
          {"cores", std::to_string(std::thread::hardware_concurrency())},
          {"threads", std::to_string(at::get_num_threads())},
          {"vector instructions",
           fmt::format("{} in libtorch, {} in the optimized operators", at::get_cpu_capability(), cpu::kernels().name)},
          {"memory", field("/proc/meminfo", "MemTotal")},
          {"frequency governor", governor.empty() ? "not readable" : governor},
          {"load average at start", load.substr(0, load.find(' '))},
          {"libtorch", TORCH_VERSION},
          {"compiler", "g++ " __VERSION__},
          {"build", I2I_BUILD_TYPE},
          {"commit", I2I_COMMIT}};
}

std::vector<Finding> examine_machine() {
  const std::string deps = deps_folder();
  std::vector<Finding> findings;
  findings.push_back(file_finding("LPIPS weights (AlexNet)", deps + "/lpips/alexnet.safetensors", "the lpips metric"));
  findings.push_back(file_finding("LPIPS weights (VGG16)", deps + "/lpips/vgg16.safetensors", "the lpips_vgg metric"));
  findings.push_back(file_finding("photographs", deps + "/photographs/astronaut.png", "the example requests"));
  findings.push_back(
      file_finding("embedded model", I2I_SOURCE_DIR "/datasets/models/scenes/model_index.json", "--model scenes"));
  const bool gpu = std::filesystem::exists("/dev/nvidia0");
  findings.push_back({"NVIDIA GPU", gpu, gpu ? "/dev/nvidia0" : "none here: --device cuda is skipped, and said so"});
  for (const char* device : {"cuda", "cuda-emulated"}) {
    const std::string missing = missing_for_cuda(device);
    findings.push_back({fmt::format("--device {}", device), missing.empty(), missing.empty() ? "usable" : missing});
  }
  const bool avx512 = field("/proc/cpuinfo", "flags").find("avx512f") != std::string::npos;
  findings.push_back({"AVX-512", avx512,
                      fmt::format("the optimized operators use {}; {} names another ({})", cpu::kernels().name,
                                  cpu::kInstructionSetVariable, fmt::join(cpu::instruction_sets(), ", "))});
  return findings;
}

}  // namespace i2i
