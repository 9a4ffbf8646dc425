// UNet2DConditionModel over the fused operators. What stays the same over a request (text keys and values) or over a
// schedule (timestep embeddings, projected for every resnet) is made by prepare_* once and handed to each forward.
#pragma once

#include <vector>

#include "interface/model_config.h"
#include "optimized/layers.h"

namespace i2i {

/// Cross-attention keys and values of S conditions, one entry per transformer block in the order of use.
using TextKeyValues = std::vector<KeyValue>;

/// For one step: per resnet in the order of use, conv1's bias plus the projected embedding, [S,O].
using TimeBiases = std::vector<at::Tensor>;

/// The same for L steps, [L,S,O] per resnet.
using TimeTable = std::vector<at::Tensor>;
TimeBiases biases_of(const TimeTable& table, std::size_t step);

/// What a whole evaluation leaves for the steps after it (feature_reuse).
struct DeepFeatures {
  std::size_t depth = 1;  ///< resnets on either side that are evaluated in every step
  at::Tensor hidden;      ///< what enters the first of them on the way up, before its skip joins it
  std::int64_t rows = 1;  ///< of the guidance batch, that it was kept for
};

class OptimizedUNet {
 public:
  /// @param once  of the products that stay in fp32: timestep embeddings, made once per request, and the last
  /// convolution
  OptimizedUNet(Runtime& runtime, Runtime& once, const UNetConfig& config, const Weights& weights);

  /// @param encoder_hidden_states  [S,T,D]
  TextKeyValues prepare_text(const at::Tensor& encoder_hidden_states) const;

  /// @param timesteps  as the UNet sees them, fractions included
  /// @param pooled     [S,P] and time_ids [S,6] for text_time conditioning; else undefined
  /// @param guidance_scale  what a UNet with time_cond_proj_dim embeds; others ignore it
  TimeTable prepare_time(const std::vector<double>& timesteps, const at::Tensor& pooled, const at::Tensor& time_ids,
                         double guidance_scale) const;

  /// @param sample  [S * k, in_channels, h, w]; image n goes with condition n * S / N. Where all conditions are to
  ///                see the same images and timestep, [k, ...] and `copies` = S: what they have in common, up to the
  ///                first cross-attention, is then computed once
  /// @param deep    where given: with `hidden` defined, only what lies outside of it is evaluated, on top of it;
  ///                otherwise everything is, and `hidden` is kept
  /// @return        [S * k, out_channels, h, w] in the pipeline's memory format
  at::Tensor operator()(const at::Tensor& sample, const TextKeyValues& text, const TimeBiases& time,
                        DeepFeatures* deep = nullptr, std::int64_t copies = 1) const;

  /// Of its sample: latents, and the source's channels where it takes them.
  std::int64_t in_channels() const { return config_.in_channels; }

  /// Resnets on the way up: the largest depth of deep features.
  std::size_t resnets_up() const;

 private:
  struct Resnet {
    GroupNorm norm1, norm2;
    Conv2d conv1, conv2, shortcut;
    std::size_t index = 0;  ///< into TimeBiases
  };
  struct TransformerBlock {
    LayerNorm norm1, norm2, norm3;
    Int8Layers::Layer* attention = nullptr;
    Linear qkv, out1, query, key_value, out2, feed_forward1, feed_forward2;
    std::size_t index = 0;  ///< into TextKeyValues
  };
  struct Transformer {
    GroupNorm norm;
    Linear proj_in, proj_out;
    std::vector<TransformerBlock> blocks;
    std::int64_t heads = 1;
  };
  struct Level {
    std::vector<Resnet> resnets;
    std::vector<Transformer> transformers;  ///< empty, or one per resnet
    Conv2d resample;                        ///< down- or upsampler, undefined at the ends
  };

  Resnet make_resnet(const WeightReader& reader);
  Transformer make_transformer(const WeightReader& reader, std::int64_t heads, std::int64_t layers);
  at::Tensor run(const Resnet& resnet, const at::Tensor& x, const TimeBiases& time) const;
  at::Tensor run(const Transformer& transformer, const at::Tensor& x, const TextKeyValues& text,
                 std::int64_t copies = 1) const;
  at::Tensor go_down(at::Tensor hidden, const TextKeyValues& text, const TimeBiases& time, std::size_t wanted,
                     std::int64_t& copies, std::vector<at::Tensor>& skips) const;

  Runtime* runtime_;
  Runtime* once_;
  UNetConfig config_;
  Conv2d conv_in_, conv_out_;
  GroupNorm norm_out_;
  std::vector<Level> down_, up_;
  Resnet middle_first_, middle_last_;
  Transformer middle_;
  Linear time_linear1_, time_cond_proj_, time_linear2_, add_linear1_, add_linear2_;
  Linear time_projections_;  ///< all resnets' time_emb_proj below each other, their bias joined with conv1's
  std::vector<at::Tensor> projection_weights_, projection_biases_;  ///< gathered while resnets are made
  std::vector<std::int64_t> projection_sizes_;
  std::vector<const TransformerBlock*> blocks_in_order_;
};

}  // namespace i2i
