"""Writes the model that all peers are given: an architecture's published sizes with seeded weights, diffusers layout.

usage: model.py sd15|sdxl FOLDER

The weights keep the variance of what passes through them, so that no activation overflows; the pictures mean nothing.
Sizes are those published with runwayml/stable-diffusion-v1-5 and stabilityai/stable-diffusion-xl-base-1.0.
"""
import shutil
import sys
from pathlib import Path

import torch
from diffusers import (AutoencoderKL, EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline,
                       StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]


def seeded(module: torch.nn.Module, generator: torch.Generator) -> torch.nn.Module:
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.dim() == 1:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                bound = (3 / value[0].numel()) ** 0.5
                value.uniform_(-bound, bound, generator=generator)
    return module.eval()


def clip(width: int, layers: int, **options) -> CLIPTextConfig:
    return CLIPTextConfig(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                          num_attention_heads=width // 64, vocab_size=49408, max_position_embeddings=77,
                          projection_dim=width, eos_token_id=2, **options)


def vae(scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                         up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4,
                         sample_size=512, scaling_factor=scaling_factor)


def tokenizer(padding: str | None = None) -> CLIPTokenizer:
    made = CLIPTokenizer.from_pretrained(ROOT / "datasets" / "goldens" / "tokenizers" / "whole")
    made.model_max_length = 77
    if padding:
        made.pad_token = padding
    return made


def sd15(generator: torch.Generator, scheduler) -> StableDiffusionImg2ImgPipeline:
    return StableDiffusionImg2ImgPipeline(
        vae=seeded(vae(0.18215), generator), text_encoder=seeded(CLIPTextModel(clip(768, 12)), generator),
        tokenizer=tokenizer(), unet=seeded(UNet2DConditionModel(sample_size=64, cross_attention_dim=768), generator),
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def sdxl(generator: torch.Generator, scheduler) -> StableDiffusionXLImg2ImgPipeline:
    unet = UNet2DConditionModel(
        sample_size=128, cross_attention_dim=2048, block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    return StableDiffusionXLImg2ImgPipeline(
        vae=seeded(vae(0.13025), generator), text_encoder=seeded(CLIPTextModel(clip(768, 12)), generator),
        text_encoder_2=seeded(CLIPTextModelWithProjection(clip(1280, 32, hidden_act="gelu")), generator),
        tokenizer=tokenizer(), tokenizer_2=tokenizer("!"), unet=seeded(unet, generator), scheduler=scheduler,
        add_watermarker=False)


MODELS = {"sd15": sd15, "sdxl": sdxl}


def write_model(name: str, folder: Path) -> None:
    if (folder / "model_index.json").exists():
        return
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                       steps_offset=1, timestep_spacing="leading")
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    MODELS[name](torch.Generator().manual_seed(15), scheduler).save_pretrained(unfinished, safe_serialization=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    write_model(sys.argv[1], Path(sys.argv[2]))
