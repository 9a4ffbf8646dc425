"""Looks into a diffusers pipeline while it runs, and gives each stage the name that i2i's TraceSink gives it.

Nothing of a pipeline is rewritten: modules and functions are wrapped for the length of one run.
"""

import contextlib
import functools
import sys

import torch
from diffusers.models.autoencoders import vae as vae_module
from diffusers.utils.torch_utils import randn_tensor


class DoubleTorch:
    """Stands for the name `torch` inside one module, where "float32" is to mean float64."""

    def __getattr__(self, name):
        return torch.float64 if name == "float32" else getattr(torch, name)


class RecordedPath:
    """Stands for BrownianTreeNoiseSampler: a float32 run asks it, a float64 run is given the same noise. Asked at float64
    levels the path would give other noise, for it is rough at every scale."""

    def __init__(self):
        self.kind, self.increments, self.replays = None, [], False

    def rewind(self, increments: list) -> bool:
        self.increments = list(increments)
        return True

    def __call__(self, *arguments):
        path = None if self.replays else self.kind(*arguments)
        if not self.replays:
            self.increments.clear()

        def noise(*levels):
            if self.replays:
                return self.increments.pop(0).double()
            self.increments.append(path(*levels))
            return self.increments[-1]

        return noise


PATH = RecordedPath()  # of the case at hand: its float32 run comes first


class Trace:
    """Collects the stages of one run. `stages()` gives them stacked, with batch copies taken out."""

    def __init__(self, pipe, batch_size: int, double: bool):
        self.pipe, self.batch_size, self.double = pipe, batch_size, double
        self.first: dict[str, torch.Tensor] = {}
        self.steps: dict[str, list[torch.Tensor]] = {}
        self.ids: list[list[torch.Tensor]] = [[], []]
        self.posterior_draws: list[torch.Tensor] = []
        self.draws: list[torch.Tensor] = []

    def once(self, name, value):
        self.first.setdefault(name, value.detach().clone())

    def step(self, name, value):
        self.steps.setdefault(name, []).append(value.detach().clone())

    def draw(self, shape, *, posterior, dtype=None, **kwargs):
        """Float64 runs see the same float32 draws: a float64 stream would be another one."""
        noise = randn_tensor(shape, dtype=torch.float32, **kwargs)
        (self.posterior_draws if posterior else self.draws).append(noise.clone())
        return noise.to(dtype or torch.float32)

    def stages(self) -> dict[str, torch.Tensor]:
        out = dict(self.first)
        for number, rows in enumerate(self.ids):
            if rows:
                out[f"text.ids.{number}"] = torch.cat(rows[::-1])  # the pipelines encode the prompt first
        draws = ([torch.cat(self.posterior_draws)] if self.posterior_draws else []) + self.draws
        out |= {f"draw.{number:02}": noise for number, noise in enumerate(draws)}
        out |= {name: torch.stack(values) for name, values in self.steps.items()}
        return out

    @contextlib.contextmanager
    def attached(self):
        with contextlib.ExitStack() as stack:
            self._watch_draws(stack)
            self._watch_text(stack)
            self._watch_unet(stack)
            self._watch_scheduler(stack)
            self._watch_vae(stack)
            yield self

    def _watch_draws(self, stack):
        for module in list(sys.modules.values()):
            if getattr(module, "randn_tensor", None) is randn_tensor and module.__name__ != __name__:
                drawn = lambda shape, posterior=module is vae_module, **kwargs: self.draw(shape, posterior=posterior, **kwargs)
                stack.enter_context(replaced(module, "randn_tensor", drawn))

    def _watch_text(self, stack):
        encoders = [getattr(self.pipe, name, None) for name in ("text_encoder", "text_encoder_2")]
        for number, encoder in enumerate(encoder for encoder in encoders if encoder is not None):
            seen = lambda _, args, rows=self.ids[number]: rows.append(args[0].clone())
            stack.callback(encoder.register_forward_pre_hook(seen).remove)

    def _watch_unet(self, stack):
        def before(_, args, kwargs):
            self.step("loop.unet_in", args[0])
            self.step("schedule.timesteps_run", torch.as_tensor(args[1], dtype=torch.float64))
            self.once("text.embeds", kwargs["encoder_hidden_states"][:: self.batch_size])
            if kwargs.get("added_cond_kwargs"):
                self.once("text.pooled", kwargs["added_cond_kwargs"]["text_embeds"][:: self.batch_size])

        def after(_, args, output):
            self.step("loop.unet_out", output[0])

        stack.callback(self.pipe.unet.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(self.pipe.unet.register_forward_hook(after).remove)
        if self.double:
            embeddings = sys.modules["diffusers.models.embeddings"]
            stack.enter_context(replaced(embeddings, "torch", DoubleTorch()))

    def _watch_scheduler(self, stack):
        scheduler = self.pipe.scheduler
        inner, plan = scheduler.step, scheduler.set_timesteps
        home = sys.modules[type(scheduler).__module__]
        if hasattr(home, "BrownianTreeNoiseSampler"):
            PATH.kind, PATH.replays = home.BrownianTreeNoiseSampler, self.double
            stack.enter_context(replaced(home, "BrownianTreeNoiseSampler", PATH))

        @functools.wraps(inner)
        def step(model_output, timestep, sample, *args, **kwargs):
            self.step("loop.guided", model_output)
            self.step("loop.latents_in", sample)
            # Steps that cast to float32 for precision would undo the float64 run.
            with replaced(home, "torch", DoubleTorch()) if self.double else contextlib.nullcontext():
                result = inner(model_output, timestep, sample, *args, **kwargs)
            self.step("loop.latents_out", result[0])
            return result

        @functools.wraps(plan)
        def set_timesteps(*args, **kwargs):
            plan(*args, **kwargs)
            self.once("schedule.timesteps", scheduler.timesteps.to(torch.float32))
            if hasattr(scheduler, "sigmas"):
                self.once("schedule.sigmas", scheduler.sigmas)

        scheduler.step, scheduler.set_timesteps = step, set_timesteps
        stack.callback(lambda: (delattr(scheduler, "step"), delattr(scheduler, "set_timesteps")))

    def _watch_vae(self, stack):
        vae = self.pipe.vae
        encode, decode = vae.encode, vae.decode

        def watched_encode(pixels, *args, **kwargs):
            result = encode(pixels, *args, **kwargs)
            distribution = result.latent_dist if hasattr(result, "latent_dist") else result[0]
            self.once("source.pixels", pixels[:1])
            self.once("vae.mean", distribution.mean[:1])
            self.once("vae.logvar", distribution.logvar[:1])
            return result

        def watched_decode(latents, *args, **kwargs):
            self.once("vae.latents_unscaled", latents)
            return decode(latents, *args, **kwargs)

        vae.encode, vae.decode = watched_encode, watched_decode
        stack.callback(lambda: (delattr(vae, "encode"), delattr(vae, "decode")))


@contextlib.contextmanager
def replaced(owner, name, value):
    """Sets owner.name for a while; owners without that name stay as they are."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
