#include "optimized/ops/cuda/torch/binding.h"

#include <ATen/ATen.h>

#include <limits>
#include <mutex>

namespace i2i::cuda_ops {
namespace {

std::mutex substitutes_mutex;
std::map<std::string, std::int64_t> counted_substitutes;

cuda::ElementType element_type(at::ScalarType type, const char* what) {
  if (type == at::kBFloat16) return cuda::ElementType::kBFloat16;
  if (type == at::kHalf) return cuda::ElementType::kFloat16;
  TORCH_CHECK(type == at::kFloat, what, ": float32, float16 or bfloat16 wanted, got ", type);
  return cuda::ElementType::kFloat32;
}

int narrow(std::int64_t value, const char* what) {
  TORCH_CHECK(value >= 0 && value <= std::numeric_limits<int>::max(), what, ": size ", value, " does not fit an int");
  return static_cast<int>(value);
}

}  // namespace

Rows rows_of(const at::Tensor& tensor, const char* what) {
  const cuda::ElementType type = element_type(tensor.scalar_type(), what);
  if (tensor.dim() == 4) {
    TORCH_CHECK(tensor.is_contiguous(at::MemoryFormat::ChannelsLast), what, ": channels-last memory wanted, got ",
                tensor.sizes(), " with strides ", tensor.strides());
    return {tensor.data_ptr(), type, tensor.size(0) * tensor.size(2) * tensor.size(3), narrow(tensor.size(1), what),
            narrow(tensor.size(0), what)};
  }
  TORCH_CHECK(tensor.dim() >= 2 && tensor.is_contiguous(), what, ": contiguous memory wanted, got ", tensor.sizes(),
              " with strides ", tensor.strides());
  const std::int64_t width = tensor.size(-1);
  return {tensor.data_ptr(), type, width == 0 ? 0 : tensor.numel() / width, narrow(width, what),
          narrow(tensor.size(0), what)};
}

at::Tensor matrix_of(const at::Tensor& tensor) {
  return tensor.dim() == 4 ? tensor.permute({0, 2, 3, 1}).view({-1, tensor.size(1)})
                           : tensor.view({-1, tensor.size(-1)});
}

float* floats_of(const at::Tensor& tensor, std::int64_t count, const char* what) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.numel() == count && tensor.is_contiguous(), what, ": ",
              count, " contiguous floats wanted, got ", tensor.sizes(), " of ", tensor.scalar_type());
  return static_cast<float*>(tensor.data_ptr());
}

float* floats_of(const OptionalTensor& tensor, std::int64_t count, const char* what) {
  return tensor.has_value() && tensor->defined() ? floats_of(*tensor, count, what) : nullptr;
}

const void* like_rows(const OptionalTensor& tensor, const Rows& rows, std::int64_t count, const char* what) {
  if (!tensor.has_value() || !tensor->defined()) return nullptr;
  TORCH_CHECK(element_type(tensor->scalar_type(), what) == rows.type && tensor->numel() == count &&
                  (tensor->is_contiguous() || tensor->is_contiguous(at::MemoryFormat::ChannelsLast)),
              what, ": ", count, " elements of the input's type wanted, got ", tensor->sizes(), " of ",
              tensor->scalar_type());
  return tensor->const_data_ptr();
}

bool launched(cudaError_t error, const char* name) {
  if (error == cudaErrorInvalidValue) return false;
  check_launched(error, name);
  return true;
}

void check_launched(cudaError_t error, const char* name) {
  TORCH_CHECK(error == cudaSuccess, name, ": ", explain(error));
}

void count_substitute(const char* name, const std::string& why) {
  const std::lock_guard lock(substitutes_mutex);
  ++counted_substitutes[std::string(name) + ": " + why];
}

std::map<std::string, std::int64_t> substitutes() {
  const std::lock_guard lock(substitutes_mutex);
  return counted_substitutes;
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  if (x.is_cpu()) return at::mm(x.to(at::kFloat), weight.to(at::kFloat).t()).to(x.scalar_type());
  return at::mm(x, weight.t());
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t padding) {
  const at::Tensor out = x.is_cpu() ? at::conv2d(x.to(at::kFloat), weight.to(at::kFloat), {}, stride, padding)
                                    : at::conv2d(x, weight, {}, stride, padding);
  return out.to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor plain_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, std::int64_t heads,
                           bool causal) {
  const auto split = [&](const at::Tensor& x) {
    const at::Tensor parts = x.unflatten(-1, {heads, -1}).transpose(1, 2);
    return x.is_cpu() ? parts.to(at::kFloat) : parts;
  };
  return at::scaled_dot_product_attention(split(query), split(key), split(value), {}, 0.0, causal)
      .to(query.scalar_type())
      .transpose(1, 2)
      .flatten(2);
}

}  // namespace i2i::cuda_ops
