// What both Winograd convolutions say of their pictures, in fp32 and in bytes. Called by conv2d_winograd.cpp and
// conv2d_winograd_int8.cpp.
#pragma once

#include <c10/util/Exception.h>

#include <string>

#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

/// Tiles (WinogradTiles or Int8WinogradTiles) over whole pictures: input, output, bias and residual are filled in, and
/// which tiles, channels and planes a kernel works on is left to the operator.
/// @param name  the operator's, for messages
/// @throws c10::Error (an internal mistake, never a user's) where dtype, memory layout or rows of bias do not fit
template <typename Tiles>
Tiles tiles_of_pictures(const std::string& name, const at::Tensor& input, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& residual, bool upsample, const at::Tensor& out) {
  const std::int64_t images = out.size(0), columns = out.size(1);
  Tiles tiles;
  tiles.batch = images;
  tiles.height = out.size(2);
  tiles.width = out.size(3);
  tiles.upsample = upsample;
  tiles.in = rows_of(input, (name + " input").c_str()).data;
  tiles.out = rows_of(out, (name + " out").c_str()).data;
  if (bias.has_value()) {
    const std::int64_t sets = bias->numel() / columns;
    tiles.bias = optional_floats(bias, sets * columns, (name + " bias").c_str());
    TORCH_CHECK(sets >= 1 && images % sets == 0, name, ": ", sets, " rows of bias for ", images, " images");
    tiles.bias_stride = columns;
    tiles.images_per_bias = images / sets;
  }
  if (residual.has_value()) tiles.residual = rows_of(*residual, (name + " residual").c_str()).data;
  return tiles;
}

}  // namespace i2i::cpu
