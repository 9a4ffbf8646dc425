// Every module of the reference, declared: the table of contents of the three networks. Each member is named as in the
// checkpoint, so this page is also the map of a checkpoint's keys. Shapes: B rows, C channels, S tokens, D features.
// Definitions: blocks.cpp (shared blocks), text_encoder.cpp, unet.cpp, vae.cpp. Called by pipeline.cpp.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <vector>

#include "interface/model_config.h"
#include "reference/layers.h"

namespace i2i::reference {

// ---- blocks.cpp --------------------------------------------------------------------------------------------------

/// Sinusoids of `values` [n]: [n, size], frequencies exp(-ln(10000) i / (size/2 - freq_shift))
/// (Vaswani et al. 2017, arXiv:1706.03762, section 3.5). Cosines come first where `flip_sin_to_cos`.
at::Tensor sinusoidal_embedding(const at::Tensor& values, std::int64_t size, bool flip_sin_to_cos, double freq_shift);

/// linear_1, SiLU, linear_2; a condition is projected and added to the input.
class TimestepEmbedding : public Block {
 public:
  /// @param condition  width of the condition, 0 for none
  TimestepEmbedding(std::int64_t in, std::int64_t size, std::int64_t condition = 0);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& condition = {}) const;

 private:
  std::shared_ptr<Linear> linear_1, cond_proj, linear_2;
};

/// Norm, SiLU, conv, (+ time), norm, SiLU, conv, + input (He et al. 2015 in the form of Ho et al. 2020).
class ResnetBlock2D : public Block {
 public:
  /// @param temb_channels  0 where there is no timestep (VAE)
  ResnetBlock2D(std::int64_t in, std::int64_t out, std::int64_t temb_channels, std::int64_t groups, double eps);
  /// @param x [B,in,H,W]  @param temb [B,temb_channels] or undefined  @return [B,out,H,W]
  at::Tensor forward(const at::Tensor& x, const at::Tensor& temb = {}) const;

 private:
  std::shared_ptr<GroupNorm> norm1, norm2;
  std::shared_ptr<Conv2d> conv1, conv2, conv_shortcut;
  std::shared_ptr<Linear> time_emb_proj;
};

/// Multi-head attention: softmax(q k^T / sqrt(size of a head)) v.
class Attention : public Block {
 public:
  /// @param context  features of encoder_hidden_states; equal to `size` for self-attention
  Attention(std::int64_t size, std::int64_t context, std::int64_t heads, bool qkv_bias);
  /// @param x [B,S,size]  @param context [B,T,context]  @return [B,S,size]
  at::Tensor forward(const at::Tensor& x, const at::Tensor& context) const;

 private:
  std::int64_t heads_;
  std::shared_ptr<Linear> to_q, to_k, to_v;
  std::shared_ptr<List<Linear>> to_out;
};

/// GEGLU (Shazeer 2020, arXiv:2002.05202): value * gelu(gate), from one projection; the value is its first half.
class Geglu : public Block {
 public:
  Geglu(std::int64_t in, std::int64_t out);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<Linear> proj;
};

/// GEGLU to four times the width, then back.
class FeedForward : public Block {
 public:
  explicit FeedForward(std::int64_t size);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<Geglu> geglu;
  std::shared_ptr<Linear> out;
};

/// Self-attention, cross-attention, feed-forward; each after a LayerNorm and with a residual.
class BasicTransformerBlock : public Block {
 public:
  BasicTransformerBlock(std::int64_t size, std::int64_t context, std::int64_t heads);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& encoder_hidden_states) const;

 private:
  std::shared_ptr<LayerNorm> norm1, norm2, norm3;
  std::shared_ptr<Attention> attn1, attn2;
  std::shared_ptr<FeedForward> ff;
};

/// Transformer blocks over the pixels of a feature map. The projections around them are 1x1 convolutions or, with
/// use_linear_projection, linears: the same arithmetic on either side of the reshape.
class Transformer2D : public Block {
 public:
  Transformer2D(std::int64_t channels, std::int64_t heads, std::int64_t layers, const UNetConfig& config);
  /// @param x [B,C,H,W]  @param encoder_hidden_states [B,T,D]  @return [B,C,H,W]
  at::Tensor forward(const at::Tensor& x, const at::Tensor& encoder_hidden_states) const;

