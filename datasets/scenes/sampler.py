"""Samples the exported model as semantics.md describes it: InstructPix2Pix guidance, and strength below 1.

The guidance batch is [text+image, image only, neither]; every picture has its own generator, seeded seed + index.
"""
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from model import TEXT_LENGTH
from tokenizer import WordTokenizer
from train_unet import TIME_IDS, encode_text


class Sampler:
    def __init__(self, folder: Path) -> None:
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
        self.first = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self.second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", dtype=torch.float32).eval()
        self.scheduler = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")
        self.words = WordTokenizer()

    def encode(self, prompts: list[str], prompts_2: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids_1 = torch.tensor([self.words(p, self.words.end) for p in prompts])
        ids_2 = torch.tensor([self.words(p, 0) for p in prompts_2])
        assert ids_1.shape[1] == TEXT_LENGTH
        return encode_text(self.first, self.second, ids_1, ids_2)

    @torch.no_grad()
    def generate(self, sources, prompts, prompts_2=None, negatives=None, guidance_scale=7.5, image_guidance_scale=1.5,
                 strength=1.0, steps=20, seed=0) -> np.ndarray:
        """sources: uint8 [n, 64, 64, 3]; one prompt each. Returns uint8 [n, 64, 64, 3]."""
        n, scheduler = len(sources), self.scheduler
        positive, pooled = self.encode(prompts, prompts_2 or prompts)
        negative, negative_pooled = self.encode(negatives or [""] * n, negatives or [""] * n)
        states = torch.cat([positive, negative, negative])
        added = {"text_embeds": torch.cat([pooled, negative_pooled, negative_pooled]),
                 "time_ids": torch.tensor([TIME_IDS] * (3 * n))}
        posterior = self.vae.encode(torch.from_numpy(sources).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
        image = torch.cat([posterior.mean, posterior.mean, torch.zeros_like(posterior.mean)])

        generators = [torch.Generator().manual_seed(seed + i) for i in range(n)]
        draw = lambda: torch.cat([torch.randn(1, 4, 16, 16, generator=g) for g in generators])
        scheduler.set_timesteps(steps)
        if strength == 1:
            timesteps, latents = scheduler.timesteps, draw() * scheduler.init_noise_sigma
        else:
            skipped = steps - max(1, min(int(steps * strength), steps))
            timesteps = scheduler.timesteps[skipped:]
            scheduler.set_begin_index(skipped)
            start = (posterior.mean + posterior.std * draw()) * self.vae.config.scaling_factor
            latents = scheduler.add_noise(start, draw(), timesteps[:1].repeat(n))
        for t in timesteps:
            noisy = scheduler.scale_model_input(latents, t)
            noise = self.unet(torch.cat([noisy.repeat(3, 1, 1, 1), image], 1), t, states, added_cond_kwargs=added).sample
            both, only_image, neither = noise.chunk(3)
            noise = neither + guidance_scale * (both - only_image) + image_guidance_scale * (only_image - neither)
            latents = scheduler.step(noise, t, latents).prev_sample
        pictures = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return (pictures.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
