"""Makes everything in this folder: the source picture, tiny models, and what diffusers 0.42.1 gives for them.

    python datasets/goldens/make_goldens.py [--only sd15,schedules] [--keep-models]

Each family becomes FAMILY.json (requests; for each stage its tensor and how far diffusers' float32 is from its own
float64) and FAMILY.safetensors. Equal tensors are stored once.
"""

import argparse
import hashlib
import json
import shutil
import warnings
from pathlib import Path

import diffusers
import numpy
import torch
import transformers
from PIL import Image, ImageDraw
from safetensors.torch import save_file

import cases
import samplers
import schedules
import steps
from families import FAMILIES, MODEL_OF
from loras import write_loras
from rounding import one_rounding
from run import run_case
from tiny_models import write_model

HERE = Path(__file__).parent


def draw_source(path: Path) -> Image.Image:
    """A sun, a hill and a house with a little texture; 53 x 46, so that every model floors it."""
    width, height = 53, 46
    y, x = numpy.mgrid[0:height, 0:width]
    sky = numpy.stack([120 + 2 * y, 150 + y, 235 - 2 * y + 0 * x], axis=-1)
    sky = sky + 6 * ((x * 7 + y * 13) % 5 - 2)[..., None]
    picture = Image.fromarray(sky.clip(0, 255).astype(numpy.uint8), "RGB")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((36, 4, 47, 15), fill=(250, 220, 90))
    pen.polygon(((0, 45), (0, 32), (18, 24), (52, 36), (52, 45)), fill=(70, 140, 60))
    pen.rectangle((11, 20, 27, 37), fill=(190, 90, 70))
    pen.polygon(((8, 20), (19, 10), (30, 20)), fill=(110, 50, 50))
    pen.rectangle((15, 26, 19, 31), fill=(235, 235, 200))
    picture.save(path)
    return picture


# Stored for some steps only: later latents_in are the latents_out before them, and unet_in is made of them.
THINNED = ("loop.latents_in", "loop.unet_in")


class TensorStore:
    """Tensors by content, so that the text of six schedulers is stored once."""

    def __init__(self):
        self.tensors: dict[str, torch.Tensor] = {}
        self.by_content: dict[tuple, str] = {}

    def put(self, name: str, value: torch.Tensor) -> str:
        value = value.contiguous()
        content = (tuple(value.shape), value.dtype, hashlib.sha256(value.numpy().tobytes()).digest())
        if content not in self.by_content:
            self.by_content[content] = name
            self.tensors[name] = value
        return self.by_content[content]


def record_case(store: TensorStore, name: str, single: dict, double: dict) -> dict:
    stages = {}
    for stage, value in sorted(single.items()):
        exact = double[stage]
        if value.shape != exact.shape:
            raise ValueError(f"{name} {stage}: {tuple(value.shape)} in float32, {tuple(exact.shape)} in float64")
        if not torch.isfinite(value.double()).all():
            raise ValueError(f"{name} {stage}: not finite")
        stored = value if value.dtype == torch.int64 else value.float()
        entry = {"largest": float(value.double().abs().max()),
                 "float64_distance": float((value.double() - exact.double()).abs().max())}
        if stage in THINNED:
            entry["steps"] = sorted({0, len(value) - 1} if stage == "loop.unet_in" else {0})
            stored = stored[entry["steps"]]
        stages[stage] = {"tensor": store.put(f"{name}/{stage}", stored), **entry}
    return stages


def make_family(family: str, source: Image.Image, keep_models: bool) -> None:
    folder = HERE / "models" / MODEL_OF.get(family, family)
    if family in MODEL_OF:
        write_loras(folder.name, HERE / "models", HERE / "loras")
    elif not keep_models:
        shutil.rmtree(folder, ignore_errors=True)
        pixels = torch.from_numpy(numpy.asarray(source)).float().permute(2, 0, 1)[None, :, :40, :48] / 127.5 - 1
        write_model(folder, family, pixels)
    store, entries = TensorStore(), []
    for name, scheduler, request, options, loras in cases.requests(family):
        single = run_case(folder, family, scheduler, request, options, loras, source, torch.float32)
        double = run_case(folder, family, scheduler, request, options, loras, source, torch.float64)
        stages = record_case(store, name, single, double)
        entry = {"name": name, "scheduler": scheduler, "request": request, "options": options, "stages": stages}
        entries.append(entry | ({"loras": loras} if loras else {}))
        images = single["images"]
        print(f"{family} {name}: images mean {images.mean():.3f} std {images.std():.3f} "
              f"clipped {((images == 0) | (images == 1)).float().mean():.3f} "
              f"float64 distance {stages['images']['float64_distance']:.1e}, latents "
              f"{stages['loop.latents_out']['float64_distance'] / max(1, stages['loop.latents_out']['largest']):.1e}")
    versions = {"diffusers": diffusers.__version__, "transformers": transformers.__version__,
                "torch": torch.__version__.split("+")[0], "pillow": Image.__version__}
    document = {"model": f"models/{folder.name}", "versions": versions, "cases": entries}
    (HERE / f"{family}.json").write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(store.tensors, HERE / f"{family}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"schedules": schedules.configurations, "samplers": samplers.configurations}
    parser.add_argument("--only", default=",".join([*FAMILIES, *MODEL_OF, *tables, "steps"]),
                        help=f"families and/or {', '.join(tables)}, steps")
    parser.add_argument("--keep-models", action="store_true", help="run the models that are there already")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.filterwarnings("ignore")
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    source = draw_source(HERE / "source.png")
    for item in arguments.only.split(","):
        with one_rounding():
            if item in tables:
                schedules.make(HERE, item, tables[item]())
            elif item == "steps":
                steps.make(HERE)
            else:
                make_family(item, source, arguments.keep_models)


if __name__ == "__main__":
    main()
