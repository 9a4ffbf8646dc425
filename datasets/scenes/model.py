"""The embedded model's four networks in diffusers' and transformers' own classes, made small."""
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

TEXT_WIDTH = 128
TEXT_LENGTH = 40  # the longest caption has 28 words; two more tokens frame it


def build_vae() -> AutoencoderKL:
    """64x64 pictures to 16x16 latents of 4 channels."""
    return AutoencoderKL(
        sample_size=64,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=16,
        latent_channels=4,
        force_upcast=False,
    )


def build_text_encoders(vocab_size: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Two encoders of three layers; the UNet reads what enters the last one, the pooled text comes out of it."""
    config = dict(
        vocab_size=vocab_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        projection_dim=TEXT_WIDTH,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
    )
    first = CLIPTextModel(CLIPTextConfig(**config, hidden_act="quick_gelu", pad_token_id=vocab_size - 1))
    second = CLIPTextModelWithProjection(CLIPTextConfig(**config, hidden_act="gelu", pad_token_id=0))
    return first, second


def build_unet() -> UNet2DConditionModel:
    """8 channels in (noisy latents, source latents), 4 out; attention to the text at 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(96, 128, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(3, 4, 5),
        cross_attention_dim=2 * TEXT_WIDTH,
        norm_num_groups=16,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=6 * 32 + TEXT_WIDTH,
    )
