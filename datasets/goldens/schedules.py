"""Schedules and step trajectories of diffusers' schedulers: schedules.json and schedules.safetensors.

Trajectories need no model: what a model would answer is `answer` below, smooth in sample and timestep, and written
again in tests/scheduler_test.cpp. Tables are diffusers' float32 ones; all arithmetic on them is float64.
"""

import inspect
import itertools
import json
import sys
from pathlib import Path

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

from tracing import DoubleTorch, replaced

STEPS = (1, 2, 3, 4, 5, 7, 10, 13, 20, 25, 30, 33, 41, 50)
RUNS = ((5, 1.0), (10, 0.75), (20, 0.5), (20, 0.29), (50, 0.9), (7, 0.1))
SHAPE = (1, 4, 1, 2)
SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def configurations():
    """Every scheduler with what changes its schedule or its formula; beside Stable Diffusion's betas the class's own."""
    spacings = ("leading", "linspace", "trailing")
    for spacing, prediction in itertools.product(spacings, ("epsilon", "v_prediction", "sample")):
        offset = {"timestep_spacing": spacing, "prediction_type": prediction, "steps_offset": 1}
        yield "DDIMScheduler", SD_BETAS | offset | {"clip_sample": False, "set_alpha_to_one": False}
        yield "EulerDiscreteScheduler", SD_BETAS | offset
        if prediction != "sample":
            yield "PNDMScheduler", SD_BETAS | offset | {"skip_prk_steps": True}
            yield "EulerAncestralDiscreteScheduler", SD_BETAS | offset
        yield "DPMSolverMultistepScheduler", SD_BETAS | offset
    zero_snr = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"):
        yield name, SD_BETAS | zero_snr
        yield name, {}
    for spacing in spacings:
        karras = SD_BETAS | {"timestep_spacing": spacing, "use_karras_sigmas": True}
        yield "EulerDiscreteScheduler", karras
        yield "DPMSolverMultistepScheduler", karras
        yield "DPMSolverMultistepScheduler", karras | {"prediction_type": "v_prediction"}
    yield "PNDMScheduler", SD_BETAS | {"skip_prk_steps": True, "set_alpha_to_one": True, "steps_offset": 0}
    yield "PNDMScheduler", {}  # with its Runge-Kutta steps
    for extra in ({"algorithm_type": "sde-dpmsolver++"}, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
                  {"euler_at_final": True}, {"lower_order_final": False}, {"solver_order": 1},
                  {"solver_type": "heun"}, {"final_sigmas_type": "sigma_min"},
                  {"solver_order": 3}, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"},
                  {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}):
        yield "DPMSolverMultistepScheduler", SD_BETAS | extra
    yield "EulerDiscreteScheduler", SD_BETAS | {"final_sigmas_type": "sigma_min"}
    yield "EulerDiscreteScheduler", SD_BETAS | {"use_karras_sigmas": True, "sigma_min": 0.03, "sigma_max": 10.0}


def answer(sample: torch.Tensor, timestep: float) -> torch.Tensor:
    """In place of a model. Its slope is below one half, so that a trajectory does not amplify its own rounding."""
    phase = torch.arange(sample.numel(), dtype=torch.float64).reshape(sample.shape)
    return 0.5 * torch.sin(0.7 * sample + 0.004 * timestep + 0.9 * phase) + 0.3 * torch.cos(0.2 * sample - 0.5 * phase)


def trajectory(name: str, config: dict, steps: int, strength: float, seed: int, double: bool) -> torch.Tensor:
    """[L,1,4,1,2]: the sample after each step. Draws in order: x0, start noise, then the steps'."""
    dtype = torch.float64 if double else torch.float32
    scheduler = getattr(diffusers, name)(**config)
    home = sys.modules[type(scheduler).__module__]
    generator = torch.Generator().manual_seed(seed)
    original, noise = (randn_tensor(SHAPE, generator=generator).to(dtype) for _ in range(2))
    scheduler.set_timesteps(steps)
    t_start = steps - max(1, min(int(steps * strength), steps))
    timesteps = scheduler.timesteps[t_start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(t_start)
    if double:
        for table in ("alphas_cumprod", "final_alpha_cumprod", "sigmas"):
            if hasattr(scheduler, table):
                setattr(scheduler, table, getattr(scheduler, table).double())
    if t_start == 0:
        sample = noise * scheduler.init_noise_sigma
    else:
        sample = scheduler.add_noise(original, noise, timesteps[:1])
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    drawn = lambda shape, dtype=None, **kwargs: randn_tensor(shape, dtype=torch.float32, **kwargs).to(dtype)
    out = []
    for timestep in timesteps:
        noise_pred = answer(scheduler.scale_model_input(sample, timestep).double(), float(timestep)).to(dtype)
        with replaced(home, "randn_tensor", drawn), replaced(home, "torch", DoubleTorch() if double else torch):
            sample = scheduler.step(noise_pred, timestep, sample, **extra).prev_sample
        out.append(sample)
    return torch.stack(out)


def make(folder: Path) -> None:
    tensors, schedules, trajectories = {}, [], []
    largest = 0.0
    for number, (name, config) in enumerate(configurations()):
        label, timesteps, sigmas, counts = f"{number:02}", [], [], []
        for steps in STEPS:
            if "PNDM" in name and not config.get("skip_prk_steps") and steps < 4:
                continue  # diffusers fails there
            scheduler = getattr(diffusers, name)(**config)
            scheduler.set_timesteps(steps)
            counts.append(steps)
            timesteps.append(scheduler.timesteps.float())
            if hasattr(scheduler, "sigmas"):
                sigmas.append(scheduler.sigmas.float())
        tensors[f"{label}.timesteps"] = torch.cat(timesteps)
        entry = {"config": {"_class_name": name, **config}, "steps": counts, "entries": [len(t) for t in timesteps],
                 "timesteps": f"{label}.timesteps"}
        if sigmas:
            tensors[f"{label}.sigmas"] = torch.cat(sigmas)
            entry["sigmas"] = f"{label}.sigmas"
        schedules.append(entry)
        for run, (steps, strength) in enumerate(RUNS):
            seed = 1000 + 10 * number + run
            exact = trajectory(name, config, steps, strength, seed, double=True)
            single = trajectory(name, config, steps, strength, seed, double=False)
            if not torch.isfinite(exact).all():
                print(f"left out, not finite in diffusers: {name} {config} steps {steps} strength {strength}")
                continue
            distance = float((exact - single).abs().max() / exact.abs().max().clamp(min=1))
            if distance > 2e-6:
                print(f"{name} {config} {steps} {strength}: float32 is {distance:.1e} from float64")
            largest = max(largest, distance)
            tensors[f"{label}.run{run}"] = exact.float()
            trajectories.append({"schedule": number, "steps": steps, "strength": strength, "seed": seed,
                                 "tensor": f"{label}.run{run}", "float64_distance": distance})
    print(f"{len(schedules)} configurations, {len(trajectories)} trajectories, largest float64 distance {largest:.1e}")
    document = {"diffusers": diffusers.__version__, "schedules": schedules, "trajectories": trajectories}
    (folder / "schedules.json").write_text(json.dumps(document) + "\n")
    save_file(tensors, folder / "schedules.safetensors")
