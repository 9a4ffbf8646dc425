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

#include <memory>
#include <optional>
#include <stdexcept>

#include "optimized/cuda/backend.h"
#include "optimized/cuda/recently_used.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "optimized/ops/cuda/torch/cudnn_convolution.h"
#include "optimized/ops/cuda/torch/fastest.h"

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

struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "event");
  return Event(event);
}

/// The moments of a request, in the order of their numbers; whoever made an event keeps it.
using Marks = std::vector<cudaEvent_t>;

/// One graph with the tensors that it reads and writes. What was allocated while capturing stays in the graph's own
/// pool, so every replay works in the same memory and allocates nothing.
struct Capture {
  CapturedWork::Tensors inputs;  ///< what the graph reads
  CapturedWork::Tensors latest;  ///< whose values they hold; held, so that no other tensor can be taken for it
  CapturedWork::Tensors outputs;
  std::vector<Event> marks;  ///< each replay records them anew
  std::unique_ptr<at::cuda::CUDAGraph> graph;
};

class CudaGraphs final : public CapturedWork {
 public:
  /// @param marks  outlives this
  CudaGraphs(std::size_t most, Marks& marks)
      : captures_(most), marks_(marks), stream_(c10::cuda::getStreamFromPool()) {}

  Done run(const std::string& key, const Tensors& inputs, const Work& work, const Work& warm_up) override {
    Capture& captured = captures_.get(key, [&] { return capture(inputs, work, warm_up); });
    replay(captured, inputs);
    Done done{captured.outputs, {}};
    for (const Event& event : captured.marks) {
      done.marks.push_back(static_cast<int>(marks_.size()));
      marks_.push_back(event.get());
    }
    return done;
  }

 private:
  Capture capture(const Tensors& inputs, const Work& work, const Work& warm_up) const {
    Capture made;
    for (const at::Tensor& input : inputs) {
      made.inputs.push_back(at::empty_like(input));
      made.inputs.back().copy_(input);
    }
    check(cudaStreamSynchronize(c10::cuda::getCurrentCUDAStream().stream()), "before the capture");
    const c10::cuda::CUDAStreamGuard guard(stream_);
    // On the stream of the capture, since workspaces belong to one. What it allocated goes back: the graph has a pool
    // of its own.
    warm_up(made.inputs, [] {});
    check(cudaStreamSynchronize(stream_.stream()), "before the capture");
    c10::cuda::CUDACachingAllocator::emptyCache();
    // An event that a graph records is asked from outside of it: the flag makes its record a node of its own.
    const Mark mark = [&] {
      made.marks.push_back(make_event());
      check(cudaEventRecordWithFlags(made.marks.back().get(), stream_.stream(), cudaEventRecordExternal), "event");
    };
    made.graph = std::make_unique<at::cuda::CUDAGraph>();
    made.graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      made.outputs = work(made.inputs, mark);
    } catch (...) {
      end_failed_capture(*made.graph);
      throw;
    }
    made.graph->capture_end();
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

  static void replay(Capture& capture, const Tensors& inputs) {
    TORCH_CHECK(inputs.size() == capture.inputs.size(), "captured work with ", capture.inputs.size(), " inputs got ",
                inputs.size());
    // What is the same tensor as at the last call (text keys and values of a captured step) was copied then.
    Tensors to, from;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (capture.latest[i].defined() && capture.latest[i].is_same(inputs[i]) && !changes(i)) continue;
      TORCH_CHECK(inputs[i].sizes() == capture.inputs[i].sizes(), "captured work's input ", i, " is ",
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

  RecentlyUsed<Capture> captures_;
  Marks& marks_;
  c10::cuda::CUDAStream stream_;  ///< of all captures; replays go to the current one
};

class CudaSideWork final : public SideWork {
 public:
  CudaSideWork(const c10::cuda::CUDAStream& stream, const std::function<Tensors()>& work) : stream_(stream) {
    check(cudaEventRecord(order_.get(), cuda_ops::stream()), "side work");
    check(cudaStreamWaitEvent(stream_.stream(), order_.get(), 0), "side work");
    const c10::cuda::CUDAStreamGuard guard(stream_);
    try {
      made_ = work();
    } catch (...) {
      cudaStreamSynchronize(stream_.stream());  // what it reads is about to be let go
      throw;
    }
    check(cudaEventRecord(order_.get(), stream_.stream()), "side work");
  }
  ~CudaSideWork() override {
    if (!joined_) cudaStreamSynchronize(stream_.stream());
  }
  CudaSideWork(const CudaSideWork&) = delete;
  CudaSideWork& operator=(const CudaSideWork&) = delete;

  Tensors join() override {
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream();
    check(cudaStreamWaitEvent(current.stream(), order_.get(), 0), "side work");
    // The allocator would give their memory to the side stream again while the current one still reads it.
    for (const at::Tensor& tensor : made_)
      c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), current);
    joined_ = true;
    return std::move(made_);
  }