 private:
  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<Linear> linear_in, linear_out;
  std::shared_ptr<List<BasicTransformerBlock>> transformer_blocks;
};

/// 3x3 convolution with stride 2. The UNet pads all sides by 1; the VAE only the right and the bottom.
class Downsample2D : public Block {
 public:
  Downsample2D(std::int64_t channels, bool pad_right_and_bottom_only);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  bool pad_right_and_bottom_only_;
  std::shared_ptr<Conv2d> conv;
};

/// Nearest neighbour to `size`, then a 3x3 convolution.
class Upsample2D : public Block {
 public:
  explicit Upsample2D(std::int64_t channels);
  /// @param size  (H, W) of the result; twice the input's where it is absent
  at::Tensor forward(const at::Tensor& x, const std::optional<std::vector<std::int64_t>>& size = {}) const;

 private:
  std::shared_ptr<Conv2d> conv;
};

// ---- text_encoder.cpp --------------------------------------------------------------------------------------------

class ClipEmbeddings : public Block {
 public:
  explicit ClipEmbeddings(const TextEncoderConfig& config);
  at::Tensor forward(const at::Tensor& ids) const;

 private:
  std::shared_ptr<Embedding> token_embedding, position_embedding;
};

class ClipAttention : public Block {
 public:
  explicit ClipAttention(const TextEncoderConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::int64_t heads_;
  std::shared_ptr<Linear> k_proj, v_proj, q_proj, out_proj;
};

class ClipMlp : public Block {
 public:
  explicit ClipMlp(const TextEncoderConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  bool quick_gelu_;
  std::shared_ptr<Linear> fc1, fc2;
};

class ClipEncoderLayer : public Block {
 public:
  explicit ClipEncoderLayer(const TextEncoderConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<ClipAttention> self_attn;
  std::shared_ptr<LayerNorm> layer_norm1, layer_norm2;
  std::shared_ptr<ClipMlp> mlp;
};

class ClipEncoder : public Block {
 public:
  explicit ClipEncoder(const TextEncoderConfig& config);
  std::shared_ptr<List<ClipEncoderLayer>> layers;
};

/// CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020), with or without its projection.
class TextEncoder : public Block {
 public:
  struct Output {
    at::Tensor last_hidden_state;  ///< [B,S,D], after final_layer_norm: what SD 1 and 2 condition on
    at::Tensor penultimate;        ///< [B,S,D], the last layer's input: what SDXL conditions on
    at::Tensor text_embeds;        ///< [B,P], pooled and projected; undefined without a projection
  };

  explicit TextEncoder(const TextEncoderConfig& config);
  /// @param ids [B,S] int64
  Output forward(const at::Tensor& ids) const;

 private:
  TextEncoderConfig config_;
  std::shared_ptr<ClipEmbeddings> embeddings;
  std::shared_ptr<ClipEncoder> encoder;
  std::shared_ptr<LayerNorm> final_layer_norm;
  std::shared_ptr<Linear> text_projection;
};

// ---- unet.cpp ----------------------------------------------------------------------------------------------------

/// One level of the UNet's way down: resnets, each followed by a transformer where the level has attention.
class DownBlock2D : public Block {
 public:
  DownBlock2D(const UNetConfig& config, std::size_t level);
  /// Appends every intermediate result to `skips`, for the way up.
  at::Tensor forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& encoder_hidden_states,
                     std::vector<at::Tensor>& skips) const;

 private:
  std::shared_ptr<List<ResnetBlock2D>> resnets;
  std::shared_ptr<List<Transformer2D>> attentions;
  std::shared_ptr<List<Downsample2D>> downsamplers;
};

class UNetMidBlock2D : public Block {
 public:
  explicit UNetMidBlock2D(const UNetConfig& config);
  at::Tensor forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& encoder_hidden_states) const;

 private:
  std::shared_ptr<List<Transformer2D>> attentions;
  std::shared_ptr<List<ResnetBlock2D>> resnets;
};

/// One level of the way up: each resnet sees the skip of its counterpart, concatenated on channels.
class UpBlock2D : public Block {
 public:
  /// @param level  counted from the bottom
  UpBlock2D(const UNetConfig& config, std::size_t level);
  at::Tensor forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& encoder_hidden_states,
                     std::vector<at::Tensor>& skips) const;

 private:
  std::shared_ptr<List<ResnetBlock2D>> resnets;
  std::shared_ptr<List<Transformer2D>> attentions;
  std::shared_ptr<List<Upsample2D>> upsamplers;
};

