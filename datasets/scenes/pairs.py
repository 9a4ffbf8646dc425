"""What the UNet learns from: groups of pictures that share a layout, and captions that sometimes leave something out."""
import random

import numpy as np
import torch

from world import Scene, caption, draw, random_scene, restyle

VARIANTS = 4
# How often a caption that leaves something out leaves out each attribute.
OMISSIONS = {"color": 4, "place": 4, "ground": 3, "shape": 2, "size": 2}


def scene_groups(count: int, seed: int) -> list[Scene]:
    """`count` layouts, VARIANTS scenes each; scene i belongs to layout i // VARIANTS."""
    rng = random.Random(seed)
    scenes = []
    for _ in range(count):
        scene = random_scene(rng)
        scenes += [scene] + [restyle(scene, rng) for _ in range(VARIANTS - 1)]
    return scenes


@torch.no_grad()
def encode_scenes(vae, scenes: list[Scene]) -> torch.Tensor:
    """Posterior means, unscaled as the pipeline gives them to the UNet: float32 [n, 4, 16, 16]."""
    means = []
    for i in range(0, len(scenes), 100):
        pictures = torch.from_numpy(np.stack([draw(s) for s in scenes[i : i + 100]]))
        means.append(vae.encode(pictures.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean)
    return torch.cat(means)


def source_of(target: int, count: int, rng: random.Random) -> int:
    """The picture to edit: mostly the same layout; sometimes an unrelated one, so that text can move things."""
    if rng.random() < 0.1:
        return rng.randrange(count)
    return target // VARIANTS * VARIANTS + rng.randrange(VARIANTS)


def omission(rng: random.Random) -> frozenset[str]:
    names = rng.choices(list(OMISSIONS), list(OMISSIONS.values()), k=rng.choice((1, 1, 2)))
    return frozenset(names + ["pattern"] if "ground" in names else names)


def fragment(scene: Scene, rng: random.Random) -> str:
    """A word or phrase that is true of the scene, like those a negative prompt is made of."""
    s = rng.choice(scene.shapes)
    return rng.choice((
        f"a {s.color} {s.shape}", f"a {s.color} shape", s.color, s.color, f"a {s.shape}", s.shape, s.size,
        f"{scene.ground} ground", f"a {scene.pattern} {scene.ground} ground", scene.pattern,
    ))


def caption_pair(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """Texts for the two encoders: mostly both full; else one knows less, both know less, or a fragment."""
    full, u = caption(scene), rng.random()
    if u < 0.5:
        return full, full
    if u < 0.72:  # what one leaves out the other says, so that each is listened to
        less = "" if rng.random() < 0.1 else caption(scene, omission(rng))
        return (less, full) if rng.random() < 0.7 else (full, less)
    less = caption(scene, omission(rng)) if u < 0.9 else fragment(scene, rng)
    return less, less
