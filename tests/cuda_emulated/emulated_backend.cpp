// The emulated side of optimized/cuda/backend.h: every kernel of ours is executed on the CPU by tests/cuda_on_cpu, one
// thread after another, without its memory checks (the kernels' own tests have them). What agrees here is "emulated",
// never "passed on a GPU".
#include <ATen/ATen.h>
#include <unistd.h>

#include <chrono>
#include <cmath>

#include "optimized/cuda/backend.h"
#include "optimized/cuda/recently_used.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "tests/cuda_emulated/emulated.h"
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

std::int64_t made_so_far = 0;

/// A capture as far as a CPU can have one: what runs is the work that first came with the key, on copies of this call's
/// inputs in memory that it keeps, and results lie where the next call overwrites them. Work that reads anything of its
/// request but inputs draws the first request's picture again; so does whoever reads a result too late.
class RememberedWork final : public CapturedWork {
 public:
  /// @param mark  numbers a moment
  RememberedWork(std::size_t most, std::function<int()> mark) : captures_(most), mark_(std::move(mark)) {}

  Done run(const std::string& key, const Tensors& inputs, const Work& work, const Work& warm_up) override {
    Capture& capture = captures_.get(key, [&] {
      ++made_so_far;
      Capture made{work, {}, {}};
      for (const at::Tensor& input : inputs) made.inputs.push_back(input.clone());
      warm_up(made.inputs, [] {});
      return made;
    });
    TORCH_CHECK(inputs.size() == capture.inputs.size(), "captured work with ", capture.inputs.size(), " inputs got ",
                inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      TORCH_CHECK(inputs[i].sizes() == capture.inputs[i].sizes(), "captured work's input ", i, " is ",
                  inputs[i].sizes(), ", captured were ", capture.inputs[i].sizes());
      capture.inputs[i].copy_(inputs[i]);
    }
    Done done;
    const Tensors made = capture.work(capture.inputs, [&] { done.marks.push_back(mark_()); });
    for (std::size_t i = 0; i < inputs.size(); ++i)
      TORCH_CHECK(at::equal(capture.inputs[i], inputs[i]) || !at::isfinite(inputs[i]).all().item<bool>(),
                  "captured work wrote its input ", i);
    if (capture.outputs.empty()) {
      for (const at::Tensor& output : made) capture.outputs.push_back(output.clone());
    }
    for (std::size_t i = 0; i < made.size(); ++i) capture.outputs[i].copy_(made[i]);
    done.outputs = capture.outputs;
    return done;
  }

 private:
  struct Capture {
    Work work;
    Tensors inputs, outputs;
  };

  RecentlyUsed<Capture> captures_;
  std::function<int()> mark_;
};

/// Runs as late as it may: whoever takes its results before joining it gets none.
class LateWork final : public SideWork {
 public:
  explicit LateWork(std::function<Tensors()> work) : work_(std::move(work)) {}
  Tensors join() override { return work_(); }

 private:
  std::function<Tensors()> work_;
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
  std::string name() const override { return "CUDA's kernels executed on the CPU"; }
  std::map<std::string, std::int64_t> substitutes() const override { return cuda_ops::substitutes(); }
  std::unique_ptr<CapturedWork> make_captured_work(std::size_t most) override {
    return std::make_unique<RememberedWork>(most, [this] { return mark(); });
  }
  void use_libraries(bool, bool) override {}  // there are none here
  std::unique_ptr<SideWork> beside(const std::function<SideWork::Tensors()>& work) override {
    return std::make_unique<LateWork>(work);
  }
  at::Tensor upload(const at::Tensor& host) override { return host.clone(); }
  /// Whoever does not wait for it reads NaN.
  at::Tensor download(const at::Tensor& tensor) override {
    downloads_.emplace_back(at::full_like(tensor, NAN), tensor);
    return downloads_.back().first;
  }
  void wait() override {
    for (const auto& [to, from] : downloads_) to.copy_(from);
    downloads_.clear();
  }
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
  void watch_peak() override {}
  void release_cached_memory() override {}

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;
  std::vector<std::pair<at::Tensor, at::Tensor>> downloads_;
};

EmulatedBackend backend;  // linked as an object file: nothing has to refer to it

}  // namespace

std::int64_t emulated_captures() { return made_so_far; }

}  // namespace i2i
