// pack_key_value and cross_attention where keys and values are bfloat16: attention.cpp hands these over.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace i2i::cpu {

at::Tensor pack_key_value_bf16(const at::Tensor& key_value, std::int64_t heads);
void cross_attention_bf16(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                          const at::Tensor& out);

}  // namespace i2i::cpu
