"""Which key of a single file in an original layout holds which tensor of a model in diffusers layout.

Writes single_files.json. `families`: for each tiny model of models/ and each component the keys of its single file, with
the tensor that each is, or those that it is made of and how ("rows": one above the other, "transposed", "convolution": [out, in, 1,
1]); and as `strays` the keys without meaning that such files carry, with a shape. `published`: for real sizes, configs
and a fingerprint of the sorted "key shape" lines. The names are written here from diffusers' to the original ones; every result is given to
diffusers' own converters and, whole, to from_single_file, which must give back exactly what it was made of.
"""
import json
import re
import tempfile
from pathlib import Path

import torch
from diffusers import (StableDiffusionImg2ImgPipeline, StableDiffusionInstructPix2PixPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInstructPix2PixPipeline)
from diffusers.loaders import single_file_utils as diffusers_own
from safetensors.torch import load_file, save_file

from families import FAMILIES
from make_layout_goldens import OPEN_CLIP_GIANT, PUBLISHED, VAE, fingerprint, instantiate

HERE = Path(__file__).parent
REFINER_UNET = dict(
    block_out_channels=[384, 768, 1536, 1536], attention_head_dim=[6, 12, 24, 24],
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    transformer_layers_per_block=4, cross_attention_dim=1280, sample_size=128, use_linear_projection=True,
    addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2560)

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
UNET = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "time_embedding.cond_proj": "time_embed.cond_proj", "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0", "conv_out": "out.2",
        "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2"}
VAE_PARTS = {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
             "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k",
             "to_v": "v", "to_out.0": "proj_out", "downsamplers.0": "downsample", "upsamplers.0": "upsample"}
OPEN_CLIP = {"encoder.layers": "transformer.resblocks", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
             "mlp.fc2": "mlp.c_proj", "self_attn": "attn", "final_layer_norm": "ln_final",
             "embeddings.token_embedding": "token_embedding"}


def replaced(name: str, names: dict[str, str]) -> str:
    """Whole parts of a dotted name only."""
    for old, new in names.items():
        name = re.sub(rf"(^|\.){re.escape(old)}(\.|$)", rf"\g<1>{new}\g<2>", name)
    return name


def unet_names(names: list[str]) -> dict[str, str]:
    """Numbers the entries of each half by walking through the blocks in order, as the original constructor does."""
    modules: dict[str, str] = {}
    levels = 1 + max(int(name.split(".")[1]) for name in names if name.startswith("down_blocks."))
    for half, blocks, other in (("input_blocks", "down_blocks", "downsamplers"), ("output_blocks", "up_blocks", "upsamplers")):
        entry = 1 if half == "input_blocks" else 0
        for block in range(levels):
            layer = 0
            while any(name.startswith(f"{blocks}.{block}.resnets.{layer}.") for name in names):
                modules[f"{blocks}.{block}.resnets.{layer}"] = f"{half}.{entry}.0"
                modules[f"{blocks}.{block}.attentions.{layer}"] = f"{half}.{entry}.1"
                attends = any(name.startswith(f"{blocks}.{block}.attentions.{layer}.") for name in names)
                layer, entry = layer + 1, entry + 1
            if block + 1 == levels:
                continue
            if other == "downsamplers":
                modules[f"{blocks}.{block}.downsamplers.0.conv"] = f"{half}.{entry}.0.op"
                entry += 1
            else:
                modules[f"{blocks}.{block}.upsamplers.0.conv"] = f"{half}.{entry - 1}.{2 if attends else 1}.conv"
    result = {}
    for name in names:
        block = ".".join(name.split(".")[:4]) if name.split(".")[0] in ("down_blocks", "up_blocks") else ""
        module = next((m for m in (block + ".conv", block) if m in modules and name.startswith(m + ".")), None)
        key = modules[module] + name.removeprefix(module) if module else replaced(name, UNET)
        result[name] = key if ".transformer_blocks." in name else replaced(key, RESNET)
    return result


def vae_name(name: str, levels: int) -> str:
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
    return replaced(name.replace(".resnets.", ".block.") if ".up." in name else name, VAE_PARTS)


def open_clip_rows(shapes: dict[str, torch.Size], prefix: str) -> list[tuple[str, str, list[str]]]:
    rows = []
    for name in shapes:
        if match := re.fullmatch(r"(encoder\.layers\.\d+\.self_attn)\.([qkv])_proj\.(weight|bias)", name):
            if match[2] == "q":
                parts = [f"{match[1]}.{letter}_proj.{match[3]}" for letter in "qkv"]
                rows.append((f"{prefix}{replaced(match[1], OPEN_CLIP)}.in_proj_{match[3]}", "rows", parts))
        elif name == "text_projection.weight":
            rows.append((prefix + "text_projection", "transposed", [name]))
        elif name == "embeddings.position_embedding.weight":
            rows.append((prefix + "positional_embedding", "as is", [name]))
        else:
            rows.append((prefix + replaced(name, OPEN_CLIP), "as is", [name]))
    return rows