 private:
  c10::cuda::CUDAStream stream_;
  Event order_ = make_event();  ///< first what came before the work, then its end
  Tensors made_;
  bool joined_ = false;
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
  std::string name() const override {
    cudaDeviceProp properties{};
    int driver = 0, runtime = 0;
    check(cudaGetDeviceProperties(&properties, 0), "device");
    check(cudaDriverGetVersion(&driver), "driver");
    check(cudaRuntimeGetVersion(&runtime), "runtime");
    return fmt::format("{}, CUDA {}.{} (driver's {}.{})", properties.name, runtime / 1000, runtime % 1000 / 10,
                       driver / 1000, driver % 1000 / 10);
  }
  std::map<std::string, std::int64_t> substitutes() const override { return cuda_ops::substitutes(); }
  std::unique_ptr<CapturedWork> make_captured_work(std::size_t most) override {
    return std::make_unique<CudaGraphs>(most, marks_);
  }
  void use_libraries(bool cudnn_graphs, bool tuned) override {
    cuda_ops::use_cudnn_graphs(cudnn_graphs);
    cuda_ops::tune_libraries(tuned);
  }

  std::unique_ptr<SideWork> beside(const std::function<SideWork::Tensors()>& work) override {
    if (!side_) side_ = c10::cuda::getStreamFromPool();
    return std::make_unique<CudaSideWork>(*side_, work);
  }
  // The allocator of pinned memory knows which copies still read or write it.
  at::Tensor upload(const at::Tensor& host) override { return host.pin_memory().to(device(), /*non_blocking=*/true); }
  at::Tensor download(const at::Tensor& tensor) override {
    const at::Tensor host = at::empty_like(tensor, tensor.options().device(at::kCPU).pinned_memory(true));
    host.copy_(tensor, /*non_blocking=*/true);
    return host;
  }
  void wait() override { check(cudaStreamSynchronize(cuda_ops::stream()), "waiting for the device"); }

  int mark() override {
    if (own_marks_used_ == own_marks_.size()) own_marks_.push_back(make_event());
    const cudaEvent_t event = own_marks_[own_marks_used_++].get();
    check(cudaEventRecord(event, cuda_ops::stream()), "event");
    marks_.push_back(event);
    return static_cast<int>(marks_.size()) - 1;
  }
  double milliseconds_between(int from, int to) override {
    const cudaEvent_t first = marks_.at(static_cast<std::size_t>(from)), last = marks_.at(static_cast<std::size_t>(to));
    check(cudaEventSynchronize(last), "event");
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, first, last), "event");
    return static_cast<double>(elapsed);
  }
  void forget_marks() override {
    marks_.clear();
    own_marks_used_ = 0;
  }

  DeviceMemory memory() const override {
    std::size_t free_bytes = 0, total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "memory");
    const auto allocated = c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocated_bytes[0];  // of all pools
    return {static_cast<std::int64_t>(free_bytes), static_cast<std::int64_t>(total_bytes), allocated.current,
            allocated.peak};
  }
  void watch_peak() override { c10::cuda::CUDACachingAllocator::resetPeakStats(0); }
  void release_cached_memory() override { c10::cuda::CUDACachingAllocator::emptyCache(); }

 private:
  std::optional<c10::cuda::CUDAStream> side_;  ///< always the same, so that memory cached for it is used again
  Marks marks_;
  std::vector<Event> own_marks_;  ///< used again by the next request
  std::size_t own_marks_used_ = 0;
};

}  // namespace
}  // namespace i2i

/// @throws std::runtime_error saying why no GPU can be used
extern "C" i2i::CudaBackend* i2i_make_cuda_backend() {
  static auto* const backend = new i2i::GpuBackend;  // never destroyed: the driver may be gone before statics are
  return backend;
}
