"""LoRA files for the tiny models, one in each key form that diffusers reads, and diffusers' merging of them.

Factors are random; what they add is a third of the weight that it is added to, so that a module left out shows.
"""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

STRENGTH = 0.33
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
OLD_NAMES = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out", "to_out.0": "to_out"}

# name: (model, form, rank, alpha, dtype, endings of the modules that it adapts; all where there are none).
FILES = {
    "sd15_kohya": ("sd15", "kohya", 4, 2.0, torch.float16, ()),
    "sd15_peft": ("sd15", "peft", 3, 6.0, torch.float32, (*ATTENTION, "conv1", "q_proj", "v_proj")),
    "sd15_old": ("sd15", "old", 2, None, torch.float16, (*ATTENTION, "q_proj", "k_proj", "v_proj", "out_proj")),
    "sdxl_kohya": ("sdxl", "kohya original", 4, 1.0, torch.bfloat16, ()),
    "sdxl_peft": ("sdxl", "peft", 5, None, torch.float16, (*ATTENTION, "ff.net.0.proj", "proj_in", "conv2", "q_proj", "fc1", "text_projection")),
}
# One module of a file with an alpha of its own. Of a kohya file this must be a UNet module outside attention: for all
# others diffusers 0.42.1 loses whose alpha it is, and takes the most frequent.
OWN_ALPHA = {"sd15_kohya": ("down_blocks.0.resnets.1.conv1", 5.0), "sd15_peft": ("mid_block.resnets.0.conv1", 1.5),
             "sdxl_kohya": ("up_blocks.0.upsamplers.0.conv", 3.0)}


def components(folder: Path) -> dict[str, torch.nn.Module]:
    parts = {"unet": UNet2DConditionModel.from_pretrained(folder / "unet"),
             "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder")}
    if (folder / "text_encoder_2").is_dir():
        parts["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
    return parts


def modules_of(part: torch.nn.Module, endings: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Weights of linear layers and convolutions by name, without transformers' text_model."""
    return {name.removeprefix("text_model."): child.weight.detach() for name, child in part.named_modules()
            if isinstance(child, (torch.nn.Linear, torch.nn.Conv2d)) and (not endings or name.endswith(endings))}


def original_name(name: str, layers: int) -> str:
    """A UNet module's name in the original layout, which kohya's scripts train SDXL in."""
    outside = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
               "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
               "add_embedding.linear_2": "label_emb.0.2"}
    if name in outside:
        return outside[name]
    resnet = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3",
              "conv_shortcut": "skip_connection"}
    half, *parts = name.split(".")
    block = 0 if half == "mid_block" else int(parts.pop(0))
    kind, layer, rest = parts[0], int(parts[1]), ".".join(parts[2:])
    inner = {"resnets": 0, "attentions": 1, "downsamplers": 0, "upsamplers": 2}[kind]  # its level attends to the text
    rest = {"resnets": resnet.get(rest), "downsamplers": "op"}.get(kind, rest)
    layer = layers if kind.endswith("samplers") else layer
    if half == "mid_block":
        return f"middle_block.{inner + 2 * layer}.{rest}"
    number = block * (layers + 1) + layer
    return f"input_blocks.{1 + number}.{inner}.{rest}" if half == "down_blocks" else f"output_blocks.{number}.{inner}.{rest}"


def keys_of(form: str, component: str, module: str, layers: int) -> tuple[str, str, str | None]:
    """@return the keys of down, up and alpha"""
    text = component != "unet"
    inside = "text_model." if text and module != "text_projection" else ""
    if form.startswith("kohya"):
        name = original_name(module, layers) if form.endswith("original") and not text else inside + module
        two = form.endswith("original")  # SDXL
        prefix = {"unet": "unet", "text_encoder": "te1" if two else "te", "text_encoder_2": "te2"}[component]
        key = f"lora_{prefix}_{name}".replace(".", "_")
        return key + ".lora_down.weight", key + ".lora_up.weight", key + ".alpha"
    key = f"{component}.{inside}{module}"
    if form == "old":
        ending = next((name for name in OLD_NAMES if key.endswith("." + name)), key.rsplit(".", 1)[1])
        stem = key.removesuffix("." + ending) + ("" if text else ".processor")
        key = f"{stem}.{OLD_NAMES.get(ending, ending)}_lora"
        return key + ".down.weight", key + ".up.weight", None
    return key + ".lora_A.weight", key + ".lora_B.weight", None


