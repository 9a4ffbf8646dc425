// What the pipeline asks of CUDA beside operators: a device, marks in time, memory, and work captured as one graph.
// Two backends fulfil it from the same bindings (optimized/ops/cuda/torch): the GPU's, a shared object that is loaded
// where a GPU is asked for (gpu_backend.cpp), and the emulated one, which a program links to execute our kernels on the
// CPU (tests/cuda_emulated). Called by pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace i2i {

/// Work on tensors that is captured once per key and then replayed. Its memory is its own and stays where it is.
class CapturedWork {
 public:
  using Tensors = std::vector<at::Tensor>;
  /// Notes a moment between parts of the work.
  using Mark = std::function<void()>;
  /// Reads nothing that differs between calls but the values of `inputs`, and outlives the request that brought it:
  /// what it holds must live as long as this. Allocates as it likes; does not wait for the device; never writes its
  /// inputs.
  using Work = std::function<Tensors(const Tensors& inputs, const Mark& mark)>;

  struct Done {
    Tensors outputs;         ///< overwritten by the next call with the same key
    std::vector<int> marks;  ///< the work's, as numbers for milliseconds_between
  };

  virtual ~CapturedWork() = default;

  /// What `work` makes of the inputs.
  /// @param key      everything that `work` depends on beside the values of its inputs
  /// @param warm_up  launches every kind of operation that `work` does, at its sizes, so that libraries choose and load
  ///                 what they need before the capture
  virtual Done run(const std::string& key, const Tensors& inputs, const Work& work, const Work& warm_up) = 0;
};

/// Work on a stream of its own, beside whatever is launched after it.
class SideWork {
 public:
  using Tensors = std::vector<at::Tensor>;

  /// Waits for the work where nobody joined it.
  virtual ~SideWork() = default;

  /// What is launched from here on comes after the work. Called once. @return what the work made
  virtual Tensors join() = 0;
};

struct DeviceMemory {
  std::int64_t free_bytes = 0;
  std::int64_t total_bytes = 0;  ///< 0: not known
  /// Of tensors, of everybody in this process who computes by libtorch; at most since watch_peak(). 0: not known
  std::int64_t allocated_bytes = 0, peak_bytes = 0;
};

class CudaBackend {
 public:
  virtual ~CudaBackend() = default;

  /// Where tensors live: cuda, or cpu for the emulated one.
  virtual at::Device device() const = 0;
  virtual bool emulated() const = 0;
  /// What computes, in words, with the versions that matter.
  virtual std::string name() const = 0;

  /// "operator: why" -> how many calls ATen made so far because no kernel of ours has the shape.
  virtual std::map<std::string, std::int64_t> substitutes() const = 0;

  /// @param most  captures that are kept; the one that was not used for longest goes first
  virtual std::unique_ptr<CapturedWork> make_captured_work(std::size_t most) = 0;

  /// How this thread uses NVIDIA's libraries from here on.
  /// @param cudnn_graphs  convolutions take bias and residual into one cuDNN graph
  /// @param tuned         algorithms are chosen by time
  virtual void use_libraries(bool cudnn_graphs, bool tuned) = 0;

  /// Starts `work` after everything that was launched before it. Until it is joined nobody writes what it reads, and
  /// buffers that it takes are its own.
  virtual std::unique_ptr<SideWork> beside(const std::function<SideWork::Tensors()>& work) = 0;

  /// A copy on the device, for which the host does not wait. @param host  may change as soon as this returns
  virtual at::Tensor upload(const at::Tensor& host) = 0;
  /// A copy on the host, whose values are there after wait().
  virtual at::Tensor download(const at::Tensor& tensor) = 0;
  /// Until the device has done what was launched on the current stream.
  virtual void wait() = 0;

  /// A moment on the current stream. Marks are numbered from 0 after forget_marks().
  virtual int mark() = 0;
  /// Waits for the later mark. @param from, to  numbers that mark() gave
  virtual double milliseconds_between(int from, int to) = 0;
  virtual void forget_marks() = 0;

  virtual DeviceMemory memory() const = 0;
  /// The peak of allocated memory is counted from here.
  virtual void watch_peak() = 0;
  /// Gives cached memory back to the device, as after a failed allocation.
  virtual void release_cached_memory() = 0;
};

/// The backend of device "cuda" or "cuda-emulated". @throws Error(kUsage) saying what is missing and how to get it
CudaBackend& cuda_backend(const std::string& device);

/// What `i2i doctor` says about the device: "" where it can be used, otherwise what is missing.
std::string missing_for_cuda(const std::string& device);

/// How the emulated backend makes itself known, from a program that links it.
void provide_emulated_cuda_backend(CudaBackend* backend);

}  // namespace i2i
