"""What the goldens run: every family with every scheduler, and the corners that a formula can hide behind.

Only requests where diffusers' guidance rule and i2i's formula agree: 4 channels g >= 1; 8 channels g > 1 and gi >= 1,
or g = gi = 1. 8 channels with strength < 1 have no diffusers pipeline; run.py composes them from diffusers' parts.
"""

PROMPTS = (
    ("Make the house look as if it were built of GLASS, isn't it fine?", "blurry, low quality"),
    ("two white cats beside a caf\u00e9 window!! 2024, 35mm", ""),
    ("a landscape drawn in pencil; sharp lines & careful shading", "watermark, text, dark!"),
    # Longer than 77 tokens: the end token must survive the cut.
    ("an oil painting of a quiet harbour " * 14, "noisy photograph"),
)
PROMPT_2 = (None, "watercolour sketch, bright colours", "", "cinematic lighting!")

# i2i's name of a scheduler: (diffusers' class, changes to the configuration)
SCHEDULERS = {
    "": (None, {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "dpmpp_2m:use_karras_sigmas=true": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "euler:use_karras_sigmas=true": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "ddim:timestep_spacing=trailing": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "euler_a:timestep_spacing=trailing": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "ddpm": ("DDPMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2:use_karras_sigmas=true": ("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_sde:noise_sampler_seed=5": ("DPMSolverSDEScheduler", {"noise_sampler_seed": 5}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "edm_euler": ("EDMEulerScheduler", {}),
    "edm_dpmpp_2m": ("EDMDPMSolverMultistepScheduler", {}),
}
PATH = "dpmpp_sde:noise_sampler_seed=5"
KARRAS = "dpmpp_2m:use_karras_sigmas=true"

# scheduler, (width, height), steps, strength, guidance, image guidance, batch, prompt, seed[, other run options]
CASES = {
    "sd15": (
        ("ddim", (32, 24), 6, 0.8, 7.5, 1.5, 1, 0, 7),
        ("pndm", (24, 32), 7, 0.75, 5.0, 1.5, 1, 1, 8),
        ("euler", (36, 28), 6, 0.6, 3.0, 1.5, 2, 2, 9),
        ("euler_a", (32, 24), 5, 1.0, 7.5, 1.5, 2, 3, 10),
        ("dpmpp_2m", (32, 24), 7, 0.8, 7.5, 1.5, 1, 1, 11),
        (KARRAS, (32, 24), 6, 0.9, 2.0, 1.5, 1, 2, 12),
        ("", (0, 0), 5, 0.5, 4.0, 1.5, 1, 0, 13),
        ("euler", (32, 24), 5, 0.2, 1.0, 1.5, 1, 2, 14),
        ("euler:use_karras_sigmas=true", (24, 24), 6, 1.0, 4.0, 1.5, 1, 0, 15),
        ("euler_a", (24, 24), 5, 0.45, 6.0, 1.5, 2, 0, 4294967295),
        ("dpmpp_2s", (24, 24), 6, 0.9, 6.0, 1.5, 1, 1, 16),
        ("unipc", (24, 24), 6, 0.9, 6.0, 1.5, 1, 2, 17),
        ("deis", (24, 24), 6, 0.9, 6.0, 1.5, 1, 0, 18),
        ("heun", (32, 24), 4, 0.8, 4.0, 1.5, 1, 0, 60),
        ("lms", (32, 24), 6, 0.7, 4.0, 1.5, 1, 1, 61),
        ("ddpm", (24, 24), 5, 0.8, 3.0, 1.5, 2, 2, 62),
        (PATH, (32, 24), 4, 0.8, 4.0, 1.5, 2, 0, 63),
        ("tcd", (24, 24), 4, 0.8, 2.0, 1.5, 1, 1, 64),
    ),
    "sd21-v": (
        ("", (48, 40), 6, 0.7, 7.5, 1.5, 1, 2, 17),
        ("pndm", (40, 56), 6, 0.9, 3.0, 1.5, 1, 2, 18),
        ("euler", (48, 40), 5, 0.8, 7.5, 1.5, 1, 0, 19),
        ("euler_a", (40, 56), 6, 0.6, 3.0, 1.5, 2, 1, 20),
        ("dpmpp_2m", (48, 40), 6, 1.0, 7.5, 1.5, 1, 3, 21),
        (KARRAS, (48, 40), 7, 0.5, 6.0, 1.5, 1, 2, 22),
        ("ddim:timestep_spacing=trailing", (48, 40), 5, 1.0, 1.0, 1.5, 1, 0, 23),
        ("dpm2_a", (48, 40), 4, 0.8, 3.0, 1.5, 1, 1, 65),
        ("lcm", (48, 40), 5, 0.8, 1.0, 1.5, 1, 2, 66),
    ),
    "sdxl": (
        ("ddim", (32, 24), 6, 0.5, 5.0, 1.5, 1, 1, 27),
        ("pndm", (32, 24), 6, 0.9, 7.5, 1.5, 1, 1, 28),
        ("", (28, 36), 6, 0.7, 5.0, 1.5, 2, 2, 29),
        ("euler_a", (32, 24), 7, 0.3, 2.0, 1.5, 1, 3, 30),
        ("dpmpp_2m", (24, 32), 6, 1.0, 5.0, 1.5, 1, 1, 31),
        (KARRAS, (32, 24), 5, 0.8, 7.5, 1.5, 1, 2, 32),
        ("euler", (24, 24), 5, 0.6, 1.0, 1.5, 1, 1, 33),
        ("dpm2:use_karras_sigmas=true", (24, 24), 4, 0.8, 4.0, 1.5, 1, 1, 67),
        ("lcm", (24, 24), 4, 1.0, 2.0, 1.5, 1, 2, 68),
        ("euler", (24, 32), 5, 0.8, 9.0, 1.5, 2, 1, 78, {"guidance_rescale": 0.7}),
        ("dpmpp_2m", (24, 24), 5, 1.0, 12.0, 1.5, 1, 2, 79, {"guidance_rescale": 1.0}),
    ),
    "sdxl-refiner": (
        ("", (24, 32), 6, 0.5, 5.0, 1.5, 2, 1, 73),
        ("ddim", (24, 24), 5, 0.8, 1.0, 1.5, 1, 2, 74),
        (KARRAS, (32, 24), 6, 0.3, 7.5, 1.5, 1, 0, 75),
    ),
    "sd15-lcm": (
        ("", (24, 32), 4, 0.8, 7.5, 1.5, 2, 1, 76),
        ("euler", (24, 24), 5, 0.6, 2.5, 1.5, 1, 0, 77),
    ),
    "ip2p": (
        ("ddim", (16, 12), 6, 1.0, 7.5, 1.5, 1, 0, 37),
        ("pndm", (16, 12), 5, 1.0, 5.0, 2.0, 1, 1, 38),
        ("euler", (14, 18), 6, 1.0, 7.5, 1.5, 1, 2, 39),
        ("", (16, 12), 5, 1.0, 3.0, 1.0, 2, 3, 40),
        ("dpmpp_2m", (12, 16), 6, 1.0, 7.5, 3.0, 1, 1, 41),
        (KARRAS, (16, 12), 5, 1.0, 4.0, 1.5, 1, 2, 42),
        ("euler", (12, 12), 5, 1.0, 1.0, 1.0, 1, 0, 43),
        ("euler", (16, 12), 6, 0.7, 7.5, 1.5, 2, 0, 44),
        ("ddim", (16, 12), 6, 0.5, 5.0, 2.0, 1, 1, 45),
        ("edm_euler", (16, 12), 4, 1.0, 3.0, 1.5, 1, 0, 69),
        ("edm_dpmpp_2m", (16, 12), 5, 0.8, 3.0, 1.5, 1, 1, 70),
        ("heun", (16, 12), 4, 1.0, 3.0, 1.5, 1, 2, 71),
        ("dpm2_a", (16, 12), 4, 0.6, 3.0, 1.5, 1, 2, 72),
    ),
    "sdxl-ip2p": (
        ("ddim", (32, 24), 5, 1.0, 5.0, 1.5, 1, 1, 47),
        ("pndm", (24, 32), 6, 1.0, 7.5, 1.5, 1, 1, 48),
        ("", (32, 24), 6, 1.0, 5.0, 2.5, 1, 3, 49),
        ("euler_a:timestep_spacing=trailing", (28, 20), 6, 1.0, 3.0, 1.5, 2, 3, 50),
        ("dpmpp_2m", (32, 24), 6, 1.0, 7.5, 1.0, 1, 1, 51),
        (KARRAS, (32, 24), 7, 1.0, 5.0, 1.5, 1, 3, 52),
        ("euler_a", (32, 24), 5, 0.8, 5.0, 1.5, 1, 1, 53),
        ("ddim", (32, 24), 5, 1.0, 9.0, 1.5, 2, 1, 80, {"guidance_rescale": 0.5}),
    ),
    # LoRA files by name in loras/, each with its weight.
    "sd15-lora": (
        ("ddim", (32, 24), 5, 0.8, 5.0, 1.5, 1, 0, 81, {"loras": {"sd15_kohya": 0.8}}),
        ("euler", (24, 24), 5, 0.7, 3.0, 1.5, 1, 1, 82, {"loras": {"sd15_peft": 1.0}}),
        ("dpmpp_2m", (24, 32), 5, 0.9, 4.0, 1.5, 2, 2, 83, {"loras": {"sd15_kohya": 0.5, "sd15_peft": -0.7}}),
        ("", (24, 24), 5, 0.8, 6.0, 1.5, 1, 0, 84, {"loras": {"sd15_old": 1.25}}),
    ),
    "sdxl-lora": (
        ("", (24, 32), 5, 0.8, 5.0, 1.5, 1, 1, 85, {"loras": {"sdxl_kohya": 0.9}}),
        ("ddim", (24, 24), 5, 0.6, 7.5, 1.5, 2, 2, 86, {"loras": {"sdxl_peft": 0.6}}),
        ("euler_a", (32, 24), 5, 0.9, 3.0, 1.5, 1, 1, 87, {"loras": {"sdxl_peft": -0.5, "sdxl_kohya": 0.75}}),
    ),
}


def requests(family: str):
    """Yields (case name, scheduler, request as the action takes it, other run options, LoRA files)."""
    for number, (scheduler, size, steps, strength, guidance, image_guidance, batch, prompt, seed, *options) in enumerate(CASES[family]):
        positive, negative = PROMPTS[prompt]
        request = {"source_image": "source.png", "prompt": positive, "negative_prompt": negative,
                   "guidance_scale": guidance, "image_guidance_scale": image_guidance, "strength": strength, "steps": steps,
                   "batch_size": batch, "seed": seed, "width": size[0], "height": size[1]}
        if family.startswith("sdxl"):
            request["prompt_2"] = PROMPT_2[prompt]
        label = scheduler.replace(":use_karras_sigmas=true", "_karras").replace(":timestep_spacing=", "_")
        label = label.replace(":noise_sampler_seed=5", "") or "own"
        options = dict(options[0]) if options else {}
        weights = options.pop("loras", {})
        for word in (*options, *weights):
            label += "_" + word
        loras = [{"file": f"loras/{name}.safetensors", "weight": weight} for name, weight in weights.items()]
        yield f"{number:02}_{label}", scheduler, request, options, loras
