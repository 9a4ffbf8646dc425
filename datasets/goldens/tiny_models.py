"""Tiny random models in diffusers layout, one of each family, for the goldens.

Every weight is rounded to a value that float16 holds, and stored so: half the bytes, and exact when loaded in fp32.
Random networks give flat or saturated pictures; three output layers are therefore scaled on sample inputs.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from families import FAMILIES
from tiny_tokenizer import END, write_tokenizer


# The last layer of each residual branch. At full gain a random network amplifies rounding until nothing can be compared.
BRANCH_ENDS = ("conv2", "to_out.0", "ff.net.2", "mlp.fc2", "out_proj", "proj_out")
BRANCH_GAIN = 0.6


def randomise(module: torch.nn.Module, generator: torch.Generator, stream: float) -> None:
    """Weights that keep variance; biases and norms away from 0 and 1, so that leaving one out shows.

    @param stream  magnitude of the residual stream. At 0.05 (published text encoders are like that) a norm's epsilon
                   is a visible share of the variance, and a wrong one moves the picture; at 1 it hides.
    """

    def normal(parameter, mean, std):
        parameter.copy_(mean + std * torch.randn(parameter.shape, generator=generator))

    for name, child in module.named_modules():
        if isinstance(child, torch.nn.Embedding):
            normal(child.weight, 0.0, stream * (0.3 if "position" in name else 0.8))
        elif isinstance(child, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            normal(child.weight, 1.0, 0.2)
            normal(child.bias, 0.0, 0.1)
        elif isinstance(child, (torch.nn.Linear, torch.nn.Conv2d)):
            gain = BRANCH_GAIN if name.endswith(BRANCH_ENDS) else 1.0
            # proj_out keeps what proj_in made small; the other branches start behind a norm.
            gain *= stream if name.endswith((*BRANCH_ENDS, "conv_in", "proj_in")) and not name.endswith(".proj_out") else 1.0
            normal(child.weight, 0.0, gain / child.weight[0].numel() ** 0.5)
            if child.bias is not None:
                normal(child.bias, 0.0, 0.1 * stream)


def round_to_half(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        parameter.copy_(parameter.half().float())


def save_weights(module: torch.nn.Module, path: Path, rename=lambda key: key) -> None:
    tensors = {rename(key): value.half().contiguous() for key, value in module.state_dict().items()}
    save_file(tensors, path, metadata={"format": "pt"})


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_text_encoder(folder: Path, tokenizer: Path, overrides: dict, prefix: bool, stream: float,
                       generator: torch.Generator) -> None:
    overrides = dict(overrides)
    with_projection = overrides.pop("with_projection")
    vocab = write_tokenizer(tokenizer, overrides.pop("pad_token"))
    # 2 is the value that most published files hold: it means "pool at the largest id".
    eos = 2 if overrides.pop("legacy_eos") else vocab[END]
    config = {"vocab_size": len(vocab), "max_position_embeddings": 77, "bos_token_id": vocab[END] - 1,
              "eos_token_id": eos, "pad_token_id": 1, "layer_norm_eps": 1e-5, **overrides}
    kind = CLIPTextModelWithProjection if with_projection else CLIPTextModel
    model = kind(CLIPTextConfig(**config)).eval()
    randomise(model, generator, stream)
    round_to_half(model)
    write_json(folder / "config.json", {"architectures": [kind.__name__], "model_type": "clip_text_model", **config})
    bare = lambda key: key.removeprefix("text_model.")
    named = lambda key: bare(key) if key.startswith("text_projection") else "text_model." + bare(key)
    save_weights(model, folder / "model.safetensors", named if prefix else bare)


def write_vae(folder: Path, config: dict, old_names: bool, pixels: torch.Tensor, stream: float,
              generator: torch.Generator) -> None:
    vae = AutoencoderKL(**config).eval()
    randomise(vae, generator, stream)
    size = config["latent_channels"]
    moments = vae._encode(pixels)
    # Means near unit variance once scaled; a posterior narrow enough to keep the source, wide enough to be seen.
    targets = ((slice(0, size), 0.0, 1.0 / config["scaling_factor"]), (slice(size, None), 1.0, 0.5))
    for rows, mean, std in targets:
        channels = moments[:, rows]
        vae.quant_conv.weight[rows] *= std / channels.std()
        vae.quant_conv.bias[rows] = (vae.quant_conv.bias[rows] - channels.mean()) * std / channels.std() + mean
    latents = torch.randn(4, size, 8, 8, generator=generator) / config["scaling_factor"]
    scale_output(vae.decoder.conv_out, vae.decode(latents).sample, 0.45)
    round_to_half(vae)
    write_json(folder / "config.json", {"_class_name": "AutoencoderKL", **config})
    save_weights(vae, folder / "diffusion_pytorch_model.safetensors", old_attention_name if old_names else lambda key: key)


def old_attention_name(key: str) -> str:
    """What the published SD 1.x files call the attention of the middle block."""
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        key = key.replace(f".{new}.", f".{old}.")
    return key


def write_unet(folder: Path, config: dict, scored: bool, stream: float, generator: torch.Generator) -> None:
    unet = UNet2DConditionModel(**config).eval()
    randomise(unet, generator, stream)
    added = None
    if "addition_embed_type" in config:
        ids = [32.0, 32.0, 0.0, 0.0, 6.0] if scored else [32.0, 32.0, 0.0, 0.0, 32.0, 32.0]
        pooled_size = config["projection_class_embeddings_input_dim"] - len(ids) * config["addition_time_embed_dim"]
        added = {"text_embeds": torch.randn(4, pooled_size, generator=generator), "time_ids": torch.tensor([ids] * 4)}
    condition = None
    if size := config.get("time_cond_proj_dim"):
        condition = torch.randn(4, size, generator=generator)
    sample = torch.randn(4, config["in_channels"], 8, 8, generator=generator)
    states = torch.randn(4, 77, config["cross_attention_dim"], generator=generator)
    noise_pred = unet(sample, torch.tensor([900, 600, 300, 20]), states, added_cond_kwargs=added,
                      timestep_cond=condition).sample
    scale_output(unet.conv_out, noise_pred, 0.5)
    round_to_half(unet)
    write_json(folder / "config.json", {"_class_name": "UNet2DConditionModel", **config})
    save_weights(unet, folder / "diffusion_pytorch_model.safetensors")


def scale_output(layer: torch.nn.Module, output: torch.Tensor, std: float) -> None:
    layer.weight *= std / output.std()
    layer.bias *= std / output.std()


@torch.no_grad()
def write_model(folder: Path, family: str, pixels: torch.Tensor) -> None:
    """Writes one family. @param pixels [1,3,H,W] in [-1,1], what the encoder's output is scaled on."""
    parts = FAMILIES[family]
    generator = torch.Generator().manual_seed(parts["seed"])
    index = {"_class_name": parts["pipeline"], "_diffusers_version": "0.42.1"}
    for number, encoder in enumerate(parts["text_encoders"]):
        suffix = "_2" if number else ""
        if encoder is None:
            index |= {f"text_encoder{suffix}": [None, None], f"tokenizer{suffix}": [None, None]}
            continue
        write_text_encoder(folder / f"text_encoder{suffix}", folder / f"tokenizer{suffix}", encoder,
                           parts["text_model_prefix"], parts["stream"], generator)
        kind = "CLIPTextModelWithProjection" if encoder["with_projection"] else "CLIPTextModel"
        index[f"text_encoder{suffix}"] = ["transformers", kind]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    write_vae(folder / "vae", parts["vae"], parts["old_vae_names"], pixels, parts["stream"], generator)
    scored = parts.get("requires_aesthetics_score", False)
    write_unet(folder / "unet", parts["unet"], scored, parts["stream"], generator)
    write_json(folder / "scheduler" / "scheduler_config.json", parts["scheduler"])
    index |= {"vae": ["diffusers", "AutoencoderKL"], "unet": ["diffusers", "UNet2DConditionModel"],
              "scheduler": ["diffusers", parts["scheduler"]["_class_name"]]}
    if len(parts["text_encoders"]) == 1:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "image_encoder": [None, None],
                  "requires_safety_checker": False}
    elif "Img2Img" in parts["pipeline"] or parts["unet"]["in_channels"] == 4:
        index |= {"image_encoder": [None, None], "feature_extractor": [None, None], "force_zeros_for_empty_prompt": not scored}
        if scored:
            index["requires_aesthetics_score"] = True
    write_json(folder / "model_index.json", index)
