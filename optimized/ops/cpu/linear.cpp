// out = act(input weight^T + bias) + residual, one product with its finishing pass, in fp32, bfloat16 or bytes.
#include "optimized/ops/cpu/bf16_product.h"
#include "optimized/ops/cpu/int8_product.h"
#include "optimized/ops/cpu/product.h"
#include "optimized/ops/cpu/register.h"

namespace i2i::cpu {
namespace {

/// @param run  run(product, fill): run_product_of_any_type or run_int8_product
template <typename Run>
void multiply(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
              const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out, const Run& run) {
  const Rows x = rows_of(input, "linear input"), y = rows_of(out, "linear out");
  TORCH_CHECK(x.count == y.count, "linear: ", x.count, " rows in, ", y.count, " rows out");
  Product product;
  product.rows = x.count;
  product.depth = x.width;
  product.packed = &weight;
  product.columns = y.width;
  product.finish.activation = static_cast<Activation>(activation);
  product.finish.bias =
      optional_floats(bias, product.finish.activation == Activation::kGeglu ? 2 * y.width : y.width, "linear bias");
  product.finish.gate_bias_offset = y.width;
  if (residual.has_value()) {
    const Rows r = rows_of(*residual, "linear residual");
    TORCH_CHECK(r.count == y.count && r.width == y.width, "linear: residual ", residual->sizes(), " for out ",
                out.sizes());
    product.finish.residual = r.data;
  }
  product.finish.out = y.data;
  product.finish.out_stride = y.width;
  run(product, [&x](std::int64_t first, std::int64_t count, const float** pointers) {
    for (std::int64_t i = 0; i < count; ++i) pointers[i] = x.data + (first + i) * x.width;
  });
}

}  // namespace

void linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out) {
  multiply(input, weight, bias, residual, activation, out,
           [](const Product& product, const auto& fill) { run_product_of_any_type(product, fill); });
}

void linear_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out) {
  multiply(input, weight, bias, residual, activation, out,
           [](const Product& product, const auto& fill) { run_int8_product(product, fill); });
}

}  // namespace i2i::cpu
