// One cuDNN graph by its backend API: convolution forward -> [+ residual] -> [+ bias], what lies between them in fp32
// and never in memory. Descriptors and attributes: NVIDIA, cuDNN backend API (cudnn_graph.h); patterns that it fuses:
// cuDNN developer guide, "Graph API", "supported graph patterns". cuDNN itself is the one that libtorch has loaded.
#include "optimized/ops/cuda/torch/cudnn_convolution.h"

#include <ATen/ATen.h>
#include <ATen/cudnn/Handle.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "optimized/ops/cuda/torch/fastest.h"

namespace i2i::cuda_ops {
namespace {

constexpr std::size_t kMostPlans = 1024;  // SDXL and its VAE have about a hundred shapes
constexpr std::int64_t kMostWorkspace = std::int64_t{1} << 30;
constexpr std::int64_t kAlignment = 16;  // bytes, of every tensor of a graph

thread_local bool graphs_are_used = false;

/// What cuDNN says where it makes or runs no such graph: the reason of a substitute.
class Refusal : public std::runtime_error {
 public:
  explicit Refusal(cudnnStatus_t status) : std::runtime_error(cudnnGetErrorString(status)) {}
};

void check(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) throw Refusal(status);
}

/// A backend descriptor, destroyed with this.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) { check(cudnnBackendCreateDescriptor(type, &raw_)); }
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  ~Descriptor() {
    if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;

  cudnnBackendDescriptor_t raw() const { return raw_; }

  template <typename Value>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
           const Value* values) {
    check(cudnnBackendSetAttribute(raw_, name, type, count, static_cast<const void*>(values)));
  }
  template <typename Value>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value& value) {
    set(name, type, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.raw_);
  }
  /// @param count  becomes how many there are, of which `room` at most are written
  template <typename Value>
  void get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t room, std::int64_t& count,
           Value* values) const {
    check(cudnnBackendGetAttribute(raw_, name, type, room, &count, static_cast<void*>(values)));
  }
  void finalize() { check(cudnnBackendFinalize(raw_)); }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

/// Tensors of the graph, by the numbers that bind them to memory.
enum Id : std::int64_t { kX = 1, kWeight, kBias, kResidual, kOut, kConvolved, kWithResidual };

using Sizes = std::array<std::int64_t, 4>;

/// All that a plan depends on. A plan is used with the handle that it was made with, which one thread has at a time.
struct Problem {
  std::uintptr_t handle;
  cudnnDataType_t type;
  Sizes x, weight, out;  ///< [N,C,H,W] in channels-last memory
  std::int64_t stride, padding;
  bool has_bias, has_residual;
  bool tuned;  ///< the engine is the fastest, not the first

  auto operator<=>(const Problem&) const = default;
};

/// A tensor's number and where it lies.
using Memory = std::vector<std::pair<std::int64_t, void*>>;

/// A graph with one of the engines that cuDNN's heuristics name and that can be made ready. Whatever it was made from
/// is kept as long as it.
class Plan {
 public:
  /// @param most  engines that choose() chooses from @throws Refusal where there is none
  Plan(cudnnHandle_t handle, const Problem& problem, std::size_t most);

  /// Keeps the fastest engine. Writes the graph's output.
  void choose(cudnnHandle_t handle, const Memory& memory, const at::Tensor& on);

  /// On the current stream. @throws Refusal
  void run(cudnnHandle_t handle, const Memory& memory, const at::Tensor& on) const {
    run(ready_.front(), handle, memory, on);
  }

 private:
  struct Ready {
    Descriptor plan;
    std::int64_t workspace = 0;  ///< bytes
  };
  static void run(const Ready& ready, cudnnHandle_t handle, const Memory& memory, const at::Tensor& on);

  Descriptor& make(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(type); }
  Descriptor& tensor(Id id, cudnnDataType_t type, const Sizes& sizes, bool in_memory = true);
  Descriptor& convolution(const Problem& problem, const Descriptor& x, const Descriptor& weight, const Descriptor& out);
  Descriptor& addition(const Descriptor& a, const Descriptor& b, const Descriptor& sum);
  Descriptor& graph(cudnnHandle_t handle, const Problem& problem);
  std::vector<cudnnBackendDescriptor_t> engines(cudnnHandle_t handle, const Problem& problem);

  std::deque<Descriptor> parts_;
  std::deque<Ready> ready_;  ///< the first is run
};

Descriptor& Plan::tensor(Id id, cudnnDataType_t type, const Sizes& sizes, bool in_memory) {
  const std::int64_t channels = sizes[1], row = sizes[3] * channels;
  const Sizes strides{sizes[2] * row, 1, row, channels};
  Descriptor& made = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
  made.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, sizes.data());
  made.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::int64_t{id});
  made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment);
  made.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, !in_memory);
  made.finalize();
  return made;
}

