"""Configurations of the samplers of k-diffusion, of consistency models and of EDM for schedules.make: samplers.json and
samplers.safetensors."""

import itertools

from schedules import SD_BETAS, TRAINED_BETAS

HALVING = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler")
SPACINGS = ("leading", "linspace", "trailing")
GRIDS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
CONSISTENCY = ("LCMScheduler", "TCDScheduler")


def level_configurations():
    """Schedulers of levels: every spacing with every prediction, every grid of levels."""
    for name in ("LMSDiscreteScheduler", *HALVING):
        seed = {"noise_sampler_seed": 5} if "SDE" in name else {}
        takes_sample = name in ("LMSDiscreteScheduler", "HeunDiscreteScheduler")
        for spacing, prediction in itertools.product(SPACINGS, ("epsilon", "v_prediction", "sample")):
            if prediction != "sample" or takes_sample:
                yield name, SD_BETAS | seed | {"timestep_spacing": spacing, "prediction_type": prediction, "steps_offset": 1}
        for spacing, grid in (("linspace", GRIDS[0]), ("linspace", GRIDS[1]), ("linspace", GRIDS[2]), ("leading", GRIDS[0])):
            yield name, SD_BETAS | seed | {"timestep_spacing": spacing, grid: True}
        yield name, seed
        yield name, seed | {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}
        yield name, seed | {"trained_betas": TRAINED_BETAS, "num_train_timesteps": len(TRAINED_BETAS)}
    yield "HeunDiscreteScheduler", SD_BETAS | {"clip_sample": True, "clip_sample_range": 0.8}
    yield "HeunDiscreteScheduler", {"beta_schedule": "exp"}
    yield "DPMSolverSDEScheduler", SD_BETAS | {"noise_sampler_seed": 2**40 + 3, "use_karras_sigmas": True}


def training_configurations():
    """Schedulers of alphas_cumprod."""
    kept = {"clip_sample": False}
    threshold = {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.4}
    zero_snr = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    for spacing, prediction in itertools.product(SPACINGS, ("epsilon", "v_prediction", "sample")):
        yield "DDPMScheduler", SD_BETAS | kept | {"timestep_spacing": spacing, "prediction_type": prediction, "steps_offset": 1}
    for variance in ("fixed_small_log", "fixed_large", "learned", "learned_range"):
        yield "DDPMScheduler", SD_BETAS | kept | {"variance_type": variance}
    for extra in ({}, threshold, zero_snr, zero_snr | kept, {"clip_sample_range": 0.6, "prediction_type": "sample"},
                  {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "sigmoid"}, {"beta_schedule": "laplace"}):
        yield "DDPMScheduler", extra
    for name in CONSISTENCY:
        for prediction in ("epsilon", "v_prediction", "sample"):
            yield name, {"prediction_type": prediction}
        yield name, {"beta_schedule": "linear", "original_inference_steps": 100, "timestep_scaling": 3.0}
        yield name, {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "trailing"}
        yield name, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    yield "LCMScheduler", {"clip_sample": True, "clip_sample_range": 0.7}
    yield "LCMScheduler", threshold
    for eta in (0.3, 0.7, 1.0):
        yield "TCDScheduler", {"eta": eta}
        yield "TCDScheduler", {"eta": eta, "prediction_type": "v_prediction"}


def edm_configurations():
    for name in ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"):
        for schedule, final, prediction in itertools.product(("karras", "exponential"), ("zero", "sigma_min"),
                                                             ("epsilon", "v_prediction")):
            yield name, {"sigma_schedule": schedule, "final_sigmas_type": final, "prediction_type": prediction}
        yield name, {"sigma_min": 0.02, "sigma_max": 20.0, "sigma_data": 1.0, "rho": 5.0}
    name, sigma_min = "EDMDPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}
    for order, algorithm, kind in itertools.product((1, 2, 3), ("dpmsolver++", "sde-dpmsolver++"), ("midpoint", "heun")):
        if (order, algorithm) != (3, "sde-dpmsolver++"):
            final = sigma_min if algorithm == "dpmsolver++" else {}
            yield name, final | {"solver_order": order, "algorithm_type": algorithm, "solver_type": kind}
    for extra in ({"euler_at_final": True}, {"lower_order_final": False}, {"solver_order": 3, "lower_order_final": False},
                  {"solver_type": "bh2", "algorithm_type": "deis"}):
        yield name, sigma_min | extra
    # From sigma_min to sigma_min the other kind divides 0 by 0 in diffusers.
    yield name, {"algorithm_type": "sde-dpmsolver++"}
    yield name, {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.4}


def configurations():
    return itertools.chain(level_configurations(), training_configurations(), edm_configurations())