/// The denoiser (Rombach et al. 2021, arXiv:2112.10752; Podell et al. 2023, arXiv:2307.01952 for text_time).
class UNet2DCondition : public Block {
 public:
  explicit UNet2DCondition(const UNetConfig& config);
  /// @param sample                 [B,in_channels,h,w]
  /// @param timestep               training index, may have a fraction
  /// @param encoder_hidden_states  [B,T,cross_attention_dim]
  /// @param text_embeds            [B,P], SDXL only, otherwise undefined
  /// @param time_ids               [B,6] ([B,5] for the refiner), SDXL only, otherwise undefined
  /// @param timestep_cond          [B,time_cond_proj_dim], LCM checkpoints only, otherwise undefined
  /// @return                       [B,out_channels,h,w], noise_pred
  at::Tensor forward(const at::Tensor& sample, double timestep, const at::Tensor& encoder_hidden_states,
                     const at::Tensor& text_embeds = {}, const at::Tensor& time_ids = {},
                     const at::Tensor& timestep_cond = {}) const;

 private:
  UNetConfig config_;
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<TimestepEmbedding> time_embedding, add_embedding;
  std::shared_ptr<List<DownBlock2D>> down_blocks;
  std::shared_ptr<UNetMidBlock2D> mid_block;
  std::shared_ptr<List<UpBlock2D>> up_blocks;
  std::shared_ptr<GroupNorm> conv_norm_out;
};

// ---- vae.cpp -----------------------------------------------------------------------------------------------------

/// Single-head self-attention over pixels, its GroupNorm and residual inside.
class VaeAttention : public Block {
 public:
  VaeAttention(std::int64_t channels, std::int64_t groups);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<GroupNorm> group_norm;
  std::shared_ptr<Linear> to_q, to_k, to_v;
  std::shared_ptr<List<Linear>> to_out;
};

class VaeMidBlock : public Block {
 public:
  VaeMidBlock(const VaeConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<List<VaeAttention>> attentions;
  std::shared_ptr<List<ResnetBlock2D>> resnets;
};

/// One level of the encoder or decoder: resnets, then a change of size where there is one.
class VaeBlock : public Block {
 public:
  enum class Resize { kNone, kDown, kUp };
  VaeBlock(std::int64_t in, std::int64_t out, std::int64_t layers, std::int64_t groups, Resize resize);
  at::Tensor forward(at::Tensor x) const;

 private:
  std::shared_ptr<List<ResnetBlock2D>> resnets;
  std::shared_ptr<List<Downsample2D>> downsamplers;
  std::shared_ptr<List<Upsample2D>> upsamplers;
};

class VaeEncoder : public Block {
 public:
  explicit VaeEncoder(const VaeConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<List<VaeBlock>> down_blocks;
  std::shared_ptr<VaeMidBlock> mid_block;
  std::shared_ptr<GroupNorm> conv_norm_out;
};

class VaeDecoder : public Block {
 public:
  explicit VaeDecoder(const VaeConfig& config);
  at::Tensor forward(const at::Tensor& z) const;

 private:
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<VaeMidBlock> mid_block;
  std::shared_ptr<List<VaeBlock>> up_blocks;
  std::shared_ptr<GroupNorm> conv_norm_out;
};

/// The autoencoder between pixels and latents (Rombach et al. 2021). Its latents are unscaled: scaling_factor is the
/// pipeline's affair.
class AutoencoderKL : public Block {
 public:
  /// Moments of the diagonal Gaussian q(z|x), each [B,latent_channels,h,w]; logvar clamped to [-30,20].
  struct Posterior {
    at::Tensor mean;
    at::Tensor logvar;
  };

  explicit AutoencoderKL(const VaeConfig& config);
  /// @param pixels [B,3,H,W] in [-1,1]
  Posterior encode(const at::Tensor& pixels) const;
  /// @param latents [B,latent_channels,h,w], unscaled  @return [B,3,H,W], nominally in [-1,1]
  at::Tensor decode(const at::Tensor& latents) const;

 private:
  std::shared_ptr<VaeEncoder> encoder;
  std::shared_ptr<VaeDecoder> decoder;
  std::shared_ptr<Conv2d> quant_conv, post_quant_conv;
};

}  // namespace i2i::reference
