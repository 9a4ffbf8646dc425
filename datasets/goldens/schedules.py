"""Schedules and step trajectories of diffusers' schedulers: schedules.json and schedules.safetensors.

Trajectories need no model: what a model would answer is `answer` below, smooth in sample and timestep, and written
again in tests/scheduler_test.cpp. Tables are diffusers' float32 ones; all arithmetic on them is float64.
"""

import copy
import inspect
import itertools
import json
import sys
from pathlib import Path

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

from tracing import DoubleTorch, RecordedPath, replaced

STEPS = (1, 2, 3, 4, 5, 7, 10, 13, 20, 25, 30, 33, 41, 50)
RUNS = ((5, 1.0), (10, 0.75), (20, 0.5), (20, 0.29), (50, 0.9), (7, 0.1))
SHAPE = (1, 4, 1, 2)
TRAINED_BETAS = [round(0.001 + 0.00004 * i + 0.0005 * (i % 3), 6) for i in range(500)]
SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


SOLVERS = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler")
SINGLESTEP = "DPMSolverSinglestepScheduler"


def solver_configurations():
    """DPM-Solver, UniPC and DEIS: every order and kind of update, every grid of levels, thresholds, cut ends."""
    multistep, unipc, deis = SOLVERS
    sigma_min = {"final_sigmas_type": "sigma_min"}
    for order in (1, 2, 3):
        for algorithm in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"):
            for kind in ("midpoint", "heun"):
                solver = sigma_min | {"solver_order": order, "algorithm_type": algorithm, "solver_type": kind}
                if order == 1 and kind == "heun":
                    continue
                # The third order's second difference has the wrong sign in diffusers' SDE: it diverges, and float32 with it.
                diverges = order == 3 and algorithm.startswith("sde-")
                if algorithm != "sde-dpmsolver" and not (diverges and kind == "heun"):
                    yield SINGLESTEP, solver
                if not diverges and (order == 2 or kind == "midpoint"):
                    yield multistep, solver
        for kind, predict_x0 in itertools.product(("bh1", "bh2"), (True, False)):
            yield unipc, sigma_min | {"solver_order": order, "solver_type": kind, "predict_x0": predict_x0}
        for lower in (True, False):
            yield deis, {"solver_order": order, "lower_order_final": lower}
            if lower or order < 3:  # three outputs over the last, long step amplify rounding tenfold
                yield unipc, sigma_min | {"solver_order": order, "lower_order_final": lower}
            yield SINGLESTEP, {"solver_order": order, "lower_order_final": lower}
    yield unipc, {"solver_order": 3, "disable_corrector": [0, 1, 5]}
    yield unipc, {"predict_x0": False, "prediction_type": "v_prediction"} | sigma_min
    yield unipc, {"predict_x0": False, "prediction_type": "sample"} | sigma_min
    yield unipc, {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 12.0}
    yield unipc, {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    for name in (*SOLVERS, SINGLESTEP):
        for grid in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
            yield name, {grid: True}
            if name in (multistep, unipc):
                yield name, {grid: True} | sigma_min
        yield name, {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.4}
        yield name, {"trained_betas": TRAINED_BETAS, "num_train_timesteps": len(TRAINED_BETAS)}
    for prediction in ("epsilon", "v_prediction", "sample"):
        yield multistep, sigma_min | {"algorithm_type": "dpmsolver", "thresholding": True, "sample_max_value": 1.4,
                                      "dynamic_thresholding_ratio": 0.7, "prediction_type": prediction}
    yield multistep, {"use_lu_lambdas": True}
    yield multistep, {"use_lu_lambdas": True, "beta_schedule": "squaredcos_cap_v2"} | sigma_min
    for name in (multistep, SINGLESTEP):
        yield name, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    yield multistep, {"lambda_min_clipped": -1.0, "timestep_spacing": "leading", "steps_offset": 1}


def other_configurations():
    """Options of DDIM, PNDM and Euler beside spacing and prediction."""
    for eta in (0.5, 1.0):
        yield "DDIMScheduler", {"clip_sample": False, "eta": eta}
        yield "DDIMScheduler", {"eta": eta, "thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.4}
    yield "DDIMScheduler", {"clip_sample_range": 0.7, "prediction_type": "v_prediction"}
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        yield name, {"trained_betas": TRAINED_BETAS, "num_train_timesteps": len(TRAINED_BETAS)}
    yield "PNDMScheduler", {"prediction_type": "v_prediction", "timestep_spacing": "linspace"}
    for grid in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        yield "EulerDiscreteScheduler", {grid: True, "sigma_min": 0.02, "sigma_max": 9.0}
        yield "EulerDiscreteScheduler", {grid: True, "interpolation_type": "log_linear"}
        yield "EulerDiscreteScheduler", {grid: True, "timestep_spacing": "leading"}
    for extra in ({}, {"timestep_type": "continuous", "prediction_type": "v_prediction"}):
        yield "EulerDiscreteScheduler", extra | {"interpolation_type": "log_linear"}
        yield "EulerDiscreteScheduler", extra | {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}


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
        for name in SOLVERS[:3]:
            yield name, SD_BETAS | offset
        if spacing == "linspace":
            yield SINGLESTEP, SD_BETAS | {"prediction_type": prediction}
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
    for name, extra in itertools.chain(solver_configurations(), other_configurations()):
        yield name, extra if "trained_betas" in extra else {**SD_BETAS, **extra}


def answer(sample: torch.Tensor, timestep: float) -> torch.Tensor:
    """In place of a model. Its slope is below one half, so that a trajectory does not amplify its own rounding."""
    phase = torch.arange(sample.numel(), dtype=torch.float64).reshape(sample.shape)
    return 0.5 * torch.sin(0.7 * sample + 0.004 * timestep + 0.9 * phase) + 0.3 * torch.cos(0.2 * sample - 0.5 * phase)


def constructor_arguments(config: dict) -> dict:
    return {key: value for key, value in config.items() if key != "eta"}  # step's own


def trajectory(fresh, config: dict, steps: int, strength: float, seed: int, double: bool,
               path: RecordedPath, rounding_seed: int | None = None) -> torch.Tensor:
    """[L,1,4,1,2]: the sample after each entry. Draws in order: x0, start noise, then the steps'. With `rounding_seed`
    every sample and answer is off by up to half a unit in float32's last place, as a float32 run of any order of sums is.
    """
    dtype = torch.float64 if double else torch.float32
    scheduler = copy.deepcopy(fresh)
    home = sys.modules[type(scheduler).__module__]
    generator = torch.Generator().manual_seed(seed)
    original, noise = (randn_tensor(SHAPE, generator=generator).to(dtype) for _ in range(2))
    scheduler.set_timesteps(steps)
    t_start = (steps - max(1, min(int(steps * strength), steps))) * scheduler.order
    timesteps = scheduler.timesteps[t_start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(t_start)
    if double:
        for table in ("alphas_cumprod", "final_alpha_cumprod", "sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down"):
            if hasattr(scheduler, table):
                setattr(scheduler, table, getattr(scheduler, table).double())
    if t_start == 0:
        sample = noise * scheduler.init_noise_sigma
    else:
        sample = scheduler.add_noise(original, noise, timesteps[:1])
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    if "eta" in inspect.signature(scheduler.step).parameters:
        extra["eta"] = config.get("eta", 0.0)  # the pipelines' default, also where the class has another
    learned = config.get("variance_type", "").startswith("learned")
    path.replays, path.kind = double, getattr(home, "BrownianTreeNoiseSampler", None)
    drawn = lambda shape, dtype=None, **kwargs: randn_tensor(shape, dtype=torch.float32, **kwargs).to(dtype)
    roundings = torch.Generator().manual_seed(rounding_seed or 0)

    def rounded(value):
        if rounding_seed is None:
            return value
        return value * (1 + 2.0**-24 * (2 * torch.rand(value.shape, generator=roundings, dtype=value.dtype) - 1))

    out = []
    for timestep in timesteps:
        sample = rounded(sample)
        noise_pred = answer(scheduler.scale_model_input(sample, timestep).double(), float(timestep)).to(dtype)
        noise_pred = rounded(noise_pred)
        if learned:
            noise_pred = torch.cat([noise_pred, noise_pred.square()], 1)
        with (replaced(home, "randn_tensor", drawn), replaced(home, "torch", DoubleTorch() if double else torch),
              replaced(home, "BrownianTreeNoiseSampler", path)):
            sample = scheduler.step(noise_pred, timestep, sample, **extra).prev_sample
        out.append(sample)
    return torch.stack(out)


def make(folder: Path, stem: str, all_configurations) -> None:
    tensors, schedules, trajectories = {}, [], []
    largest = 0.0
    for number, (name, config) in enumerate(all_configurations):
        label, timesteps, sigmas, counts = f"{number:02}", [], [], []
        fresh = getattr(diffusers, name)(**constructor_arguments(config))
        for steps in STEPS:
            if "PNDM" in name and not config.get("skip_prk_steps") and steps < 4:
                continue  # diffusers fails there
            scheduler = copy.deepcopy(fresh)
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
            entry |= {"sigmas": f"{label}.sigmas", "levels": [len(s) for s in sigmas]}
        schedules.append(entry)
        for run, (steps, strength) in enumerate(RUNS):
            seed = 1000 + 10 * number + run
            path = RecordedPath()
            single = trajectory(fresh, config, steps, strength, seed, double=False, path=path)
            increments = list(path.increments)
            exact, *disturbed = (
                trajectory(fresh, config, steps, strength, seed, double=True, path=path, rounding_seed=rounding_seed)
                for rounding_seed in (None, 1, 2, 3) if path.rewind(increments))
            if not (torch.isfinite(exact).all() and torch.isfinite(single).all()):
                print(f"left out, not finite in diffusers: {name} {config} steps {steps} strength {strength}")
                continue
            # How far rounding carries this trajectory: diffusers' own float32 run, and three disturbed float64 ones.
            distance = max(float((exact - other).abs().max() / exact.abs().max().clamp(min=1))
                           for other in (single, *disturbed))
            if distance > 2e-6:
                print(f"{name} {config} {steps} {strength}: float32 is {distance:.1e} from float64")
            largest = max(largest, distance)
            tensors[f"{label}.run{run}"] = exact.float()
            trajectories.append({"schedule": number, "steps": steps, "strength": strength, "seed": seed,
                                 "tensor": f"{label}.run{run}", "float64_distance": distance})
    print(f"{len(schedules)} configurations, {len(trajectories)} trajectories, largest float64 distance {largest:.1e}")
    document = {"diffusers": diffusers.__version__, "schedules": schedules, "trajectories": trajectories}
    (folder / f"{stem}.json").write_text(json.dumps(document) + "\n")
    save_file(tensors, folder / f"{stem}.safetensors")