Descriptor& Plan::convolution(const Problem& problem, const Descriptor& x, const Descriptor& weight,
                              const Descriptor& out) {
  using BothAxes = std::array<std::int64_t, 2>;
  const BothAxes stride{problem.stride, problem.stride}, dilation{1, 1}, padding{problem.padding, problem.padding};
  Descriptor& how = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
  how.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  how.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  how.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride.data());
  how.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation.data());
  how.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, padding.data());
  how.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, padding.data());
  how.finalize();
  Descriptor& made = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, out);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
  made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0f);
  made.finalize();
  return made;
}

Descriptor& Plan::addition(const Descriptor& a, const Descriptor& b, const Descriptor& sum) {
  Descriptor& how = make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  Descriptor& made = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  made.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  made.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a);
  made.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  made.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, sum);
  made.finalize();
  return made;
}

Descriptor& Plan::graph(cudnnHandle_t handle, const Problem& problem) {
  const bool has_bias = problem.has_bias, has_residual = problem.has_residual;
  // Every operation but the last makes what only the next one reads.
  const auto result = [&](Id id, bool is_last) -> Descriptor& {
    return is_last ? tensor(kOut, problem.type, problem.out) : tensor(id, CUDNN_DATA_FLOAT, problem.out, false);
  };
  std::vector<cudnnBackendDescriptor_t> operations;
  const Descriptor* sum = &result(kConvolved, !has_bias && !has_residual);
  operations.push_back(
      convolution(problem, tensor(kX, problem.type, problem.x), tensor(kWeight, problem.type, problem.weight), *sum)
          .raw());
  const auto add = [&](const Descriptor& term, const Descriptor& to) {
    operations.push_back(addition(*sum, term, to).raw());
    sum = &to;
  };
  if (has_residual) add(tensor(kResidual, problem.type, problem.out), result(kWithResidual, !has_bias));
  if (has_bias) add(tensor(kBias, problem.type, {1, problem.out[1], 1, 1}), result(kOut, true));
  Descriptor& made = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  made.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
  made.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(operations.size()),
           operations.data());
  made.finalize();
  return made;
}

/// An engine whose kernels are not in the library: a plan takes up to a second.
bool compiles_at_run_time(cudnnBackendDescriptor_t configuration) {
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                 static_cast<void*>(&raw)));
  std::array<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT> notes{};
  engine.get(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, std::ssize(notes), count, notes.data());
  return std::find(notes.begin(), notes.begin() + count, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) !=
         notes.begin() + count;
}

/// The fastest first, as mode A estimates it. The fallback mode is not asked: its engines are there to work, and the
/// other way, libtorch's choice with our kernel after it, does that too.
std::vector<cudnnBackendDescriptor_t> Plan::engines(cudnnHandle_t handle, const Problem& problem) {
  const Descriptor& whole = graph(handle, problem);
  Descriptor& heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, whole);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
  heuristics.finalize();
  std::int64_t count = 0;
  std::vector<cudnnBackendDescriptor_t> found;
  heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, count, found.data());
  for (std::int64_t i = 0; i < count; ++i) found.push_back(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  if (count > 0)
    heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, count, found.data());
  found.resize(static_cast<std::size_t>(count));
  return found;
}

Plan::Plan(cudnnHandle_t handle, const Problem& problem, std::size_t most) {
  cudnnStatus_t status = CUDNN_STATUS_NOT_SUPPORTED;
  for (const cudnnBackendDescriptor_t engine : engines(handle, problem)) {
    if (ready_.size() == most) break;
    if (compiles_at_run_time(engine)) continue;
    Ready made{Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR), 0};
    made.plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
    made.plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, engine);
    status = cudnnBackendFinalize(made.plan.raw());
    if (status != CUDNN_STATUS_SUCCESS) continue;
    std::int64_t one = 0;
    made.plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, one, &made.workspace);
    if (made.workspace <= kMostWorkspace) {
      ready_.push_back(std::move(made));
    } else {
      status = CUDNN_STATUS_NOT_SUPPORTED;
    }
  }
  if (ready_.empty()) throw Refusal(status);
}

void Plan::choose(cudnnHandle_t handle, const Memory& memory, const at::Tensor& on) {
  const std::size_t best = fastest(ready_.size(), [&](std::size_t i) {
    try {
      run(ready_[i], handle, memory, on);
      return true;
    } catch (const Refusal&) {
      cudaGetLastError();
      return false;
    }
  });
  while (ready_.size() > best + 1) ready_.pop_back();
  while (ready_.size() > 1) ready_.pop_front();
}

