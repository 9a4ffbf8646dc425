"""Fifty steps of every scheduler of interface/schedulers.json in float64: steps.json and steps.safetensors, the truth
that tests/scheduler_test.cpp holds single steps against. The model is schedules.answer."""

import json
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

from schedules import SD_BETAS, constructor_arguments, trajectory
from tracing import RecordedPath

STEPS = 50
SEED = 4242
SCHEDULERS = Path(__file__).resolve().parents[2] / "interface" / "schedulers.json"


def configurations():
    """(row's name, diffusers' class, configuration): the class's own defaults with Stable Diffusion's betas."""
    for row in json.loads(SCHEDULERS.read_text()):
        betas = SD_BETAS if "beta_start" in row["defaults"] else {}
        seed = {"noise_sampler_seed": 5} if "noise_sampler_seed" in row["defaults"] else {}
        for prediction in ("epsilon", "v_prediction"):
            yield row["name"], row["class"], betas | seed | {"prediction_type": prediction}
        if "use_karras_sigmas" in row["defaults"]:
            yield row["name"], row["class"], betas | seed | {"use_karras_sigmas": True}


def make(folder: Path) -> None:
    tensors, runs = {}, []
    for number, (scheduler, name, config) in enumerate(configurations()):
        fresh = getattr(diffusers, name)(**constructor_arguments(config))
        path = RecordedPath()
        single = trajectory(fresh, config, STEPS, 1.0, SEED + number, double=False, path=path)
        path.rewind(path.increments)
        exact = trajectory(fresh, config, STEPS, 1.0, SEED + number, double=True, path=path)
        if exact.dtype != torch.float64 or not torch.isfinite(exact).all() or not torch.isfinite(single).all():
            raise SystemExit(f"{name} {config}: no finite float64 trajectory")
        label = f"{number:02}"
        tensors[label] = exact
        runs.append({"scheduler": scheduler, "config": {"_class_name": name, **config}, "steps": STEPS, "strength": 1.0,
                     "seed": SEED + number, "tensor": label})
    (folder / "steps.json").write_text(json.dumps({"diffusers": diffusers.__version__, "runs": runs}) + "\n")
    save_file(tensors, folder / "steps.safetensors")
    print(f"{len(runs)} runs of {STEPS} steps")
