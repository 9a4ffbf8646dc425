"""Configurations of the tiny models. Keys are left out where a published file leaves them out: the class
default must then hold. Odd choices (groups, heads, levels) differ between families on purpose."""


# Families of cases that run another family's model, with LoRA files in it.
MODEL_OF = {"sd15-lora": "sd15", "sdxl-lora": "sdxl"}


def text_encoder(hidden, heads, act, *, projection=None, pad="<|endoftext|>", legacy_eos=False, layers=2):
    config = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers,
              "num_attention_heads": heads, "hidden_act": act, "pad_token": pad, "legacy_eos": legacy_eos,
              "with_projection": projection is not None}
    return config | ({"projection_dim": projection} if projection else {})


def vae(channels, layers, groups, scaling_factor, sample_size, **extra):
    levels = len(channels)
    return {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": list(channels),
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
            "layers_per_block": layers, "norm_num_groups": groups, "scaling_factor": scaling_factor,
            "sample_size": sample_size, **extra}


def unet(channels, attention, layers, groups, cross_attention_dim, heads, in_channels=4, **extra):
    """@param attention  for each down block, whether it attends to the text"""
    return {"sample_size": 16, "in_channels": in_channels, "out_channels": 4, "block_out_channels": list(channels),
            "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention],
            "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
            "layers_per_block": layers, "norm_num_groups": groups, "cross_attention_dim": cross_attention_dim,
            "attention_head_dim": heads, **extra}


def scheduler(class_name, **extra):
    return {"_class_name": class_name, "_diffusers_version": "0.42.1", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, **extra}


SDXL_TEXT = [text_encoder(32, 4, "quick_gelu", legacy_eos=True),
             text_encoder(32, 2, "gelu", projection=24, pad="!", layers=3)]


def sdxl_unet(**extra):
    return unet((12, 16), (False, True), 1, 4, 64, [2, 4], transformer_layers_per_block=[1, 2],
                use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 24, **extra)


FAMILIES = {
    "sd15": {
        "seed": 13, "stream": 1, "pipeline": "StableDiffusionImg2ImgPipeline", "text_model_prefix": True, "old_vae_names": True,
        "text_encoders": [text_encoder(32, 4, "quick_gelu", legacy_eos=True)],
        "vae": vae((8, 16, 16), 1, 4, 0.18215, 64),
        "unet": unet((12, 16), (True, False), 2, 4, 32, 4),
        # Without timestep_spacing, as the published SD 1.5 file: other classes then fall back to their own default.
        "scheduler": scheduler("PNDMScheduler", skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False, clip_sample=False,
                               trained_betas=None),
    },
    "sd21-v": {
        "seed": 21, "stream": 0.05, "pipeline": "StableDiffusionImg2ImgPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": [text_encoder(40, 5, "gelu", pad="!", layers=3)],
        "vae": vae((8, 8, 16, 16), 1, 2, 0.18215, 128),
        # Three levels: odd sides meet the rule that an upsample takes the size of the next skip tensor.
        "unet": unet((12, 12, 16), (True, True, False), 1, 4, 40, [2, 3, 4], use_linear_projection=True),
        "scheduler": scheduler("DDIMScheduler", prediction_type="v_prediction", steps_offset=1, set_alpha_to_one=False,
                               clip_sample=False, skip_prk_steps=True),
    },
    "sdxl": {
        "seed": 31, "stream": 1, "pipeline": "StableDiffusionXLImg2ImgPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": SDXL_TEXT,
        # Mean and deviation of the latents, which some SDXL checkpoints carry.
        "vae": vae((8, 8, 16), 2, 4, 0.5, 64, latents_mean=[0.3, -0.2, 0.1, 0.4], latents_std=[1.2, 0.8, 1.1, 0.9]),
        "unet": sdxl_unet(),
        "scheduler": scheduler("EulerDiscreteScheduler", timestep_spacing="leading", steps_offset=1, sample_max_value=1.0,
                               prediction_type="epsilon", interpolation_type="linear", use_karras_sigmas=False,
                               set_alpha_to_one=False, skip_prk_steps=True, clip_sample=False, trained_betas=None),
    },
    # SDXL's refiner: the second text encoder alone, an aesthetic score in place of the target size.
    "sdxl-refiner": {
        "seed": 61, "stream": 1, "pipeline": "StableDiffusionXLImg2ImgPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": [None, text_encoder(32, 2, "gelu", projection=24, pad="!", layers=3, legacy_eos=True)],
        "requires_aesthetics_score": True,
        "vae": vae((8, 16), 1, 4, 0.13025, 32),
        "unet": unet((12, 16), (False, True), 1, 4, 32, [2, 4], transformer_layers_per_block=[1, 2], use_linear_projection=True,
                     addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=5 * 8 + 24),
        "scheduler": scheduler("EulerDiscreteScheduler", timestep_spacing="leading", steps_offset=1, sample_max_value=1.0,
                               prediction_type="epsilon", interpolation_type="linear", use_karras_sigmas=False,
                               set_alpha_to_one=False, skip_prk_steps=True, clip_sample=False, trained_betas=None),
    },
    # A distilled model that embeds the guidance scale (latent consistency models).
    "sd15-lcm": {
        "seed": 71, "stream": 1, "pipeline": "StableDiffusionImg2ImgPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": [text_encoder(32, 4, "quick_gelu", legacy_eos=True)],
        "vae": vae((8, 16), 1, 4, 0.18215, 32),
        "unet": unet((12, 16), (True, False), 1, 4, 32, 4, time_cond_proj_dim=17),
        "scheduler": scheduler("LCMScheduler", original_inference_steps=50, steps_offset=1, set_alpha_to_one=True,
                               clip_sample=False, trained_betas=None, timestep_scaling=10.0),
    },
    "ip2p": {
        "seed": 41, "stream": 0.05, "pipeline": "StableDiffusionInstructPix2PixPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": [text_encoder(32, 2, "quick_gelu")],
        "vae": vae((16, 16), 2, 8, 0.18215, 32),
        "unet": unet((12, 16), (True, True), 1, 2, 32, 4, in_channels=8),
        "scheduler": scheduler("EulerAncestralDiscreteScheduler", prediction_type="epsilon", steps_offset=1, clip_sample=False,
                               set_alpha_to_one=False, skip_prk_steps=True, interpolation_type="linear", trained_betas=None),
    },
    "sdxl-ip2p": {
        "seed": 51, "stream": 1, "pipeline": "StableDiffusionXLInstructPix2PixPipeline", "text_model_prefix": False, "old_vae_names": False,
        "text_encoders": SDXL_TEXT,
        "vae": vae((8, 8, 16), 1, 8, 0.13025, 64),
        "unet": sdxl_unet(in_channels=8),
        "scheduler": scheduler("EulerDiscreteScheduler", timestep_spacing="leading", steps_offset=1, sample_max_value=1.0,
                               prediction_type="epsilon", interpolation_type="linear", use_karras_sigmas=False,
                               set_alpha_to_one=False, skip_prk_steps=True, clip_sample=False, trained_betas=None),
    },
}
