// cuBLASLt's products and cuDNN's attention, on a GPU. (Emulated: tests/cuda_emulated.)
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "optimized/ops/cuda/torch/binding.h"
#include "optimized/ops/cuda/torch/fastest.h"

namespace i2i::cuda_ops {
namespace {

void check(cublasStatus_t status, const char* what) {
  TORCH_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: ", what, ": ", cublasLtGetStatusString(status));
}

struct Destroy {
  void operator()(cublasLtMatmulDescOpaque_t* p) const { cublasLtMatmulDescDestroy(p); }
  void operator()(cublasLtMatrixLayoutOpaque_t* p) const { cublasLtMatrixLayoutDestroy(p); }
  void operator()(cublasLtMatmulPreferenceOpaque_t* p) const { cublasLtMatmulPreferenceDestroy(p); }
};
using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy>;

/// Column-major, as the library counts: a row-major matrix is its own transpose there.
Layout layout_of(cudaDataType type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  check(cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns),
                                   rows),
        "layout");
  return Layout(made);
}

/// The largest power of two, at most 256, that a pointer is a multiple of: what algorithms may rely on.
std::uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

/// out^T [N,M] = weight [N,K] x^T [K,M] + bias [N] + residual^T.
struct Product {
  cudaDataType type;
  std::int64_t rows, in_channels, out_channels;
  const void *x, *weight, *bias, *residual;
  void* out;

  /// Everything that the choice of an algorithm depends on.
  using Key = std::array<std::int64_t, 11>;
  Key key(bool tuned) const {
    return {tuned,
            type,
            rows,
            in_channels,
            out_channels,
            bias != nullptr,
            residual != nullptr,
            alignment_of(weight),
            alignment_of(x),
            residual != nullptr ? alignment_of(residual) : 0,
            alignment_of(out)};
  }
};

/// A product's descriptors and its algorithm: of those that the library proposes the first, or the fastest.
class ProductPlan {
 public:
  /// @param tuned  times them, which writes the product's `out`
  ProductPlan(cublasLtHandle_t handle, const Product& product, bool tuned, const at::TensorOptions& options) {
    cublasLtMatmulDesc_t operation = nullptr;
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "descriptor");
    operation_.reset(operation);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (product.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
    }
    weight_ = layout_of(product.type, product.in_channels, product.out_channels);
    x_ = layout_of(product.type, product.in_channels, product.rows);
    out_ = layout_of(product.type, product.out_channels, product.rows);
    const std::vector<cublasLtMatmulHeuristicResult_t> found = proposed(handle, product, tuned ? kMostCandidates : 1);
    const auto works = [&](std::size_t i) {
      return launch(handle, product, found[i], options) == CUBLAS_STATUS_SUCCESS;
    };
    chosen_ = found[fastest(found.size(), works)];
  }

  void run(cublasLtHandle_t handle, const Product& product, const at::TensorOptions& options) {
    if (product.bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
    check(launch(handle, product, chosen_, options), "product");
  }

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check(cublasLtMatmulDescSetAttribute(operation_.get(), attribute, static_cast<const void*>(&value), sizeof(value)),
          "attribute");
  }

  cublasStatus_t launch(cublasLtHandle_t handle, const Product& product,
                        const cublasLtMatmulHeuristicResult_t& algorithm, const at::TensorOptions& options) const {
    const float one = 1, beta = product.residual != nullptr ? 1.0F : 0.0F;
    at::Tensor workspace;
    if (algorithm.workspaceSize > 0)
      workspace = at::empty({static_cast<std::int64_t>(algorithm.workspaceSize)}, options.dtype(at::kByte));
    return cublasLtMatmul(handle, operation_.get(), &one, product.weight, weight_.get(), product.x, x_.get(), &beta,
                          product.residual != nullptr ? product.residual : product.out, out_.get(), product.out,
                          out_.get(), &algorithm.algo, workspace.defined() ? workspace.data_ptr() : nullptr,
                          algorithm.workspaceSize, stream());
  }

  /// The library's best guess first.
  std::vector<cublasLtMatmulHeuristicResult_t> proposed(cublasLtHandle_t handle, const Product& product,
                                                        std::size_t most) const {
    cublasLtMatmulPreference_t made = nullptr;
    check(cublasLtMatmulPreferenceCreate(&made), "preference");
    const Preference preference(made);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)), "preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{32} << 20);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(product.weight));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(product.x));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
           alignment_of(product.residual != nullptr ? product.residual : product.out));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(product.out));
    std::vector<cublasLtMatmulHeuristicResult_t> found(most);
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle, operation_.get(), weight_.get(), x_.get(), out_.get(), out_.get(),
                                         preference.get(), static_cast<int>(most), found.data(), &count),
          "choosing an algorithm");
    TORCH_CHECK(count > 0, "cuBLASLt has no algorithm for a product of ", product.rows, " x ", product.in_channels,
                " with ", product.out_channels, " channels");
    found.resize(static_cast<std::size_t>(count));
    return found;
  }

  Operation operation_;
  Layout weight_, x_, out_;
  cublasLtMatmulHeuristicResult_t chosen_{};
};

