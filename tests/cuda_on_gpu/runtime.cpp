// tests/cuda_on_cpu/runtime.h on a real GPU, so that the same tests run there: device memory is cudaMalloc's, between
// guard bytes that are looked at after every launch. What the CPU runtime sees beyond results (races, uninitialised
// reads, traffic) is compute-sanitizer's and the profiler's work here; `checks()` says so.
#include "tests/cuda_on_cpu/runtime.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

namespace i2i::cuda_on_cpu {
namespace {

constexpr std::size_t kGuardBytes = 256;  // keeps cudaMalloc's alignment
constexpr int kGuard = 0xa5, kPoison = 0xff;

struct Piece {
  std::string name;
  std::size_t bytes = 0;
  char* allocated = nullptr;
  std::vector<char> input;  ///< what the host put there, where the kernel may not write
};

std::map<const void*, Piece>& pieces() {
  static std::map<const void*, Piece> all;
  return all;
}

void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

std::vector<char> bytes_at(const char* address, std::size_t bytes) {
  std::vector<char> copy(bytes);
  require(cudaMemcpy(copy.data(), address, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  return copy;
}

bool is_guard(const std::vector<char>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == static_cast<char>(kGuard); });
}

void examine(const Piece& piece, Report& report) {
  if (!is_guard(bytes_at(piece.allocated, kGuardBytes)))
    report.issues.push_back({"out-of-bounds", "bytes before '" + piece.name + "' were overwritten"});
  if (!is_guard(bytes_at(piece.allocated + kGuardBytes + piece.bytes, kGuardBytes)))
    report.issues.push_back({"out-of-bounds", "bytes behind '" + piece.name + "' were overwritten"});
  if (!piece.input.empty() && bytes_at(piece.allocated + kGuardBytes, piece.bytes) != piece.input)
    report.issues.push_back({"read-only", "the input '" + piece.name + "' was written to"});
}

}  // namespace

bool Report::has(const std::string& kind) const {
  return std::any_of(issues.begin(), issues.end(), [&](const Issue& issue) { return issue.kind == kind; });
}

std::string Report::text() const {
  std::string result;
  for (const Issue& issue : issues) result += issue.kind + ": " + issue.text + "\n";
  return result;
}

std::string Traffic::text() const { return "not counted on a GPU"; }

Checks checks() { return {.accesses = false, .traffic = false}; }

/// Orders, landings and roundings are the hardware's own here.
Options& options() {
  static Options ignored;
  return ignored;
}

/// Waits for everything that was launched, then looks at the guards and inputs of all memory that lives.
const Report& last_report() {
  static Report report;
  report = {};
  const cudaError_t error = cudaDeviceSynchronize();
  if (error != cudaSuccess) {
    report.issues.push_back({"cuda", cudaGetErrorString(error)});
    return report;
  }
  for (const auto& [address, piece] : pieces()) examine(piece, report);
  return report;
}

DeviceMemory::DeviceMemory(std::size_t bytes, const std::string& name) {
  Piece piece{name, bytes, nullptr, {}};
  void* memory = nullptr;
  require(cudaMalloc(&memory, bytes + 2 * kGuardBytes), "cudaMalloc");
  piece.allocated = static_cast<char*>(memory);
  data_ = piece.allocated + kGuardBytes;
  require(cudaMemset(memory, kGuard, bytes + 2 * kGuardBytes), "cudaMemset");
  if (bytes > 0) require(cudaMemset(data_, kPoison, bytes), "cudaMemset");
  pieces()[data_] = std::move(piece);
}

DeviceMemory::~DeviceMemory() {
  cudaFree(pieces()[data_].allocated);
  pieces().erase(data_);
}

void DeviceMemory::copy_from_host(const void* bytes, bool read_only) {
  Piece& piece = pieces()[data_];
  if (piece.bytes == 0) return;
  require(cudaMemcpy(data_, bytes, piece.bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  const auto* first = static_cast<const char*>(bytes);
  piece.input.clear();
  if (read_only) piece.input.assign(first, first + piece.bytes);
}

void DeviceMemory::copy_to_host(void* bytes) const {
  const Piece& piece = pieces()[data_];
  if (piece.bytes > 0) require(cudaMemcpy(bytes, data_, piece.bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
}

std::size_t DeviceMemory::unwritten_bytes() const { return 0; }

}  // namespace i2i::cuda_on_cpu
