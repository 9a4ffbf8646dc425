"""Trains the embedded model: `train.py --stage vae --minutes 9`, then `--stage unet --minutes 50`, then `--stage export`.

`--stage decoder` sharpens the decoder alone; the latents stay what they are, so it may run beside or after the UNet.
Every stage resumes from --state after any interruption: start the same command again. --minutes is the stage's whole
budget of training time, over all its runs; its learning rates are planned to end with it.
"""
import argparse
import os
import warnings
from functools import partial
from pathlib import Path

# On a crowded machine waiting threads must not spin: with one thread and this, a step cost a twelfth of the processor time
# it cost with two spinning threads (the two changes were not measured apart). Set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "scenes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=["vae", "unet", "decoder", "export"], required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--state", type=Path, required=True, help="folder of resumable states")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder the model is exported to")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fp32", action="store_true", help="train without bfloat16 autocast")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    args.state.mkdir(parents=True, exist_ok=True)
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=not args.fp32)
    if args.stage == "vae":
        from train_vae import train_vae

        train_vae(args.state, args.minutes, args.seed, autocast)
    elif args.stage == "unet":
        from train_unet import train_unet

        train_unet(args.state, args.minutes, args.seed, autocast, args.model)
    elif args.stage == "decoder":
        from train_decoder import train_decoder

        train_decoder(args.state, args.minutes, args.seed, autocast)
    else:
        from export import export

        export(args.state, args.model)


if __name__ == "__main__":
    main()