void Plan::run(const Ready& ready, cudnnHandle_t handle, const Memory& memory, const at::Tensor& on) {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (const auto& [id, pointer] : memory) {
    ids.push_back(id);
    pointers.push_back(pointer);
  }
  const auto count = static_cast<std::int64_t>(ids.size());
  const at::Tensor workspace = at::empty({ready.workspace}, on.options().dtype(at::kByte));
  Descriptor bound(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  bound.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids.data());
  bound.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
  bound.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace.data_ptr());
  bound.finalize();
  check(cudnnBackendExecute(handle, ready.plan.raw(), bound.raw()));
}

/// A plan, or why there is none. A plan that failed stays: captured graphs may run its kernels.
struct Planned {
  std::optional<Plan> plan;
  std::string refusal;
};

std::string reason(const Refusal& refusal) {
  cudaGetLastError();  // what cuDNN tried may have left one, and the next launch is asked for its own
  return refusal.what();
}

Planned planned(cudnnHandle_t handle, const Problem& problem, const Memory& memory, const at::Tensor& on) {
  constexpr std::size_t kMostEngines = 5;  // each takes up to 60 ms to make ready
  Planned made;
  try {
    made.plan.emplace(handle, problem, problem.tuned ? kMostEngines : 1);
    if (problem.tuned) made.plan->choose(handle, memory, on);
  } catch (const Refusal& refusal) {
    made.refusal = reason(refusal);
  }
  return made;
}

bool is_aligned(const at::Tensor& tensor) {
  return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0;
}

bool overlap(const at::Tensor& a, const at::Tensor& b) {
  const auto *first = static_cast<const char*>(a.const_data_ptr()),
             *second = static_cast<const char*>(b.const_data_ptr());
  return first < second + b.nbytes() && second < first + a.nbytes();
}

/// An image as a graph takes it.
bool fits(const at::Tensor& tensor, at::ScalarType type) {
  return tensor.dim() == 4 && tensor.numel() > 0 && tensor.scalar_type() == type &&
         tensor.is_contiguous(at::MemoryFormat::ChannelsLast) && is_aligned(tensor);
}

Sizes sizes_of(const at::Tensor& tensor) { return {tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)}; }

}  // namespace

void use_cudnn_graphs(bool on) { graphs_are_used = on; }

bool cudnn_convolution(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                       const OptionalTensor& residual, std::int64_t stride, std::int64_t padding,
                       const at::Tensor& out) {
  const at::ScalarType type = out.scalar_type();
  if (!graphs_are_used || !x.is_cuda() || (type != at::kHalf && type != at::kBFloat16)) return false;
  const bool has_bias = bias.has_value() && bias->defined(), has_residual = residual.has_value() && residual->defined();
  if (!has_bias && !has_residual && !libraries_are_tuned()) return false;  // libtorch's first choice is as good
  if (!fits(x, type) || !fits(weight, type) || !fits(out, type) || overlap(out, x)) return false;
  if (has_residual && (!fits(*residual, type) || residual->sizes() != out.sizes() || overlap(out, *residual)))
    return false;
  // With a bias per image cuDNN 9.19 names no engine for sm_90 but those that it compiles at run time.
  if (has_bias &&
      (bias->numel() != out.size(1) || bias->scalar_type() != type || !bias->is_contiguous() || !is_aligned(*bias)))
    return false;

  const cudnnHandle_t handle = at::native::getCudnnHandle();  // this thread's, on the current stream
  const Problem problem{reinterpret_cast<std::uintptr_t>(handle),
                        type == at::kHalf ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16,
                        sizes_of(x),
                        sizes_of(weight),
                        sizes_of(out),
                        stride,
                        padding,
                        has_bias,
                        has_residual,
                        libraries_are_tuned()};
  Memory memory{{kX, x.data_ptr()}, {kWeight, weight.data_ptr()}, {kOut, out.data_ptr()}};
  if (has_bias) memory.emplace_back(kBias, bias->data_ptr());
  if (has_residual) memory.emplace_back(kResidual, residual->data_ptr());
  const auto refuse = [&](const std::string& why) {
    count_substitute("convolution and bias as one cuDNN graph",
                     c10::str(x.sizes(), " by ", weight.sizes(), has_residual ? " with residual" : "", " (", why, ")"));
    return false;
  };
  static std::mutex mutex;
  static auto* const plans = new std::map<Problem, Planned>;  // never destroyed: cuDNN may be gone before statics are
  const std::lock_guard lock(mutex);
  auto known = plans->find(problem);
  if (known == plans->end()) {
    if (plans->size() >= kMostPlans) return refuse(c10::str("there are ", kMostPlans, " graphs already"));
    if (is_capturing()) return refuse("not made before the capture");
    known = plans->emplace(problem, planned(handle, problem, memory, x)).first;
  }
  Planned& entry = known->second;
  if (!entry.refusal.empty()) return refuse(entry.refusal);
  try {
    entry.plan->run(handle, memory, x);
  } catch (const Refusal& refusal) {
    entry.refusal = reason(refusal);
    return refuse(entry.refusal);
  }
  return true;
}

}  // namespace i2i::cuda_ops