def rows_of(component: str, shapes: dict[str, torch.Size], prefix: str) -> list[tuple[str, str, list[str]]]:
    """(original key, how, today's names), the names without "text_model."."""
    if component == "unet":
        return [("model.diffusion_model." + key, "as is", [name]) for name, key in unet_names(list(shapes)).items()]
    if component == "vae":
        levels = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("encoder.down_blocks."))
        flat = lambda name, shape: ".attentions." in name and len(shape) == 2
        return [("first_stage_model." + vae_name(name, levels), "convolution" if flat(name, shape) else "as is", [name])
                for name, shape in shapes.items()]
    if ".model." in prefix:
        return open_clip_rows(shapes, prefix)
    return [(prefix + "text_model." + name, "as is", [name]) for name in shapes]


def text_prefixes(encoders: list, sdxl: bool) -> dict[str, str]:
    if not sdxl:
        own = "transformer." if encoders[0]["hidden_act"] == "quick_gelu" else "model."
        return {"text_encoder": "cond_stage_model." + own}
    if encoders[0] is None:
        return {"text_encoder_2": "conditioner.embedders.0.model."}
    return {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."}


def made(how: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    if how == "rows":
        return torch.cat(tensors)
    tensor, = tensors
    if how == "transposed":
        return tensor.T.contiguous()
    return tensor[:, :, None, None] if how == "convolution" else tensor


def strays(prefixes: dict[str, str], layers: int, width: int, sdxl: bool) -> dict[str, list[int]]:
    """What published files of the family carry beside the weights."""
    found = {}
    for prefix in prefixes.values():
        if prefix.endswith("transformer."):
            found[prefix + "text_model.embeddings.position_ids"] = [1, 77]
        else:
            found[prefix + "logit_scale"] = []
    if sdxl:
        return found | {"denoiser.sigmas": [1000]}
    found |= {"model_ema.decay": [], "model_ema.num_updates": [], "model_ema.diffusion_modeltime_embed0bias": [48]}
    for name in ("alphas_cumprod", "alphas_cumprod_prev", "betas", "log_one_minus_alphas_cumprod", "sqrt_alphas_cumprod",
                 "sqrt_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
                 "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"):
        found[name] = [1000]
    if (prefix := prefixes["text_encoder"]).endswith(".model."):
        # OpenCLIP's last layer, whose output SD 2 does not use, and its projection.
        last = f"{prefix}transformer.resblocks.{layers}."
        for name, shape in {"ln_1": [width], "ln_2": [width], "attn.out_proj": [width, width], "mlp.c_fc": [4 * width, width],
                            "mlp.c_proj": [width, 4 * width]}.items():
            found |= {f"{last}{name}.weight": shape, f"{last}{name}.bias": shape[:1]}
        found |= {f"{last}attn.in_proj_weight": [3 * width, width], f"{last}attn.in_proj_bias": [3 * width],
                  prefix + "text_projection": [width, width], prefix + "attn_mask": [77, 77]}
    return found


def folder_tensors(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    result = {}
    for file in sorted(folder.glob("*/*.safetensors")):
        today = (("text_model.", ""), (".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))
        component = result.setdefault(file.parent.name, {})
        for key, tensor in load_file(file).items():
            for old, new in today:
                key = key.replace(old, new)
            component[key] = tensor
    return result


def same(ours: dict, theirs: dict, what: str) -> None:
    theirs = {key.removeprefix("text_model."): value for key, value in theirs.items() if "position_ids" not in key}
    if set(ours) != set(theirs):
        raise ValueError(f"{what}: {sorted(set(ours) ^ set(theirs))[:9]}")
    for key, tensor in ours.items():
        equal = tensor.shape == theirs[key].shape and (tensor.is_meta or torch.equal(tensor.float(), theirs[key].float()))
        if not equal:
            raise ValueError(f"{what}: {key} differs")


def check_converters(original: dict, components: dict, prefixes: dict[str, str], unet: dict, vae: dict, what: str) -> None:
    """diffusers' converters, each on the whole file, must give what the file was made of."""
    unet_made = diffusers_own.convert_ldm_unet_checkpoint(dict(original), unet)
    if unet.get("time_cond_proj_dim"):  # an original name that diffusers does not know
        unet_made["time_embedding.cond_proj.weight"] = original["model.diffusion_model.time_embed.cond_proj.weight"]
    same(components["unet"], unet_made, f"{what} unet")
    same(components["vae"], diffusers_own.convert_ldm_vae_checkpoint(dict(original), vae), f"{what} vae")
    for component, prefix in prefixes.items():
        if prefix.endswith(".model."):
            width = components[component]["embeddings.token_embedding.weight"].shape[1]
            holder = type("Holder", (), {"config": type("Config", (), {"hidden_size": width})})
            text = diffusers_own.convert_open_clip_checkpoint(holder, dict(original), prefix=prefix)
        else:
            text = diffusers_own.convert_ldm_clip_checkpoint(dict(original))
        same(components[component], text, f"{what} {component}")


def check_from_single_file(folder: Path, pipeline: str, original: dict, components: dict) -> None:
    kinds = {kind.__name__: kind for kind in (StableDiffusionImg2ImgPipeline, StableDiffusionInstructPix2PixPipeline,
                                              StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInstructPix2PixPipeline)}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "model.safetensors"
        save_file(original, file)
        loaded = kinds[pipeline].from_single_file(str(file), config=str(folder), local_files_only=True)
    width = lambda component: components[component]["embeddings.token_embedding.weight"].shape[1]
    for component, tensors in components.items():
        # diffusers tells SDXL's encoders apart by their widths, which published ones differ in; ours are equally wide.
        if component == "text_encoder_2" and "text_encoder" in components and width(component) == width("text_encoder"):
            continue
        same(tensors, dict(getattr(loaded, component).state_dict()), f"{folder.name} {component} of from_single_file")


def family_rows(name: str) -> dict[str, dict]:
    folder, parts = HERE / "models" / name, FAMILIES[name]
    components = folder_tensors(folder)
    sdxl = "addition_embed_type" in parts["unet"]
    prefixes = text_prefixes(parts["text_encoders"], sdxl)
    rows, original = {}, {}
    for component, tensors in components.items():
        for key, how, names in rows_of(component, {n: t.shape for n, t in tensors.items()}, prefixes.get(component, "")):
            original[key] = made(how, [tensors[part] for part in names])
            rows.setdefault(component, {})[key] = names[0] if how == "as is" else {"how": how, "of": names}
    check_converters(original, components, prefixes, parts["unet"], parts["vae"], name)
    if "time_cond_proj_dim" not in parts["unet"]:
        check_from_single_file(folder, parts["pipeline"], original, components)
    last = parts["text_encoders"][-1]
    return rows | {"strays": strays(prefixes, last["num_hidden_layers"], last["hidden_size"], sdxl)}


def published_row(name: str, encoders: list, unet: dict, vae: dict) -> dict:
    configs = {"unet": unet, "vae": vae}
    configs |= {f"text_encoder{'_2' if i else ''}": config for i, config in enumerate(encoders) if config}
    components = {}
    for component, config in configs.items():
        kind = component.removesuffix("_2")
        tensors = instantiate(kind, config).state_dict()
        components[component] = {key.removeprefix("text_model."): value for key, value in tensors.items() if "position_ids" not in key}
    acts = [config and {"hidden_act": config.get("hidden_act", "quick_gelu")} for config in encoders]
    prefixes = text_prefixes(acts, "addition_embed_type" in unet)
    original = {}
    for component, tensors in components.items():
        for key, how, names in rows_of(component, {n: t.shape for n, t in tensors.items()}, prefixes.get(component, "")):
            original[key] = made(how, [tensors[part] for part in names])
    check_converters(original, components, prefixes, {"layers_per_block": 2, **unet}, vae, name)
    lines = sorted(f"{key} {json.dumps(list(value.shape), separators=(',', ':'))}" for key, value in original.items())
    return {"name": name, "configs": configs, "tensors": len(lines), "fingerprint": fingerprint("".join(line + "\n" for line in lines))}


def main() -> None:
    published = [published_row(name, *parts) for name, parts in PUBLISHED.items()]
    published.append(published_row("sdxl-refiner", [None, OPEN_CLIP_GIANT], REFINER_UNET, VAE))
    families = {name: family_rows(name) for name in FAMILIES}
    path = HERE / "single_files.json"
    compact = json.dumps({"families": families, "published": published}, separators=(",", ":"))
    path.write_text(compact.replace('{"', '\n{"').lstrip() + "\n")  # a component a line
    print(f"{path.name}: {sum(len(c) for rows in families.values() for c in rows.values())} keys, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
