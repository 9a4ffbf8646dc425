"""Names and shapes of checkpoint tensors, taken from diffusers' and transformers' own classes on the meta device.

Writes layouts.json: per model a config, the number of its tensors and parameters, and a fingerprint (64-bit FNV-1a) of
its sorted "name shape" lines; small ones carry the lines too, so that a difference can be read. Seeded: the same every time.
"""
import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

CLIP_LARGE = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768, eos_token_id=2)
OPEN_CLIP_HUGE = dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23,
                      hidden_act="gelu", eos_token_id=2)
OPEN_CLIP_GIANT = dict(architectures=["CLIPTextModelWithProjection"], hidden_size=1280, intermediate_size=5120,
                       num_attention_heads=20, num_hidden_layers=32, projection_dim=1280, hidden_act="gelu",
                       eos_token_id=2)
VAE = dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2,
           down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
SD15_UNET = dict(cross_attention_dim=768, sample_size=64)
SD21_UNET = dict(attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, sample_size=96,
                 use_linear_projection=True)
SDXL_UNET = dict(block_out_channels=[320, 640, 1280], attention_head_dim=[5, 10, 20],
                 down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                 up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                 transformer_layers_per_block=[1, 2, 10], cross_attention_dim=2048, sample_size=128,
                 use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
                 projection_class_embeddings_input_dim=2816)
PUBLISHED = {
    "synthetic:sd15": ([CLIP_LARGE], SD15_UNET, VAE),
    "synthetic:sd21": ([OPEN_CLIP_HUGE], SD21_UNET, VAE),
    "synthetic:sdxl": ([CLIP_LARGE, OPEN_CLIP_GIANT], SDXL_UNET, VAE),
    "synthetic:sd15-ip2p": ([CLIP_LARGE], dict(SD15_UNET, in_channels=8), VAE),
    "synthetic:sdxl-ip2p": ([CLIP_LARGE, OPEN_CLIP_GIANT], dict(SDXL_UNET, in_channels=8), VAE),
}


def random_text_encoder(rng: random.Random) -> dict:
    heads = rng.choice([1, 2, 4])
    config = dict(vocab_size=rng.randint(10, 99), hidden_size=heads * rng.choice([4, 8]),
                  intermediate_size=rng.randint(5, 40), num_hidden_layers=rng.randint(1, 3),
                  num_attention_heads=heads, max_position_embeddings=rng.randint(3, 20),
                  projection_dim=rng.randint(3, 12))
    if rng.random() < 0.5:
        config["architectures"] = ["CLIPTextModelWithProjection"]
    return config


def random_unet(rng: random.Random) -> dict:
    blocks = rng.randint(1, 4)
    heads = rng.choice([1, 2])
    attends = [rng.random() < 0.6 for _ in range(blocks)]
    config = dict(
        block_out_channels=[4 * rng.randint(1, 4) for _ in range(blocks)], norm_num_groups=4,
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        cross_attention_dim=rng.randint(3, 9), attention_head_dim=heads, in_channels=rng.choice([4, 8]))
    if rng.random() < 0.7:
        config["layers_per_block"] = [rng.randint(1, 3) for _ in range(blocks)] if rng.random() < 0.5 else 1
    if rng.random() < 0.5:
        config["transformer_layers_per_block"] = [rng.randint(1, 2) for _ in range(blocks)]
    if rng.random() < 0.5:
        config["attention_head_dim"] = [rng.choice([1, 2, 4]) for _ in range(blocks)]
    if rng.random() < 0.5:
        config["use_linear_projection"] = True
    if rng.random() < 0.5:
        config.update(addition_embed_type="text_time", addition_time_embed_dim=rng.randint(2, 6),
                      projection_class_embeddings_input_dim=rng.randint(5, 30))
    return config


def random_vae(rng: random.Random) -> dict:
    blocks = rng.randint(1, 4)
    config = dict(block_out_channels=[4 * rng.randint(1, 4) for _ in range(blocks)], norm_num_groups=4,
                  down_block_types=["DownEncoderBlock2D"] * blocks, up_block_types=["UpDecoderBlock2D"] * blocks)
    if rng.random() < 0.5:
        config["layers_per_block"] = rng.randint(1, 3)
    for key in ("use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"):
        if rng.random() < 0.25:
            config[key] = False
    return config


def instantiate(kind: str, config: dict) -> torch.nn.Module:
    with torch.device("meta"):
        if kind == "unet":
            return UNet2DConditionModel(**config)
        if kind == "vae":
            return AutoencoderKL(**config)
        config = dict(config)
        projected = config.pop("architectures", [""])[0] == "CLIPTextModelWithProjection"
        return (CLIPTextModelWithProjection if projected else CLIPTextModel)(CLIPTextConfig(**config))


def fingerprint(text: str) -> str:
    value = 14695981039346656037
    for byte in text.encode():
        value = (value ^ byte) * 1099511628211 % 2**64
    return f"{value:016x}"


def entry(name: str, kind: str, config: dict, with_lines: bool) -> dict:
    tensors = {key.removeprefix("text_model."): list(value.shape)
               for key, value in instantiate(kind, config).state_dict().items() if "position_ids" not in key}
    lines = sorted(f"{key} {json.dumps(shape, separators=(',', ':'))}" for key, shape in tensors.items())
    parameters = sum(torch.Size(shape).numel() for shape in tensors.values())
    row = dict(name=name, kind=kind, config=config, tensors=len(lines), parameters=parameters,
               fingerprint=fingerprint("".join(line + "\n" for line in lines)))
    return dict(row, lines=lines) if with_lines else row


def main() -> None:
    rows = [entry("defaults", kind, {}, False) for kind in ("text_encoder", "unet", "vae")]
    for name, (text_encoders, unet, vae) in PUBLISHED.items():
        rows += [entry(name, "text_encoder", config, False) for config in text_encoders]
        rows += [entry(name, "unet", unet, False), entry(name, "vae", vae, False)]
    rng = random.Random(2022)
    for i in range(40):
        for kind, make in (("text_encoder", random_text_encoder), ("unet", random_unet), ("vae", random_vae)):
            rows.append(entry(f"random {i}", kind, make(rng), i < 2))
    path = Path(__file__).with_name("layouts.json")
    path.write_text("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
    print(f"{path.name}: {len(rows)} layouts, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
