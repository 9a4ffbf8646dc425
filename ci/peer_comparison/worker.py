"""One peer: answers requests, one a line, with pictures and stage times, as `i2i worker` does.

usage: worker.py eager|inductor|openvino|openvino-bf16|openvino-int8 MODEL_FOLDER OUT_FOLDER [THREADS]
"""
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoPipelineForImage2Image
from PIL import Image

THREADS = int(sys.argv[4]) if len(sys.argv) > 4 else 2
WIDTH, HEIGHT = 512, 512
OPENVINO = {"openvino": "f32", "openvino-bf16": "bf16", "openvino-int8": "int8"}  # peer: precision


class Stages:
    """Wall time of each call of the pipeline's networks, in order."""

    def __init__(self):
        self.rows, self.steps = [], 0

    def timed(self, name, function):
        def call(*arguments, **options):
            started = time.perf_counter()
            result = function(*arguments, **options)
            step = -1
            if name == "unet":
                step, self.steps = self.steps, self.steps + 1
            self.rows.append({"name": name, "step": step, "ms": 1000 * (time.perf_counter() - started)})
            return result
        return call


def compiled_by_inductor(pipeline):
    import torch._inductor.config as inductor
    inductor.freezing = True
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.unet.forward = torch.compile(pipeline.unet.forward)
    pipeline.vae.encoder.forward = torch.compile(pipeline.vae.encoder.forward)
    pipeline.vae.decoder.forward = torch.compile(pipeline.vae.decoder.forward)


def example_inputs():
    """Of UNet, VAE encoder and decoder, one each: for their shapes."""
    latent = (HEIGHT // 8, WIDTH // 8)
    draw = torch.Generator().manual_seed(0)
    sample, states = (torch.randn(2, *shape, generator=draw) for shape in ((4, *latent), (77, 768)))
    return {"unet": [(sample, torch.tensor([500.0]), states)],
            "encoder": [(torch.rand(1, 3, HEIGHT, WIDTH, generator=draw) * 2 - 1,)],
            "decoder": [(sample[:1].contiguous(),)]}


def recorded_inputs(pipeline, request):
    """What the request gives UNet, VAE encoder and decoder: the pipeline answers it once as it is."""
    calls = {"unet": [], "encoder": [], "decoder": []}
    originals = {}

    def recording(name, module, inputs_of):
        originals[module] = module.forward

        def call(*arguments, **options):
            calls[name].append(tuple(x.clone() for x in inputs_of(*arguments, **options)))
            return originals[module](*arguments, **options)
        module.forward = call

    recording("unet", pipeline.unet, lambda sample, timestep, encoder_hidden_states=None, **ignored:
              (sample, timestep.reshape(1).float(), encoder_hidden_states))
    recording("encoder", pipeline.vae.encoder, lambda x: (x,))
    recording("decoder", pipeline.vae.decoder, lambda x, *ignored: (x,))
    answered(pipeline, request, source_of(request))
    for module, forward in originals.items():
        module.forward = forward
    return calls


def quantized_by_nncf(model, calls):
    """Weights and activations in bytes, by NNCF's post-training quantization, ranges from what the request itself gives
    the network: a peer is shown at its best."""
    import nncf
    dataset = nncf.Dataset([tuple(x.numpy() for x in inputs) for inputs in calls])
    return nncf.quantize(model, dataset, subset_size=len(calls), model_type=nncf.ModelType.TRANSFORMER)


def compiled_by_openvino(pipeline, precision, calls):
    """Replaces the forward of UNet and VAE halves by OpenVINO's, shapes fixed, weights shared with nothing.
    @param precision  f32, bf16 or int8
    @param calls      inputs of each network: their shapes, and for int8 their ranges"""
    import openvino
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "INFERENCE_NUM_THREADS": THREADS,
                "NUM_STREAMS": 1}

    class UNet(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, sample, timestep, states):
            return self.inner(sample, timestep, encoder_hidden_states=states, return_dict=False)[0]

    def compiled(module, name):
        example = calls[name][0]
        with torch.no_grad():
            model = openvino.convert_model(module, example_input=example, input=[tuple(x.shape) for x in example])
        if precision == "int8":
            model = quantized_by_nncf(model, calls[name])
        return core.compile_model(model, "CPU", settings)

    unet = compiled(UNet(pipeline.unet), "unet")
    encoder, decoder = compiled(pipeline.vae.encoder, "encoder"), compiled(pipeline.vae.decoder, "decoder")

    def run(network, *inputs):
        return torch.from_numpy(network([x.numpy() for x in inputs])[0].copy())

    def unet_forward(sample, timestep, encoder_hidden_states=None, **ignored):
        return (run(unet, sample, timestep.reshape(1).float(), encoder_hidden_states),)

    pipeline.unet.forward = unet_forward
    pipeline.vae.encoder.forward = lambda x: run(encoder, x)
    pipeline.vae.decoder.forward = lambda x, *ignored: run(decoder, x)
    for module in (pipeline.unet, pipeline.vae.encoder, pipeline.vae.decoder):  # OpenVINO holds its own copy
        for child in list(module.children()):
            for parameter in child.parameters():
                parameter.data = torch.empty(0)


