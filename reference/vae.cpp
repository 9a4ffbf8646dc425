#include "interface/stage_clock.h"
#include "reference/modules.h"

namespace i2i::reference {
namespace {

constexpr double kEps = 1e-6;  // of every GroupNorm in AutoencoderKL

}  // namespace

VaeAttention::VaeAttention(std::int64_t channels, std::int64_t groups)
    : group_norm(child<GroupNorm>("group_norm", groups, channels, kEps)),
      to_q(child<Linear>("to_q", channels, channels)),
      to_k(child<Linear>("to_k", channels, channels)),
      to_v(child<Linear>("to_v", channels, channels)),
      to_out(child<List<Linear>>("to_out")) {
  to_out->append(channels, channels);
}

at::Tensor VaeAttention::forward(const at::Tensor& input) const {
  const auto x = group_norm->forward(input).flatten(2).transpose(1, 2);  // [B,HW,C]
  const auto one_head = [](const at::Tensor& t) { return t.unsqueeze(1); };
  const auto attended = at::scaled_dot_product_attention(one_head(to_q->forward(x)), one_head(to_k->forward(x)),
                                                         one_head(to_v->forward(x)));
  return input + (*to_out)[0].forward(attended.squeeze(1)).transpose(1, 2).reshape(input.sizes());
}

VaeMidBlock::VaeMidBlock(const VaeConfig& config)
    : attentions(child<List<VaeAttention>>("attentions")), resnets(child<List<ResnetBlock2D>>("resnets")) {
  const auto channels = config.block_out_channels.back();
  if (config.mid_block_add_attention) attentions->append(channels, config.norm_num_groups);
  for (int i = 0; i < 2; ++i) resnets->append(channels, channels, /*temb_channels=*/0, config.norm_num_groups, kEps);
}

at::Tensor VaeMidBlock::forward(const at::Tensor& input) const {
  const BlockRange range("mid_block");
  auto x = (*resnets)[0].forward(input);
  if (!attentions->empty()) x = (*attentions)[0].forward(x);
  return (*resnets)[1].forward(x);
}

VaeBlock::VaeBlock(std::int64_t in, std::int64_t out, std::int64_t layers, std::int64_t groups, Resize resize)
    : resnets(child<List<ResnetBlock2D>>("resnets")) {
  for (std::int64_t i = 0; i < layers; ++i) {
    resnets->append(i == 0 ? in : out, out, /*temb_channels=*/0, groups, kEps);
  }
  if (resize == Resize::kDown) {
    downsamplers = child<List<Downsample2D>>("downsamplers");
    downsamplers->append(out, /*pad_right_and_bottom_only=*/true);
  } else if (resize == Resize::kUp) {
    upsamplers = child<List<Upsample2D>>("upsamplers");
    upsamplers->append(out);
  }
}

at::Tensor VaeBlock::forward(at::Tensor x) const {
  for (std::size_t i = 0; i < resnets->size(); ++i) x = (*resnets)[i].forward(x);
  if (downsamplers) x = (*downsamplers)[0].forward(x);
  if (upsamplers) x = (*upsamplers)[0].forward(x);
  return x;
}

VaeEncoder::VaeEncoder(const VaeConfig& config)
    : conv_in(child<Conv2d>("conv_in", config.in_channels, config.block_out_channels.front(), 3, 1, 1)),
      conv_out(child<Conv2d>("conv_out", config.block_out_channels.back(), 2 * config.latent_channels, 3, 1, 1)),
      down_blocks(child<List<VaeBlock>>("down_blocks")),
      mid_block(child<VaeMidBlock>("mid_block", config)),
      conv_norm_out(child<GroupNorm>("conv_norm_out", config.norm_num_groups, config.block_out_channels.back(), kEps)) {
  const auto& channels = config.block_out_channels;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const auto resize = i + 1 < channels.size() ? VaeBlock::Resize::kDown : VaeBlock::Resize::kNone;
    down_blocks->append(channels[i > 0 ? i - 1 : 0], channels[i], config.layers_per_block, config.norm_num_groups,
                        resize);
  }
}

at::Tensor VaeEncoder::forward(const at::Tensor& pixels) const {
  auto x = conv_in->forward(pixels);
  for (std::size_t i = 0; i < down_blocks->size(); ++i) {
    const BlockRange range("down_blocks", i);
    x = (*down_blocks)[i].forward(x);
  }
  x = mid_block->forward(x);
  return conv_out->forward(at::silu(conv_norm_out->forward(x)));
}

VaeDecoder::VaeDecoder(const VaeConfig& config)
    : conv_in(child<Conv2d>("conv_in", config.latent_channels, config.block_out_channels.back(), 3, 1, 1)),
      conv_out(child<Conv2d>("conv_out", config.block_out_channels.front(), config.out_channels, 3, 1, 1)),
      mid_block(child<VaeMidBlock>("mid_block", config)),
      up_blocks(child<List<VaeBlock>>("up_blocks")),
      conv_norm_out(
          child<GroupNorm>("conv_norm_out", config.norm_num_groups, config.block_out_channels.front(), kEps)) {
  const auto& channels = config.block_out_channels;
  const auto last = channels.size() - 1;
  for (std::size_t i = 0; i <= last; ++i) {
    const auto resize = i < last ? VaeBlock::Resize::kUp : VaeBlock::Resize::kNone;
    up_blocks->append(channels[last - (i > 0 ? i - 1 : 0)], channels[last - i], config.layers_per_block + 1,
                      config.norm_num_groups, resize);
  }
}

at::Tensor VaeDecoder::forward(const at::Tensor& z) const {
  auto x = mid_block->forward(conv_in->forward(z));
  for (std::size_t i = 0; i < up_blocks->size(); ++i) {
    const BlockRange range("up_blocks", i);
    x = (*up_blocks)[i].forward(x);
  }
  return conv_out->forward(at::silu(conv_norm_out->forward(x)));
}

AutoencoderKL::AutoencoderKL(const VaeConfig& config)
    : encoder(child<VaeEncoder>("encoder", config)), decoder(child<VaeDecoder>("decoder", config)) {
  const auto channels = config.latent_channels;
  if (config.use_quant_conv) quant_conv = child<Conv2d>("quant_conv", 2 * channels, 2 * channels, 1);
  if (config.use_post_quant_conv) post_quant_conv = child<Conv2d>("post_quant_conv", channels, channels, 1);
}

AutoencoderKL::Posterior AutoencoderKL::encode(const at::Tensor& pixels) const {
  auto moments = encoder->forward(pixels);
  if (quant_conv) moments = quant_conv->forward(moments);
  const auto halves = moments.chunk(2, 1);
  return {halves[0].contiguous(), halves[1].clamp(-30.0, 20.0)};
}

at::Tensor AutoencoderKL::decode(const at::Tensor& latents) const {
  return decoder->forward(post_quant_conv ? post_quant_conv->forward(latents) : latents);
}

}  // namespace i2i::reference
