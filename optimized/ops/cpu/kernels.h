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
  bool accumulate = false;                ///< add to what c holds
  std::int64_t columns = kMaxPanelWidth;  ///< that are wanted of the panel's; it holds zeros for others
  bool near = false;                      ///< rows of `a` are in the second-level cache: none needs to be asked for
  const float* next = nullptr;            ///< the first row of the product that follows, null where none is known
  /// What the finishing pass will write and add at the first row and column, null for none: the product brings it to
  /// the cache in passing.
  const float* out = nullptr;
  const float* residual = nullptr;
  std::int64_t out_stride = 0;  ///< of both
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

/// Pixels of one image's channels [first, first + count) of an NHWC tensor; `count` is a multiple of
/// `channels_per_group`. group_norm_sums writes sums; group_norm_factors turns sums over all of an image's pixels into
/// factors and uses them up; group_norm_normalise applies these.
struct GroupNormBlock {
  const float* origin = nullptr;  ///< the image's first pixel, at the first channel
  const float* x = nullptr;       ///< the first of `pixels` pixels
  float* y = nullptr;
  std::int64_t pixels = 0;
  std::int64_t stride = 0;  ///< floats from pixel to pixel
  std::int64_t channels = 0;
  std::int64_t channels_per_group = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  double eps = 0;
  bool silu = false;
  double* sums = nullptr;    ///< [2, channels]: of differences from origin, and of their squares
  float* factors = nullptr;  ///< [3, channels]
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

/// Winograd F(4x4, 3x3) or F(6x6, 3x3) (Lavin & Gray 2016, arXiv:1509.09308): input tiles of side 6 or 8 to as many
/// planes as they have pixels, and planes to 4 x 4 or 6 x 6 outputs.
struct WinogradTiles {
  int outputs = 4;            ///< 4 or 6, of a tile's side; two more of its input's
  const float* in = nullptr;  ///< NHWC image batch, half as high and wide if `upsample`
  std::int64_t batch = 0, height = 0, width = 0, channels = 0;  ///< of `in` (input) or `out` (output)
  bool upsample = false;
  std::int64_t first_tile = 0, tiles = 0;  ///< tile t of the whole batch, row-major
  float* planes = nullptr;                 ///< plane p, tile t, channel c at p * plane_stride + t * tile_stride + c
  std::int64_t plane_stride = 0;
  std::int64_t tile_stride = 0;
  float* out = nullptr;
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
  std::int64_t images_per_bias = 0;
  const float* residual = nullptr;
};

/// The row and the column of planes that are zero where the input is a picture enlarged twofold: tiles start at even
/// pixels, so the second and third pixel of a tile's row are one and the same, and so are the fourth and fifth (and the
/// sixth and seventh); the third row of the input transform, the point -1, takes the difference of each pair.
constexpr int kWinogradVanishing = 2;

/// Two rows of the weights' transform, those of a point and its negative (or of 0 and infinity) having most of their
/// sums in common: from a packed panel (pack_weight, nine taps) to 2 * (`outputs` + 2) planes [count, panel_width],
/// plane_stride apart.
struct WinogradWeights {
  int outputs = 4;
  const float* panel = nullptr;  ///< [9 * depth, panel_width]
  std::int64_t depth = 0;        ///< input channels
  std::int64_t panel_width = 0;
  std::int64_t first = 0, count = 0;  ///< input channels wanted
  int pair = 0;                       ///< below (outputs + 2) / 2; see winograd_row
  float* planes = nullptr;
  std::int64_t plane_stride = 0;
};

/// The rows of planes that a pair of WinogradWeights holds: `second` is 0 or 1.
constexpr int winograd_row(int outputs, int pair, int second) {
  if (pair == 0) return second * (outputs + 1);
  return 2 * pair - 1 + second;
}

/// Rows as bytes, each with a step of its own: out = 128 + round(x / scale), scale = max |x| / 127, so that bytes lie
/// in [1, 255]. A row that holds NaN or infinity gets the scale NaN. Bytes up to the next multiple of four are 128.
struct QuantizeBlock {
  const float* x = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::uint8_t* out = nullptr;
  std::int64_t out_stride = 0;  ///< at least width, rounded up to four
  float* scales = nullptr;      ///< [rows]
};

/// c[row, column] = sum over k of a[row, k] * w[k, column] with operands narrower than a float: four bytes of a row (as
/// bytes, as 16-bit words or as bfloat16) meet four bytes of each column. kRowSlack bytes after the last row may be
/// read.
struct NarrowProductBlock {
  const std::uint8_t* a = nullptr;
  std::int64_t a_stride = 0;  ///< bytes
  std::int64_t rows = 0;
  std::int64_t groups = 0;                ///< of four bytes: depth / 4, or depth / 2 for words and bfloat16
  const std::int8_t* panel = nullptr;     ///< [groups, panel_width, 4 bytes]
  std::int64_t panel_width = 0;           ///< 16, 32, 48 or 64
  std::int64_t columns = kMaxPanelWidth;  ///< that are wanted of the panel's; others may hold anything
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;            ///< add to what c holds; not with bytes
  const std::int8_t* next = nullptr;  ///< what the products after this one read, null where none is known
  std::int64_t next_bytes = 0;        ///< of it that the second-level cache should hold when this one is done
};
constexpr std::int64_t kRowSlack = 64;

/// Bfloat16 on both sides, sums in float32. Rows are a multiple of kBf16RowStep apart, zero beyond their depth.
using Bf16ProductBlock = NarrowProductBlock;
constexpr std::int64_t kBf16RowStep = 64;                  // bytes
constexpr std::int64_t kBf16StepDepth = kBf16RowStep / 2;  // elements

/// A convolution in bfloat16 whose rows are pixels side by side: row 16 i + j begins at tiles[i] + j * a_stride, and
/// what a tap reads lies `taps` further. `a` is not used; c has the sum over taps, each of `groups`.
struct Bf16TapsBlock : NarrowProductBlock {
  const std::uint8_t* const* tiles = nullptr;  ///< [rows / kTilePixels]
  const std::int64_t* taps = nullptr;          ///< [tap_count], bytes
  std::int64_t tap_count = 0;
};
constexpr std::int64_t kTilePixels = 16;

/// Rows rounded to the nearest bfloat16, ties to even; NaN stays NaN. Zero up to the next multiple of kBf16RowStep
/// bytes.
struct Bf16Rows {
  const float* x = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::uint16_t* out = nullptr;
  std::int64_t out_stride = 0;  ///< elements
};

/// c[row, column] = (start[column] + sum over k of a[row, k] * w[k, column]) * row_scale[row] * column_scale[column].
/// The sum is exact on every instruction set, in 32-bit integers. `a` and `w` are unsigned and signed bytes, or both
/// signed 16-bit words (pack_int8_values knows their form).
struct Int8ProductBlock : NarrowProductBlock {
  const float* row_scale = nullptr;  ///< [rows]; null for ones
  /// [panel_width]: -128 times the column's weights, which a kernel that takes the offset of 128 from the rows leaves
  /// aside; null for words, which have none.
  const std::int32_t* start = nullptr;
  const float* column_scale = nullptr;  ///< [panel_width]
  bool words = false;                   ///< `accumulate` needs them, and row_scale
};

/// A panel of weights as it is stored: `groups` of bytes, then [panel_width] int32 sums to start from (-128 times the
/// column's weights), then [panel_width] float scales.
constexpr std::int64_t int8_panel_rows(std::int64_t groups) { return 4 * groups + 8; }
inline void set_panel(Int8ProductBlock& block, const std::int8_t* panel, std::int64_t panel_width) {
  block.panel = panel;
  block.panel_width = panel_width;
  block.start = reinterpret_cast<const std::int32_t*>(panel + 4 * block.groups * panel_width);
  block.column_scale = reinterpret_cast<const float*>(block.start + panel_width);
}

/// Attention of up to kBlockRows queries of one head in integers: scores of bytes, weights as 15-bit words times bytes.
struct Int8AttentionBlock {
  const float* query = nullptr;
  std::int64_t query_stride = 0;
  std::int64_t queries = 0;
  std::int64_t head_size = 0;
  std::int64_t keys = 0;
  const std::int8_t* packed_keys = nullptr;    ///< panels of key_panel keys, each as set_panel has it
  const std::int8_t* packed_values = nullptr;  ///< panels of channels: [panels, pairs of keys, value_panel, 2 words]
  const float* value_scales = nullptr;         ///< [value_width]
  std::int64_t key_panel = 0;
  std::int64_t value_panel = 0;
  std::int64_t keys_at_once = 0;  ///< whole key panels, at most kMostWordKeys
  std::int64_t value_width = 0;   ///< head size rounded up to value_panel
  float scale = 1;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  float* scores = nullptr;          ///< scratch [queries, keys_at_once]
  std::int16_t* weights = nullptr;  ///< scratch [queries, keys_at_once]
  std::uint8_t* bytes = nullptr;    ///< scratch [queries, head size rounded up to four]
  float* sums = nullptr;            ///< scratch [queries, value_width]
};
/// So many products of a weight of at most 32767 with a value of at most 127 stay below 2^31.
constexpr std::int64_t kMostWordKeys = 512;
/// Of attention in integers and in bfloat16.
constexpr std::int64_t kMaxHeadSize = 1024;

/// Attention of up to kBlockRows queries of one head in bfloat16, softmax and sums in float32.
struct Bf16AttentionBlock {
  const float* query = nullptr;
  std::int64_t query_stride = 0;
  std::int64_t queries = 0;
  std::int64_t head_size = 0;
  std::int64_t keys = 0;
  std::int64_t key_depth = 0;                    ///< head size, rounded up to Kernels::bf16_depth_step
  const std::uint16_t* packed_keys = nullptr;    ///< panels of keys: [panels, key_depth / 2, key_panel, 2]
  const std::uint16_t* packed_values = nullptr;  ///< panels of channels: [panels, pairs of keys, value_panel, 2]
  std::int64_t key_panel = 0;
  std::int64_t value_panel = 0;
  std::int64_t keys_at_once = 0;  ///< whole key panels, a multiple of kBf16RowStep bytes
  std::int64_t value_width = 0;   ///< head size rounded up to value_panel
  float scale = 1;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  float* scores = nullptr;           ///< scratch [queries, keys_at_once]
  float* sums = nullptr;             ///< scratch [queries, value_width]
  std::uint16_t* weights = nullptr;  ///< scratch [queries, keys_at_once]
  std::uint16_t* rounded = nullptr;  ///< scratch [queries, head size rounded up to kBf16RowStep bytes]
};

/// Winograd F(2x2, 3x3) on bytes: 4 x 4 input tiles to 16 planes, quantized per tile and plane, and 16 planes of sums
/// to 2 x 2 outputs.
struct Int8WinogradTiles {
  const float* in = nullptr;  ///< NHWC image batch, half as high and wide if `upsample`
  std::int64_t batch = 0, height = 0, width = 0, channels = 0;  ///< of the enlarged input, or of `out`
  bool upsample = false;
  std::int64_t first_tile = 0, tiles = 0;  ///< tile t of the whole batch, row-major
  std::uint8_t* planes = nullptr;          ///< plane p, tile t at p * plane_stride + t * channels
  std::int64_t plane_stride = 0;
  float* scales = nullptr;  ///< plane p, tile t at p * scale_stride + t
  std::int64_t scale_stride = 0;
  float* scratch = nullptr;     ///< [17, channels]
  const float* sums = nullptr;  ///< plane p, tile t at p * sum_stride + t * panel_width
  std::int64_t sum_stride = 0;
  std::int64_t panel_width = 0;
  std::int64_t first_column = 0, columns = 0;  ///< of out that the sums are for; a multiple of 16
  float* out = nullptr;
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
  std::int64_t images_per_bias = 0;
  const float* residual = nullptr;
};

/// As winograd_plane_vanishes: in F(2x2, 3x3) the second and third pixel of an enlarged tile's row are the same.
constexpr bool int8_winograd_plane_vanishes(int plane) { return plane / 4 == 2 || plane % 4 == 2; }

struct Kernels {
  const char* name;
  /// Products of bfloat16 take this many of the depth at once: packing that much, the last ones zero, saves them a
  /// copy.
  std::int64_t bf16_depth_step;
  std::int64_t bf16_block_rows;  ///< that share one pass over the weights: as many as the second-level cache holds
  double bf16_gain;  ///< products of bfloat16 over those of float32, roughly: 1 where the processor has none of its own
  double int8_gain;  ///< the same of bytes
  void (*product)(const ProductBlock&);
  void (*finish)(const FinishBlock&);
  void (*group_norm_sums)(const GroupNormBlock&);
  void (*group_norm_factors)(const GroupNormBlock&);
  void (*group_norm_normalise)(const GroupNormBlock&);
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
  void (*quantize_rows)(const QuantizeBlock&);
  void (*int8_product)(const Int8ProductBlock&);
  void (*int8_attention)(const Int8AttentionBlock&);
  void (*pack_int8_keys)(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                         std::int64_t panel_width, std::int8_t* packed);
  void (*pack_int8_values)(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                           std::int64_t panel_width, std::int8_t* packed, float* scales);
  void (*int8_winograd_input)(const Int8WinogradTiles&);
  void (*int8_winograd_output)(const Int8WinogradTiles&);
  void (*bf16_rows)(const Bf16Rows&);
  void (*bf16_product)(const Bf16ProductBlock&);
  void (*bf16_taps)(const Bf16TapsBlock&);
  void (*bf16_attention)(const Bf16AttentionBlock&);
  void (*pack_bf16_keys)(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                         std::int64_t key_depth, std::int64_t panel_width, std::uint16_t* packed);
  void (*pack_bf16_values)(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                           std::int64_t panel_width, std::uint16_t* packed);
  double (*multiply_add_chains)(std::int64_t rounds, float* sink);  ///< @return operations done
  double (*int8_dot_chains)(std::int64_t rounds, float* sink);      ///< @return operations done; 0 where there are none
  double (*bf16_dot_chains)(std::int64_t rounds, float* sink);      ///< the same
  void (*read_memory)(const float* from, std::int64_t count, float* sink);
};

const Kernels& kernels_baseline();
const Kernels& kernels_avx2();
const Kernels& kernels_avxvnni();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512vnni();
const Kernels& kernels_avx512bf16();
const Kernels& kernels_amx();

/// The best table that this processor runs, the one that the environment names, or the one chosen by a test.
/// @throws Error(kUsage) at first use where the environment names none, or one that this processor lacks
const Kernels& kernels();

}  // namespace i2i::cpu
