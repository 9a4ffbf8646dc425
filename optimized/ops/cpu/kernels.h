// The vector kernels behind the CPU operators, as a table of plain function pointers: one table per instruction set,
// from the same sources in simd/. No torch type appears here, so that a file compiled for AVX-512 can leave nothing
// behind that an older processor would run. Called by the operators in ops/cpu; pointers are row-major float32.
#pragma once

#include <cstdint>

namespace i2i::cpu {

/// What the last pass over a product does. kGeglu halves the columns: value * gelu(gate), panels packed [values |
/// gates].
enum class Activation : std::int64_t { kNone = 0, kSilu = 1, kQuickGelu = 2, kGelu = 3, kGeglu = 4 };

/// Weights are packed in panels of at most this many columns; a panel is [depth, panel_width], zero beyond the last
/// column.
constexpr std::int64_t kMaxPanelWidth = 64;
/// Rows of a product that share one pass over a panel: a multiple of 6, 8 and 12, the heights of the register tiles.
constexpr std::int64_t kBlockRows = 96;

/// c[rows, panel_width] = sum over segments s and k < depth of a[s * rows + row][k] * panel[(s * depth + k), :].
/// A 3 x 3 convolution has nine segments whose row pointers are shifted pixels; a matrix product has one.
struct ProductBlock {
  const float* const* a = nullptr;  ///< [segments, rows] row pointers
  std::int64_t rows = 0;            ///< any; kBlockRows is what fits the cache
  std::int64_t segments = 1;
  std::int64_t depth = 0;
  const float* panel = nullptr;
  std::int64_t panel_width = 0;  ///< 16, 32, 48 or 64
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;  ///< add to what c holds
};

/// out[row, column] = activation(c[row, column] + bias[column]) + residual[row, column]
struct FinishBlock {
  const float* c = nullptr;
  std::int64_t c_stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;  ///< of `out`; with kGeglu c holds `gate_offset` values, then as many gates
  std::int64_t gate_offset = 0;
  Activation activation = Activation::kNone;
  const float* bias = nullptr;        ///< at the first column; null for none
  std::int64_t gate_bias_offset = 0;  ///< kGeglu: from a value's bias to its gate's
  std::int64_t bias_stride = 0;
  std::int64_t rows_per_bias =
      0;  ///< 0: one bias for all; else row r uses bias + bias_stride * ((first_row + r) / rows_per_bias)
  std::int64_t first_row = 0;
  const float* residual = nullptr;
  float* out = nullptr;
  std::int64_t out_stride = 0;  ///< of out and residual
};

/// One image's channels [first, first + count) of an NHWC tensor; `count` is a multiple of `channels_per_group`.
struct GroupNormBlock {
  const float* x = nullptr;  ///< at the first channel
  float* y = nullptr;
  std::int64_t pixels = 0;
  std::int64_t stride = 0;  ///< floats from pixel to pixel
  std::int64_t channels = 0;
  std::int64_t channels_per_group = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  double eps = 0;
  bool silu = false;
  double* sums = nullptr;    ///< scratch [2 * channels]
  float* scratch = nullptr;  ///< scratch [3 * channels]
};

/// Attention of up to kBlockRows queries of one head.
struct AttentionBlock {
  const float* query = nullptr;
  std::int64_t query_stride = 0;
  std::int64_t queries = 0;
  std::int64_t first_query = 0;  ///< position of the first one, for the causal mask
  std::int64_t head_size = 0;
  std::int64_t keys = 0;
  const float* packed_keys = nullptr;    ///< panels of keys: [panels, head_size, key_panel]
  const float* packed_values = nullptr;  ///< panels of channels: [panels, keys, value_panel]
  std::int64_t key_panel = 0;
  std::int64_t value_panel = 0;
  std::int64_t keys_at_once = 0;  ///< whole key panels whose scores are held at a time
  std::int64_t value_width = 0;   ///< head size rounded up to value_panel
  float scale = 1;
  bool causal = false;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  float* scores = nullptr;  ///< scratch [queries, keys_at_once]
  float* sums = nullptr;    ///< scratch [queries, value_width]
};

/// See guided_step in ops.inc.
struct GuidedStepRow {
  float sample, noise_pred, noise, history[3], remember_sample, remember_noise_pred;
};
struct GuidedStepBlock {
  const float* noise_pred = nullptr;  ///< [rows, count], rows noise_pred_stride apart
  std::int64_t noise_pred_stride = 0;
  int rows = 1;
  float guidance_scale = 1;
  float image_guidance_scale = 1;
  const float* sample = nullptr;
  const float* noise = nullptr;
  const float* history[3] = {nullptr, nullptr, nullptr};
  GuidedStepRow row{};
  float* prev_sample = nullptr;
  float* remembered = nullptr;
  float* guided = nullptr;  ///< the guided noise_pred, for a trace; may be null
  std::int64_t count = 0;
};

/// Winograd F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308): 6 x 6 input tiles to 36 planes, and 36 planes to 4 x 4
/// outputs.
struct WinogradTiles {
  const float* in = nullptr;  ///< NHWC image batch, half as high and wide if `upsample`
  std::int64_t batch = 0, height = 0, width = 0, channels = 0;  ///< of `in` (input) or `out` (output)
  bool upsample = false;
  std::int64_t first_tile = 0, tiles = 0;  ///< tile t of the whole batch, row-major
  float* planes =
      nullptr;  ///< [36, plane_stride / channels.. , channels]: plane p, tile t at p * plane_stride + t * tile_stride
  std::int64_t plane_stride = 0;
  std::int64_t tile_stride = 0;
  float* out = nullptr;
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
  std::int64_t images_per_bias = 0;
  const float* residual = nullptr;
};

/// Whether a plane is zero because its input is a picture enlarged twofold: tiles start at even pixels, so the second
/// and third pixel of a tile's row are one and the same, and so are the fourth and fifth; the third row of the input
/// transform takes the difference of both pairs.
constexpr bool winograd_plane_vanishes(int plane) { return plane / 6 == 2 || plane % 6 == 2; }

/// One row of the weights' transform, planes [6 * row, 6 * row + 6): from a packed panel (pack_weight, nine taps) to
/// [6, count, panel_width].
struct WinogradWeights {
  const float* panel = nullptr;  ///< [9 * depth, panel_width]
  std::int64_t depth = 0;        ///< input channels
  std::int64_t panel_width = 0;
  std::int64_t first = 0, count = 0;  ///< input channels wanted
  int row = 0;
  float* planes = nullptr;
};

struct Kernels {
  const char* name;
  void (*product)(const ProductBlock&);
  void (*finish)(const FinishBlock&);
  void (*group_norm)(const GroupNormBlock&);
  void (*layer_norm)(const float* x, float* y, std::int64_t rows, std::int64_t width, const float* weight,
                     const float* bias, double eps);
  void (*attention)(const AttentionBlock&);
  void (*pack_transposed)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t depth,
                          std::int64_t panel_width, float* packed);
  void (*pack_rows)(const float* x, std::int64_t stride, std::int64_t depth, std::int64_t columns,
                    std::int64_t panel_width, float* packed);
  void (*guided_step)(const GuidedStepBlock&);
  void (*winograd_input)(const WinogradTiles&);
  void (*winograd_output)(const WinogradTiles&);
  void (*winograd_weights)(const WinogradWeights&);
};

const Kernels& kernels_baseline();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

/// The best table that this processor runs, or the one chosen by name ("baseline", "avx2", "avx512") for tests.
const Kernels& kernels();
/// @return false where the processor lacks it; then nothing changes. "" goes back to the best.
bool choose_instruction_set(const char* name);

}  // namespace i2i::cpu
