"""Measures what the action promises on the exported model: `evaluate.py --seeds 32 [--sheet sheet.png] [--only NAME ...]`.

Prints one line per promise. A case is a drawn source and a prompt for a restyled scene of the same layout.
"""
import argparse
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reader import mask_iou, read, shape_score
from sampler import Sampler
from train import DEFAULT_MODEL
from world import COLORS, GROUNDS, PATTERNS, SHAPES, Scene, caption, draw, random_scene

GUIDANCES = (1.5, 4.0, 7.5)
IMAGE_GUIDANCES = (1.0, 1.5, 3.0, 6.0)
STRENGTHS = (0.3, 0.5, 0.6, 0.7, 0.8, 1.0)
STEPS = (5, 10, 20, 30)


def other(old: str, choices: list[str], rng: random.Random) -> str:
    return rng.choice([c for c in choices if c != old])


def edits(count: int, seed: int) -> tuple[list[Scene], list[Scene]]:
    """Sources, and targets of the same layout in which every colour, shape and ground differs."""
    rng = random.Random(seed)
    sources = [random_scene(rng) for _ in range(count)]
    targets = []
    for s in sources:
        shapes = tuple(replace(x, color=other(x.color, COLORS, rng), shape=other(x.shape, SHAPES, rng)) for x in s.shapes)
        targets.append(Scene(shapes, rng.choice(PATTERNS), other(s.ground, GROUNDS, rng)))
    return sources, targets


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2, axis=(1, 2, 3))).mean())


class Evaluation:
    def __init__(self, model: Path, count: int) -> None:
        self.sampler, self.count = Sampler(model), count
        self.sources, self.targets = edits(count, 1000)
        self.pictures = np.stack([draw(s) for s in self.sources])
        self.prompts = [caption(t) for t in self.targets]

    def generate(self, prompts: list[str] | None = None, **settings) -> np.ndarray:
        return self.sampler.generate(self.pictures, prompts or self.prompts, **settings)

    def guidance(self) -> str:
        """Higher guidance follows the prompt more strictly."""
        cells = []
        for g in GUIDANCES:
            found = [read(p).scene for p in self.generate(guidance_scale=g)]
            shapes = np.mean([shape_score(f, t) for f, t in zip(found, self.targets)])
            grounds = np.mean([f.ground == t.ground for f, t in zip(found, self.targets)])
            patterns = np.mean([f.pattern == t.pattern for f, t in zip(found, self.targets)])
            cells.append(f"{g}: {shapes:.1%} (ground {grounds:.0%}, pattern {patterns:.0%})")
        return "colour and shape by guidance   " + "   ".join(cells)

    def image_guidance(self) -> str:
        """Higher image guidance keeps the layout: first without places in the prompt, then with other places."""
        rng = random.Random(5)
        moved = []
        for t in self.targets:
            places = random_scene(rng, len(t.shapes)).shapes
            moved.append(caption(replace(t, shapes=tuple(replace(s, row=p.row, column=p.column)
                                                         for s, p in zip(t.shapes, places)))))
        lines = []
        masks = [read(p).mask for p in self.pictures]
        unplaced = [caption(t, frozenset({"place"})) for t in self.targets]
        for name, prompts in ("no places", unplaced), ("other places", moved):
            for g in (3.0, 7.5):
                cells = []
                for gi in IMAGE_GUIDANCES:
                    out = self.generate(prompts, guidance_scale=g, image_guidance_scale=gi)
                    cells.append(f"{gi}: {np.mean([mask_iou(read(p).mask, m) for p, m in zip(out, masks)]):.3f}")
                lines.append(f"mask IoU by image guidance ({name}, guidance {g})   " + "   ".join(cells))
        return "\n".join(lines)

    def strength(self) -> str:
        """Low strength keeps the source."""
        cells = [f"{s}: {rms(self.generate(strength=s), self.pictures):.1f}" for s in STRENGTHS]
        return "RMS to the source by strength   " + "   ".join(cells)

    def steps(self) -> str:
        """More steps come nearer to the 50-step picture."""
        lines = []
        for g in (3.0, 7.5):
            best = self.generate(steps=50, guidance_scale=g)
            cells = [f"{n}: {rms(self.generate(steps=n, guidance_scale=g), best):.1f}" for n in STEPS]
            lines.append(f"RMS to 50 steps by steps (guidance {g})   " + "   ".join(cells))
        return "\n".join(lines)

    def negative(self) -> str:
        """A colour named in the negative prompt appears less often; the sources hold it, the prompts name no colour."""
        rng = random.Random(6)
        cells = []
        for color in ("red", "blue"):
            sources = [replace(s, shapes=tuple(replace(x, color=color) for x in s.shapes)) for s in self.sources]
            pictures = np.stack([draw(s) for s in sources])
            prompts = [caption(replace(s, ground=rng.choice(GROUNDS)), frozenset({"color"})) for s in sources]
            shares = []
            for negative in "", color:
                out = self.sampler.generate(pictures, prompts, negatives=[negative] * self.count, guidance_scale=4.0)
                shares.append(np.mean([any(x.color == color for x in read(p).scene.shapes) for p in out]))
            cells.append(f"{color}: {shares[0]:.0%} without, {shares[1]:.0%} with")
        return "pictures with a colour, by negative prompt   " + "   ".join(cells)

    def second_prompt(self) -> str:
        """Colours said only in prompt_2 appear more often than when nobody says them."""
        less = [caption(t, frozenset({"color"})) for t in self.targets]
        cells = []
        for g in (3.0, 7.5):
            shares = []
            for second in less, self.prompts:
                out = self.generate(less, prompts_2=second, guidance_scale=g)
                shares.append(np.mean([shape_color_score(read(p).scene, t) for p, t in zip(out, self.targets)]))
            cells.append(f"guidance {g}: {shares[0]:.0%} without, {shares[1]:.0%} with")
        return "wanted colour in place, by prompt_2   " + "   ".join(cells)

    def sheet(self, path: Path) -> None:
        """Source, target, then the picture at each guidance, 16 columns."""
        rows = [self.pictures, np.stack([draw(t) for t in self.targets])]
        rows += [self.generate(guidance_scale=g) for g in GUIDANCES]
        image = Image.fromarray(np.concatenate([np.concatenate(list(r[:16]), 1) for r in rows], 0))
        image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.NEAREST).save(path)


def shape_color_score(found: Scene, wanted: Scene) -> float:
    seen = {(s.color, s.row, s.column) for s in found.shapes}
    return float(np.mean([(s.color, s.row, s.column) in seen for s in wanted.shapes]))


PROMISES = ("guidance", "image_guidance", "strength", "steps", "negative", "second_prompt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--only", nargs="*", choices=PROMISES, default=PROMISES)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    evaluation = Evaluation(args.model, args.seeds)
    for name in args.only:
        print(getattr(evaluation, name)(), flush=True)
    if args.sheet:
        evaluation.sheet(args.sheet)


if __name__ == "__main__":
    main()
