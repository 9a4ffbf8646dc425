"""Effective scheduler configurations as diffusers' loading, pipeline constructors and from_config give them.

Writes scheduler_configs.json: the class defaults, and cases of a scheduler_config.json, the pipeline that loads it and
the scheduler that is swapped in (or none), each with what `scheduler.config` then says.
"""
import contextlib
import inspect
import io
import json
import math
import tempfile
from pathlib import Path

import diffusers
from diffusers import (StableDiffusionImg2ImgPipeline, StableDiffusionInstructPix2PixPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInstructPix2PixPipeline)

CLASSES = {"ddim": "DDIMScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
           "euler_a": "EulerAncestralDiscreteScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler",
           "dpmpp_2s": "DPMSolverSinglestepScheduler", "unipc": "UniPCMultistepScheduler",
           "deis": "DEISMultistepScheduler", "ddpm": "DDPMScheduler", "lms": "LMSDiscreteScheduler",
           "heun": "HeunDiscreteScheduler", "dpm2": "KDPM2DiscreteScheduler",
           "dpm2_a": "KDPM2AncestralDiscreteScheduler", "dpmpp_sde": "DPMSolverSDEScheduler", "lcm": "LCMScheduler",
           "tcd": "TCDScheduler", "edm_euler": "EDMEulerScheduler", "edm_dpmpp_2m": "EDMDPMSolverMultistepScheduler"}
PIPELINES = {"sd": StableDiffusionImg2ImgPipeline, "sd-ip2p": StableDiffusionInstructPix2PixPipeline,
             "sdxl": StableDiffusionXLImg2ImgPipeline, "sdxl-ip2p": StableDiffusionXLInstructPix2PixPipeline}
SWAPS = [("", "", {})] + [(name, name, {}) for name in CLASSES] + [
    ("DPM++ 2M Karras", "dpmpp_2m", dict(use_karras_sigmas=True)),
    ("euler:use_karras_sigmas=true,steps_offset=3", "euler", dict(use_karras_sigmas=True, steps_offset=3)),
    ("ddim:beta_start=1e-3,clip_sample=true,timestep_spacing=trailing", "ddim",
     dict(beta_start=1e-3, clip_sample=True, timestep_spacing="trailing")),
]
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
CONFIGS = [
    dict(_class_name="PNDMScheduler", _diffusers_version="0.6.0", **SD, set_alpha_to_one=False, skip_prk_steps=True,
         steps_offset=1, trained_betas=None, clip_sample=False),
    dict(_class_name="DDIMScheduler", _diffusers_version="0.8.0", **SD, clip_sample=False, prediction_type="v_prediction",
         set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None),
    dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.19.0.dev0", **SD, clip_sample=False,
         interpolation_type="linear", prediction_type="epsilon", sample_max_value=1.0, set_alpha_to_one=False,
         skip_prk_steps=True, steps_offset=1, timestep_spacing="leading", trained_betas=None, use_karras_sigmas=False),
    dict(_class_name="EulerAncestralDiscreteScheduler", **SD, clip_sample=True, steps_offset=0),
    dict(_class_name="DDIMScheduler", **SD),
    dict(_class_name="DDIMScheduler", **SD, clip_sample=True, steps_offset=0),
    dict(_class_name="PNDMScheduler", **SD, steps_offset=2, clip_sample=True, skip_prk_steps=True),
    dict(_class_name="DPMSolverMultistepScheduler", **SD, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True),
    dict(_class_name="EulerDiscreteScheduler", _use_default_values=["steps_offset", "timestep_spacing"], **SD,
         steps_offset=0, timestep_spacing="leading", rescale_betas_zero_snr=True),
]


def finite(value):
    return -1.7976931348623157e308 if isinstance(value, float) and value == -math.inf else value


def defaults(class_name: str) -> dict:
    parameters = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    return {key: finite(parameter.default) for key, parameter in parameters.items() if key != "self"}


def pipeline_with(pipeline: type, config: dict):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scheduler_config.json").write_text(json.dumps(config))
        scheduler = getattr(diffusers, config["_class_name"]).from_pretrained(folder)
    takes = inspect.signature(pipeline.__init__).parameters
    parts = {key: None for key, parameter in takes.items()
             if key != "self" and parameter.default is inspect.Parameter.empty}
    parts.update(scheduler=scheduler)
    if "requires_safety_checker" in takes:
        parts.update(safety_checker=None, requires_safety_checker=False)
    return pipeline(**parts)


def effective(pipeline: type, config: dict, target: str, options: dict) -> dict:
    made = pipeline_with(pipeline, config)
    if target:
        made.scheduler = getattr(diffusers, CLASSES[target]).from_config(made.scheduler.config, **options)
    keys = defaults(type(made.scheduler).__name__)
    return {key: finite(made.scheduler.config[key]) for key in keys}


def main() -> None:
    cases = []
    for config in CONFIGS:
        for family, pipeline in PIPELINES.items():
            rows = {}
            for text, target, options in SWAPS:
                try:
                    with contextlib.redirect_stderr(io.StringIO()):
                        values = effective(pipeline, config, target, options)
                except NotImplementedError:  # a class that does not take another's algorithm_type
                    continue
                base = defaults(CLASSES[target] if target else config["_class_name"])
                rows[text] = {key: value for key, value in values.items() if value != base[key]}
            cases.append(dict(scheduler_config=config, pipeline=family, differs_from_defaults=rows))
    path = Path(__file__).with_name("scheduler_configs.json")
    result = dict(defaults={name: defaults(class_name) for name, class_name in CLASSES.items()}, cases=cases)
    text = json.dumps(result, separators=(",", ":")).replace('{"scheduler_config"', '\n{"scheduler_config"')
    path.write_text(text + "\n")
    print(f"{path.name}: {sum(len(case['differs_from_defaults']) for case in cases)} configurations, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
