// The GPU's side of backend.h: streams, events, memory, and CUDA graphs. The whole of libi2i_cuda.so is this, the
// bindings and the kernels; it is loaded where a GPU is asked for (backend.cpp), after libtorch's CUDA half, whose
// symbols it leaves undefined.
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <list>
#include <stdexcept>

#include "optimized/cuda/backend.h"
#include "optimized/ops/cuda/torch/binding.h"

namespace i2i {
namespace cuda_ops {

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

std::string explain(cudaError_t error) {
  return fmt::format("{} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace cuda_ops

namespace {

void check(cudaError_t error, const char* what) {
  TORCH_CHECK(error == cudaSuccess, what, ": ", cuda_ops::explain(error));
}

/// One graph with the tensors that it reads and writes. What was allocated while capturing stays in the graph's own
/// pool, so every replay works in the same memory and allocates nothing.
struct Capture {
  std::string key;
  std::vector<at::Tensor> inputs;  ///< what the graph reads
  std::vector<at::Tensor> latest;  ///< whose values they hold; held, so that no other tensor can be taken for it
  at::Tensor output;
  std::unique_ptr<at::cuda::CUDAGraph> graph;
};

class CudaGraphs final : public CapturedWork {
 public:
  explicit CudaGraphs(std::size_t most) : most_(most) {}

  at::Tensor run(const std::string& key, const std::vector<at::Tensor>& inputs, const Work& work) override {
    for (auto entry = captures_.begin(); entry != captures_.end(); ++entry) {
      if (entry->key != key) continue;
      captures_.splice(captures_.begin(), captures_, entry);  // the list is by time of use
      replay(captures_.front(), inputs);
      return captures_.front().output;
    }
    while (captures_.size() >= most_) captures_.pop_back();
    captures_.push_front(capture(key, inputs, work));
    replay(captures_.front(), inputs);
    return captures_.front().output;
  }

 private:
  static Capture capture(const std::string& key, const std::vector<at::Tensor>& inputs, const Work& work) {
    Capture made;
    made.key = key;
    for (const at::Tensor& input : inputs) {
      made.inputs.push_back(at::empty_like(input));
      made.inputs.back().copy_(input);
    }
    // Once outside of the capture: libraries choose their algorithms and allocate their workspaces at the first call.
    work(made.inputs);
    const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
    check(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream().stream()), "before the capture");
    {
      const c10::cuda::CUDAStreamGuard guard(stream);
      work(made.inputs);  // workspaces belong to a stream
      check(cudaStreamSynchronize(stream.stream()), "before the capture");
      made.graph = std::make_unique<at::cuda::CUDAGraph>();
      made.graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        made.output = work(made.inputs);
      } catch (...) {
        end_failed_capture(*made.graph);
        throw;
      }
      made.graph->capture_end();
    }
    check(cudaDeviceSynchronize(), "after the capture");
    made.latest.resize(inputs.size());
    return made;
  }

  /// A stream must not stay in capture; what ends it reports the failure a second time.
  static void end_failed_capture(at::cuda::CUDAGraph& graph) noexcept {
    try {
      graph.capture_end();
    } catch (const std::exception&) {
      cudaGetLastError();
    }
  }

  static void replay(Capture& capture, const std::vector<at::Tensor>& inputs) {
    TORCH_CHECK(inputs.size() == capture.inputs.size(), "a captured step with ", capture.inputs.size(), " inputs got ",
                inputs.size());
    // What is the same tensor as at the last call (text keys and values) was copied then.
    std::vector<at::Tensor> to, from;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (capture.latest[i].defined() && capture.latest[i].is_same(inputs[i]) && !changes(i)) continue;
      TORCH_CHECK(inputs[i].sizes() == capture.inputs[i].sizes(), "a captured step's input ", i, " is ",
                  inputs[i].sizes(), ", captured were ", capture.inputs[i].sizes());
      to.push_back(capture.inputs[i]);
      from.push_back(inputs[i]);
      capture.latest[i] = inputs[i];
    }
    if (!to.empty()) at::_foreach_copy_(to, from);
    capture.graph->replay();
  }

  /// The first input may be written between calls (latents take turns in two memories); the others are made once.
  static bool changes(std::size_t input) { return input == 0; }

  std::size_t most_;
  std::list<Capture> captures_;
};

class GpuBackend final : public CudaBackend {
 public:
  GpuBackend() {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) throw std::runtime_error("no usable GPU: " + cuda_ops::explain(error));
    if (devices == 0) throw std::runtime_error("no usable GPU: the driver knows none");
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "compute capability");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "compute capability");
    if (major < 8)
      throw std::runtime_error(fmt::format("the GPU has compute capability {}.{}, below 8.0", major, minor));
  }

  at::Device device() const override { return {at::kCUDA, 0}; }
  bool emulated() const override { return false; }
  std::map<std::string, std::int64_t> substitutes() const override { return cuda_ops::substitutes(); }
  std::unique_ptr<CapturedWork> make_captured_work(std::size_t most) override {
    return std::make_unique<CudaGraphs>(most);
  }

  int mark() override {
    if (marks_used_ == marks_.size()) {
      marks_.emplace_back();
      check(cudaEventCreate(&marks_.back()), "event");
    }
    check(cudaEventRecord(marks_[marks_used_], cuda_ops::stream()), "event");
    return static_cast<int>(marks_used_++);
  }
  double milliseconds_between(int from, int to) override {
    const cudaEvent_t first = marks_.at(static_cast<std::size_t>(from)), last = marks_.at(static_cast<std::size_t>(to));
    check(cudaEventSynchronize(last), "event");
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, first, last), "event");
    return static_cast<double>(elapsed);
  }
  void forget_marks() override { marks_used_ = 0; }

  DeviceMemory memory() const override {
    std::size_t free_bytes = 0, total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "memory");
    return {static_cast<std::int64_t>(free_bytes), static_cast<std::int64_t>(total_bytes)};
  }
  void release_cached_memory() override { c10::cuda::CUDACachingAllocator::emptyCache(); }

 private:
  std::vector<cudaEvent_t> marks_;  ///< kept for the life of the process
  std::size_t marks_used_ = 0;
};

}  // namespace
}  // namespace i2i

/// @throws std::runtime_error saying why no GPU can be used
extern "C" i2i::CudaBackend* i2i_make_cuda_backend() {
  static i2i::GpuBackend backend;
  return &backend;
}
