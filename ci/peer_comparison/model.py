"""Writes the model that all peers are given: Stable Diffusion 1.5's architecture with seeded weights, diffusers layout.

The weights keep the variance of what passes through them, so that no activation overflows; the pictures mean nothing.
Sizes are those published with runwayml/stable-diffusion-v1-5.
"""
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

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


def write_model(folder: Path) -> None:
    if (folder / "model_index.json").exists():
        return
    generator = torch.Generator().manual_seed(15)
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                          vocab_size=49408, max_position_embeddings=77, projection_dim=768, eos_token_id=2)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512,
                        scaling_factor=0.18215)
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                                       timestep_spacing="leading")
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "datasets" / "goldens" / "tokenizers" / "whole")
    tokenizer.model_max_length = 77
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=seeded(vae, generator), text_encoder=seeded(CLIPTextModel(text), generator), tokenizer=tokenizer,
        unet=seeded(unet, generator), scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    pipeline.save_pretrained(unfinished, safe_serialization=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
