"""Writes the model folder: diffusers layout, fp16 safetensors, replaced as a whole so that no reader sees half of it."""
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from model import build_text_encoders, build_unet, build_vae
from tokenizer import self_check, vocabulary, write_tokenizer

MODEL_INDEX = {
    "_class_name": "StableDiffusionXLInstructPix2PixPipeline",
    "_diffusers_version": "0.42.1",
    "force_zeros_for_empty_prompt": False,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def load_networks(state_dir: Path):
    """VAE, both text encoders and UNet from the states; what has no state yet comes out untrained."""
    vae = AutoencoderKL.from_pretrained(state_dir / "vae") if (state_dir / "vae").exists() else build_vae()
    first, second = build_text_encoders(len(vocabulary()[0]))
    unet = build_unet()
    path = state_dir / "unet_state.pt"
    if path.exists():
        average = torch.load(path, map_location="cpu")["average"]
        for network, weights in zip((unet, first, second), average):
            network.load_state_dict(weights)
    return vae, first, second, unet


def export(state_dir: Path, model_dir: Path) -> None:
    vae, first, second, unet = load_networks(state_dir)
    new, old = model_dir.with_suffix(".new"), model_dir.with_suffix(".old")
    for leftover in new, old:
        shutil.rmtree(leftover, ignore_errors=True)
    write_json(new / "model_index.json", MODEL_INDEX)
    write_json(new / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_tokenizer(new / "tokenizer", "<|endoftext|>")
    write_tokenizer(new / "tokenizer_2", "!")
    self_check(new)
    for name, network in ("vae", vae), ("text_encoder", first), ("text_encoder_2", second), ("unet", unet):
        network.half().save_pretrained(new / name)
        config = json.loads((new / name / "config.json").read_text())
        config.pop("_name_or_path", None)  # a path of the machine it was trained on
        write_json(new / name / "config.json", config)
        for file in (new / name).iterdir():
            file.chmod(0o644)
    size = sum(f.stat().st_size for f in new.rglob("*") if f.is_file())
    assert size <= 24_000_000, f"{size} bytes are more than the 24 MB allowed"
    if model_dir.exists():
        model_dir.rename(old)
    new.rename(model_dir)
    shutil.rmtree(old, ignore_errors=True)
    print(f"exported {size / 1e6:.1f} MB to {model_dir.name}", flush=True)