def make_lora(name: str, folder: Path) -> tuple[dict, dict, dict]:
    """@return tensors and metadata of a file, and what it means: (component, module) -> the float64 that weight 1 adds"""
    model, form, rank, alpha, dtype, endings = FILES[name]
    generator = torch.Generator().manual_seed(100 + list(FILES).index(name))
    tensors, added = {}, {}
    parts = components(folder)
    for component, part in parts.items():
        for module, weight in modules_of(part, endings).items():
            own = OWN_ALPHA[name][1] if OWN_ALPHA.get(name, ("",))[0] == module else alpha
            scale = 1.0 if own is None else own / rank
            fan_in = weight[0].numel()
            down = torch.randn(rank, *weight.shape[1:], generator=generator) / fan_in**0.5
            up = torch.randn(weight.shape[0], rank, *[1] * (weight.dim() - 2), generator=generator)
            up *= STRENGTH * weight.std() * fan_in**0.5 / (scale * rank**0.5)
            down, up = down.to(dtype), up.to(dtype)
            down_key, up_key, alpha_key = keys_of(form, component, module, parts["unet"].config.layers_per_block)
            tensors |= {down_key: down.contiguous(), up_key: up.contiguous()}
            if alpha_key and alpha is not None:
                tensors[alpha_key] = torch.tensor(own, dtype=dtype)
            product = up.double().flatten(1) @ down.double().flatten(1)
            added[component, module] = scale * product.reshape(weight.shape)
    metadata = {}
    if form == "peft" and alpha is not None:
        said = {"unet.alpha_pattern": dict([OWN_ALPHA[name]])}
        for component, part in parts.items():
            said |= {f"{component}.r": rank, f"{component}.lora_alpha": alpha,
                     f"{component}.target_modules": list(modules_of(part, endings))}
        metadata["lora_adapter_metadata"] = json.dumps(said, sort_keys=True)
    return tensors, metadata, added


def write_loras(model: str, models: Path, loras: Path) -> None:
    loras.mkdir(exist_ok=True)
    for name in FILES:
        if FILES[name][0] == model:
            tensors, metadata, _ = make_lora(name, models / model)
            save_file(tensors, loras / f"{name}.safetensors", metadata=metadata or None)  # two entries would come in any order


def merge_loras(pipe, wanted: list[dict], folder: Path, dtype: torch.dtype) -> None:
    """diffusers' fuse_lora in the precision of the run. Merged, because i2i merges: applied beside the weights, the same
    factors give the same numbers but for rounding.

    @param wanted  [{"file": "loras/NAME.safetensors", "weight"}]
    @raises ValueError  where diffusers made anything but W + weight * (alpha / rank) * up @ down of a weight
    """
    parts = {name: getattr(pipe, name) for name in ("unet", "text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None}
    expected = {(name, module): weight.double().clone() for name, part in parts.items() for module, weight in modules_of(part, ()).items()}
    names = []
    for lora in wanted:
        names.append(f"adapter_{len(names)}")
        pipe.load_lora_weights(folder / lora["file"], adapter_name=names[-1])
        for key, product in make_lora(Path(lora["file"]).stem, Path(pipe.config._name_or_path))[2].items():
            expected[key] += lora["weight"] * product
    for part in parts.values():
        part.to(dtype)  # the adapters too, which stay in their file's precision otherwise
    pipe.set_adapters(names, [lora["weight"] for lora in wanted])
    pipe.fuse_lora(components=list(parts), adapter_names=names)
    pipe.unload_lora_weights()
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    for name, part in parts.items():
        for module, weight in modules_of(part, ()).items():
            wrong = (weight.double() - expected[name, module]).abs().max()
            if wrong > bound * expected[name, module].abs().max():
                raise ValueError(f"diffusers' {name} {module} is {wrong:.1e} from the formula")
