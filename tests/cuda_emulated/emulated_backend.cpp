// The emulated side of optimized/cuda/backend.h: every kernel of ours is executed on the CPU by tests/cuda_on_cpu, one
// thread after another, without its memory checks (the kernels' own tests have them). What agrees here is "emulated",
// never "passed on a GPU".
#include <unistd.h>

#include <chrono>

#include "optimized/cuda/backend.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace i2i {
namespace cuda_ops {

cudaStream_t stream() { return nullptr; }

std::string explain(cudaError_t error) {
  if (error == cudaErrorInvalidValue) return "the launcher refuses the shape";
  return cuda_on_cpu::last_report().text();
}

}  // namespace cuda_ops

namespace {

/// Nothing to capture: the work runs.
class WorkThatRuns final : public CapturedWork {
 public:
  at::Tensor run(const std::string&, const std::vector<at::Tensor>& inputs, const Work& work) override {
    return work(inputs);
  }
};

class EmulatedBackend final : public CudaBackend {
 public:
  EmulatedBackend() {
    cuda_on_cpu::options().order = cuda_on_cpu::Order::kInOrder;
    cuda_on_cpu::options().async_copies = cuda_on_cpu::AsyncCopies::kAtIssue;
    cuda_on_cpu::options().checked = false;
    provide_emulated_cuda_backend(this);
  }

  at::Device device() const override { return at::kCPU; }
  bool emulated() const override { return true; }
  std::map<std::string, std::int64_t> substitutes() const override { return cuda_ops::substitutes(); }
  std::unique_ptr<CapturedWork> make_captured_work(std::size_t) override { return std::make_unique<WorkThatRuns>(); }
  int mark() override {
    marks_.push_back(std::chrono::steady_clock::now());
    return static_cast<int>(marks_.size()) - 1;
  }
  double milliseconds_between(int from, int to) override {
    return std::chrono::duration<double, std::milli>(marks_.at(static_cast<std::size_t>(to)) -
                                                     marks_.at(static_cast<std::size_t>(from)))
        .count();
  }
  void forget_marks() override { marks_.clear(); }
  DeviceMemory memory() const override {
    const std::int64_t page = sysconf(_SC_PAGESIZE);
    return {sysconf(_SC_AVPHYS_PAGES) * page, sysconf(_SC_PHYS_PAGES) * page};
  }
  void release_cached_memory() override {}

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

EmulatedBackend backend;  // linked as an object file: nothing has to refer to it

}  // namespace
}  // namespace i2i