constexpr std::size_t kMostPlans = 1024;  // shapes of several models; beyond, all are chosen anew

cudaDataType library_type(at::ScalarType type) {
  TORCH_CHECK(type == at::kBFloat16 || type == at::kHalf, "linear: bfloat16 or float16 wanted, got ", type);
  return type == at::kHalf ? CUDA_R_16F : CUDA_R_16BF;
}

}  // namespace

bool libraries_win() {
  constexpr int kHopper = 9;
  static const bool win = at::cuda::getCurrentDeviceProperties()->major >= kHopper;
  return win;
}

void library_linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                    const OptionalTensor& residual, const at::Tensor& out) {
  const Rows in = rows_of(x, "linear input"), w = rows_of(weight, "linear weight"), y = rows_of(out, "linear out");
  TORCH_CHECK(
      in.width == w.width && w.count == y.width && in.count == y.count && in.type == w.type && in.type == y.type,
      "linear: ", x.sizes(), " times ", weight.sizes(), " to ", out.sizes());
  if (in.count == 0) return;
  const Product product{library_type(x.scalar_type()),
                        in.count,
                        in.width,
                        y.width,
                        in.data,
                        w.data,
                        like_rows(bias, in, y.width, "linear bias"),
                        like_rows(residual, y, y.count * y.width, "linear residual"),
                        y.data};
  static std::mutex mutex;
  static std::map<Product::Key, ProductPlan> plans;
  const std::lock_guard lock(mutex);
  const cublasLtHandle_t handle = at::cuda::getCurrentCUDABlasLtHandle();
  const bool tuned = libraries_are_tuned() && !is_capturing();
  const Product::Key key = product.key(libraries_are_tuned());
  auto found = plans.find(key);
  if (found == plans.end()) {
    if (plans.size() >= kMostPlans) plans.clear();
    found = plans.emplace(key, ProductPlan(handle, product, tuned, x.options())).first;
  }
  found->second.run(handle, product, x.options());
}

bool library_self_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  static std::mutex mutex;
  static std::set<std::int64_t> refused;  // head sizes
  const std::int64_t head_size = out.size(-1) / heads;
  {
    const std::lock_guard lock(mutex);
    if (refused.contains(head_size)) return false;
  }
  const auto parts = qkv.unflatten(-1, {3, heads, head_size}).permute({2, 0, 3, 1, 4}).unbind(0);  // [N,heads,T,D]
  at::Tensor attended;
  try {
    attended = std::get<0>(at::_scaled_dot_product_cudnn_attention(parts[0], parts[1], parts[2], std::nullopt, false));
  } catch (const c10::Error&) {
    const std::lock_guard lock(mutex);
    refused.insert(head_size);
    count_substitute("self_attention by cuDNN", c10::str("head size ", head_size));
    return false;
  }
  out.unflatten(-1, {heads, head_size}).copy_(attended.transpose(1, 2));
  return true;
}

}  // namespace i2i::cuda_ops
