"""Runs one request through diffusers, in float32 or float64, and returns the traced stages."""

from pathlib import Path

import diffusers
import torch
from PIL import Image

from cases import SCHEDULERS
from families import FAMILIES, MODEL_OF
from loras import merge_loras
from tracing import Trace


def load_pipeline(folder: Path, family: str, scheduler: str, dtype: torch.dtype):
    kind = getattr(diffusers, FAMILIES[MODEL_OF.get(family, family)]["pipeline"])
    extra = {"add_watermarker": False} if "XL" in kind.__name__ else {"safety_checker": None}
    pipe = kind.from_pretrained(folder, torch_dtype=dtype, **extra)
    class_name, changes = SCHEDULERS[scheduler]
    if class_name:
        pipe.scheduler = getattr(diffusers, class_name).from_config(pipe.scheduler.config, **changes)
    # force_upcast would bring the float64 run back to float32; in float32 it does nothing.
    pipe.vae.register_to_config(force_upcast=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def effective_size(request: dict, source: Image.Image, factor: int) -> tuple[int, int]:
    width, height = request["width"] or source.width, request["height"] or source.height
    return width // factor * factor, height // factor * factor


@torch.no_grad()
def run_case(folder: Path, family: str, scheduler: str, request: dict, options: dict, loras: list, source: Image.Image,
             dtype: torch.dtype):
    """@return name -> tensor, as semantics names them; float64 where the run was."""
    pipe = load_pipeline(folder, family, scheduler, dtype)
    if loras:
        merge_loras(pipe, loras, folder.parents[1], dtype)
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    size = effective_size(request, source, factor)
    batch = request["batch_size"]
    generators = [torch.Generator().manual_seed(request["seed"] + k) for k in range(batch)]
    arguments = {"prompt": request["prompt"], "negative_prompt": request["negative_prompt"],
                 "image": source.resize(size, Image.Resampling.LANCZOS), "num_inference_steps": request["steps"],
                 "guidance_scale": request["guidance_scale"], "num_images_per_prompt": batch, "generator": generators,
                 "output_type": "np", **options}
    if family.startswith("sdxl"):
        arguments["prompt_2"] = request["prompt_2"]
    edits = pipe.unet.config.in_channels == 8
    if edits:
        arguments["image_guidance_scale"] = request["image_guidance_scale"]
        if family.startswith("sdxl"):
            arguments |= {"width": size[0], "height": size[1]}
    else:
        arguments["strength"] = request["strength"]
    trace = Trace(pipe, batch, dtype == torch.float64)
    with trace.attached():
        if edits and request["strength"] < 1:
            pipe.scheduler, arguments["latents"] = union_start(pipe, request, arguments["image"], generators, trace)
        images = pipe(**arguments).images
    return {**trace.stages(), "images": torch.from_numpy(images)}


class FromTheMiddle:
    """A scheduler whose timesteps begin where `strength` says; everything else is the scheduler's own."""

    init_noise_sigma = 1.0  # the latents given to the pipeline are noised already

    def __init__(self, inner, t_start: int):
        self.inner, self.t_start = inner, t_start

    def __getattr__(self, name):
        return getattr(self.inner, name)

    @property
    def timesteps(self):
        return self.inner.timesteps[self.t_start :]

    def set_timesteps(self, *args, **kwargs):
        self.inner.set_timesteps(*args, **kwargs)
        if hasattr(self.inner, "set_begin_index"):
            self.inner.set_begin_index(self.t_start)


def union_start(pipe, request, image, generators, trace):
    """Image-to-image's start (posterior sample, noise at the first kept timestep) for an 8-channel pipeline."""
    steps = request["steps"]
    t_start = (steps - max(1, min(int(steps * request["strength"]), steps))) * pipe.scheduler.order
    scheduler = FromTheMiddle(pipe.scheduler, t_start)
    scheduler.set_timesteps(steps)
    pixels = pipe.image_processor.preprocess(image).to(pipe.vae.dtype)
    posterior = pipe.vae.encode(pixels).latent_dist
    rows = [posterior.mean + posterior.std * trace.draw(posterior.mean.shape, posterior=True, generator=g, dtype=pixels.dtype)
            for g in generators]
    latents = pipe.vae.config.scaling_factor * torch.cat(rows)
    noise = trace.draw(latents.shape, posterior=False, generator=generators, dtype=latents.dtype)
    return scheduler, pipe.scheduler.add_noise(latents, noise, scheduler.timesteps[:1].repeat(len(generators)))
