"""Stage 1: the autoencoder, on freshly composed pictures, until its minutes are over; resumable."""
import math
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import build_vae
from world import draw, random_scene

BATCH, CACHE, PEAK_RATE, WARM_UP, SAVE_EVERY = 8, 12000, 1.5e-3, 60, 60.0
SHAPE_WEIGHT = 4.0  # shapes cover little of a picture; without more weight the grounds are learnt and the colours are not
LATENT_NOISE = 0.1  # the decoder must bear this much error, and it is the posterior's std in the end


def picture_cache(count: int, seed: int, crowded: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures, uint8 [count, 3, 64, 64], and where they differ from their bare grounds, bool [count, 1, 64, 64].

    Crowded scenes hold up to six shapes: more to learn from in every picture than the world itself offers.
    """
    rng = random.Random(seed)
    scenes = [random_scene(rng, rng.randint(1, 6) if crowded else None) for _ in range(count)]
    pictures = np.stack([draw(s) for s in scenes])
    bare = np.stack([draw(replace(s, shapes=())) for s in scenes])
    shaped = (pictures != bare).any(-1)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(shaped)[:, None]


def to_model(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.float() / 127.5 - 1


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def picture_loss(y: torch.Tensor, x: torch.Tensor, shaped: torch.Tensor) -> torch.Tensor:
    """Absolute, squared and edge error, with more weight on the shapes."""
    error = (y - x) * (1 + SHAPE_WEIGHT * shaped)
    gradient = sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x)))
    return error.abs().mean() + (error * (y - x)).mean() + 0.25 * gradient


def loss_of(vae, x: torch.Tensor, shaped: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = vae.encode(x).latent_dist.mean.float()
    y = vae.decode(mean + LATENT_NOISE * torch.randn_like(mean)).sample.float()
    # A fixed noise and a weak pull to zero take the place of a KL term, which switched a whole channel off when tried.
    return picture_loss(y, x, shaped) + 1e-4 * mean.square().mean(), (y - x).abs().mean()


@torch.no_grad()
def normalise_latents(vae, pictures: torch.Tensor, std: float = 2.0) -> None:
    """Fold a shift and scale into the two 1x1 convolutions round the latents: zero mean and `std` per channel.

    The factor is not 1, so that a pipeline that forgets scaling_factor is seen to be wrong.
    """
    means = torch.cat([vae.encode(to_model(p)).latent_dist.mean for p in pictures.split(100)])
    shift = means.mean((0, 2, 3))
    scale = means.std((0, 2, 3)) / std
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] /= scale.view(4, 1, 1, 1)
    into.bias[:4] = (into.bias[:4] - shift) / scale
    into.weight[4:] = 0
    into.bias[4:] = 2 * (LATENT_NOISE / scale).log()
    out.bias += (out.weight[..., 0, 0] * shift).sum(1)
    out.weight *= scale.view(1, 4, 1, 1)
    vae.register_to_config(scaling_factor=1 / std)


def train_vae(state_dir: Path, minutes: float, seed: int, autocast) -> None:
    torch.manual_seed(seed)
    pictures, shaped = picture_cache(CACHE, seed)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), PEAK_RATE, weight_decay=1e-4)
    step, spent, path = 0, 0.0, state_dir / "vae_state.pt"
    if path.exists():
        saved = torch.load(path)
        vae.load_state_dict(saved["vae"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
    budget, last_save, last = minutes * 60, spent, time.time()

    def save() -> None:
        torch.save(
            {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent": spent},
            path.with_suffix(".tmp"),
        )
        path.with_suffix(".tmp").rename(path)

    while spent < budget:
        # The cosine runs on time, not on steps: it ends when the minutes do, however busy the machine is.
        rate = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * spent / budget))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-5)
        chosen = torch.randint(0, CACHE, (BATCH,))
        with autocast():
            loss, l1 = loss_of(vae, to_model(pictures[chosen]), shaped[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = time.time()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            print(f"vae step {step} {spent:.0f} s loss {loss.item():.4f} l1 {l1.item():.4f}", flush=True)
        if spent - last_save > SAVE_EVERY:
            save()
            last_save = spent
    save()
    vae.eval()
    normalise_latents(vae, picture_cache(1000, seed + 1, crowded=False)[0])
    vae.save_pretrained(state_dir / "vae")
    with torch.no_grad():
        held_out = to_model(picture_cache(200, seed + 2, crowded=False)[0])
        posterior = vae.encode(held_out).latent_dist
        y = vae.decode(posterior.mean).sample
        print(f"vae held-out l1 {(y - held_out).abs().mean():.4f} latents std {posterior.mean.std():.3f} "
              f"posterior std {posterior.std.mean():.3f}", flush=True)