def versions(peer) -> dict:
    libraries = ["torch", "diffusers", "transformers"]
    libraries += ["openvino"] if peer.startswith("openvino") else []
    libraries += ["nncf"] if peer == "openvino-int8" else []
    return {name: importlib.metadata.version(name) for name in libraries}


def peak_resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def source_of(request):
    return Image.open(request["source_image"]).convert("RGB")


def answered(pipeline, request, source):
    return pipeline(prompt=request["prompt"], negative_prompt=request["negative_prompt"], image=source,
                    strength=request["strength"], num_inference_steps=request["steps"],
                    guidance_scale=request["guidance_scale"],
                    generator=[torch.Generator().manual_seed(request["seed"])]).images[0]


def timed_networks(pipeline):
    stages = Stages()
    pipeline.unet.forward = stages.timed("unet", pipeline.unet.forward)
    pipeline.vae.encode = stages.timed("vae_encode", pipeline.vae.encode)
    pipeline.vae.decode = stages.timed("vae_decode", pipeline.vae.decode)
    for name in ("text_encoder", "text_encoder_2"):
        if encoder := getattr(pipeline, name, None):
            encoder.forward = stages.timed("encode_prompt", encoder.forward)
    return stages


@torch.no_grad()
def main() -> None:
    peer, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")  # libraries print where they like, which must not be taken for an answer
    os.dup2(2, 1)
    torch.set_num_threads(THREADS)
    pipeline = AutoPipelineForImage2Image.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if peer in OPENVINO and hasattr(pipeline, "text_encoder_2"):
        raise SystemExit(f"{peer} is set up for SD 1.5's inputs, and {folder} has two text encoders")
    if peer == "inductor":
        compiled_by_inductor(pipeline)
    elif peer in OPENVINO and OPENVINO[peer] != "int8":
        compiled_by_openvino(pipeline, OPENVINO[peer], example_inputs())
    elif peer not in OPENVINO and peer != "eager":
        raise SystemExit(f"unknown peer {peer}: known are eager, inductor, {', '.join(OPENVINO)}")
    out.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"ready": folder, "versions": versions(peer)}), file=answers, flush=True)

    stages = None
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        if stages is None:
            if peer == "openvino-int8":  # whose ranges come from the first request
                compiled_by_openvino(pipeline, "int8", recorded_inputs(pipeline, request))
            stages = timed_networks(pipeline)
        source = source_of(request)
        stages.rows, stages.steps = [], 0
        started = time.perf_counter()
        picture = answered(pipeline, request, source)
        total = 1000 * (time.perf_counter() - started)
        path = out / f"{number}_0.png"
        picture.save(path)
        print(json.dumps({"images": [f"file://{path.resolve()}"], "total_ms": total, "stages": stages.rows,
                          "peak_resident_bytes": peak_resident_bytes()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
