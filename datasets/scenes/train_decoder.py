"""Optional stage: sharpens the decoder with the encoder frozen, so that the UNet's latents keep their meaning."""
import math
import shutil
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from train_vae import picture_cache, picture_loss, to_model

BATCH, PICTURES, PEAK_RATE, WARM_UP, SAVE_EVERY = 8, 2000, 1e-3, 50, 240.0
SAMPLING_NOISE = 0.15  # about what sampled latents miss, beside latents of std 2


def replace_vae(vae, folder: Path) -> None:
    new, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    for leftover in new, old:
        shutil.rmtree(leftover, ignore_errors=True)
    vae.save_pretrained(new)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)


def train_decoder(state_dir: Path, minutes: float, seed: int, autocast) -> None:
    """Resumes from the decoder in the VAE's folder, with a schedule of its own each time."""
    torch.manual_seed(seed + 10)
    vae = AutoencoderKL.from_pretrained(state_dir / "vae")
    pictures, shaped = picture_cache(PICTURES, seed + 10)
    with torch.no_grad():
        latents = torch.cat([vae.encode(to_model(p)).latent_dist.mean for p in pictures.split(50)])
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, weight_decay=1e-4)
    start, step, last_save, budget = time.time(), 0, 0.0, minutes * 60
    while (spent := time.time() - start) < budget:
        rate = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * spent / budget))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randint(0, PICTURES, (BATCH,))
        x, z = to_model(pictures[chosen]), latents[chosen]
        with autocast():
            y = vae.decode(z + SAMPLING_NOISE * torch.randn_like(z)).sample.float()
            loss = picture_loss(y, x, shaped[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"decoder step {step} {spent:.0f} s l1 {(y - x).abs().mean().item():.4f}", flush=True)
        if spent - last_save > SAVE_EVERY:
            replace_vae(vae, state_dir / "vae")
            last_save = spent
    replace_vae(vae, state_dir / "vae")
