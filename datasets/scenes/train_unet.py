"""Stage 2: UNet and both text encoders together, on cached latents, until the minutes are over; resumable."""
import copy
import math
import random
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler

from export import SCHEDULER, export
from model import build_text_encoders, build_unet
from pairs import caption_pair, encode_scenes, scene_groups, source_of
from tokenizer import WordTokenizer

BATCH, LAYOUTS, PEAK_RATE, WARM_UP = 32, 7000, 8e-4, 200
SAVE_EVERY = 240.0  # seconds
# Chances of what the UNet does not see; without the source it learns to draw from the text alone.
NO_TEXT, NO_IMAGE, NEITHER = 0.07, 0.18, 0.07
TIME_IDS = (64.0, 64.0, 0.0, 0.0, 64.0, 64.0)


def encode_text(first, second, ids_1: torch.Tensor, ids_2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the UNet is told: [B, 40, 256] from both encoders' last-but-one states, and the pooled [B, 128]."""
    a = first(ids_1, output_hidden_states=True).hidden_states[-2]
    b = second(ids_2, output_hidden_states=True)
    return torch.cat([a, b.hidden_states[-2]], -1), b.text_embeds


class Batches:
    """Draws training batches: noisy latents with their condition, timesteps, token ids and the noise to find."""

    def __init__(self, vae, seed: int, cache: Path) -> None:
        self.scenes = scene_groups(LAYOUTS, seed)
        if not cache.exists():
            torch.save(encode_scenes(vae, self.scenes), cache)
        self.latents = torch.load(cache)
        self.scale = vae.config.scaling_factor
        self.scheduler = DDIMScheduler.from_config(SCHEDULER)
        self.words = WordTokenizer()

    def draw(self, rng: random.Random):
        targets = [rng.randrange(len(self.scenes)) for _ in range(BATCH)]
        condition = self.latents[[source_of(t, len(self.scenes), rng) for t in targets]]
        texts = []
        for i, target in enumerate(targets):
            u = rng.random()
            if u < NO_TEXT + NEITHER:
                texts.append(("", ""))
            else:
                texts.append(caption_pair(self.scenes[target], rng))
            if NO_TEXT <= u < NO_TEXT + NEITHER + NO_IMAGE:
                condition[i] = 0
        ids_1 = torch.tensor([self.words(a, self.words.end) for a, _ in texts])
        ids_2 = torch.tensor([self.words(b, 0) for _, b in texts])
        clean = self.latents[targets] * self.scale
        noise, timesteps = torch.randn_like(clean), torch.randint(0, 1000, (BATCH,))
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        return torch.cat([noisy, condition], 1), timesteps, ids_1, ids_2, noise


def train_unet(state_dir: Path, minutes: float, seed: int, autocast, model_dir: Path) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(state_dir / "vae").eval()
    batches = Batches(vae, seed, state_dir / "latents.pt")
    networks = (build_unet(), *build_text_encoders(len(batches.words.ids)))
    unet, first, second = networks
    average = copy.deepcopy(networks)
    parameters = [p for n in networks for p in n.parameters()]
    averaged = [p for n in average for p in n.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    step, spent, path = 0, 0.0, state_dir / "unet_state.pt"
    if path.exists():
        saved = torch.load(path)
        for kind, nets in ("networks", networks), ("average", average):
            for network, weights in zip(nets, saved[kind]):
                network.load_state_dict(weights)
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
    rng = random.Random(seed + step)
    torch.manual_seed(seed + step)

    def save() -> None:
        state = {"networks": [n.state_dict() for n in networks], "average": [n.state_dict() for n in average],
                 "optimizer": optimizer.state_dict(), "step": step, "spent": spent}
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)
        export(state_dir, model_dir)

    budget, last_save, last, running = minutes * 60, spent, time.time(), 1.0
    time_ids = torch.tensor([TIME_IDS] * BATCH)
    while spent < budget:
        # The cosine runs on time, not on steps: it ends when the minutes do, however busy the machine is.
        rate = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * spent / budget))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 2e-6)
        sample, timesteps, ids_1, ids_2, noise = batches.draw(rng)
        with autocast():
            states, pooled = encode_text(first, second, ids_1, ids_2)
            added = {"text_embeds": pooled, "time_ids": time_ids}
            prediction = unet(sample, timesteps, states, added_cond_kwargs=added).sample
        loss = (prediction.float() - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(0.999, (step + 1) / (step + 10)))
        running += 0.02 * (loss.item() - running)
        now = time.time()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            print(f"unet step {step} {spent:.0f} s loss {running:.4f} rate {rate:.1e}", flush=True)
        if spent - last_save > SAVE_EVERY:
            save()
            last_save = spent
    save()
