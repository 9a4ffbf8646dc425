"""Self-check of the reader: it must be right on drawn pictures, and must refuse wrong captions."""
import random
from dataclasses import replace

import cv2
import numpy as np

from reader import read, shape_score
from world import COLORS, GROUNDS, SHAPES, draw, random_scene


def disturbed(picture: np.ndarray, noise: np.random.Generator, blur: float, sigma: float) -> np.ndarray:
    soft = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
    return np.clip(soft + noise.normal(0, sigma, soft.shape), 0, 255).astype(np.uint8) if sigma else soft


def main(count: int = 500) -> None:
    for name, blur, sigma, least in ("clean", 0, 0, 0.99), ("noise 8", 0, 8, 0.97), ("blur 0.6, noise 4", 0.6, 4, 0.95):
        rng, noise = random.Random(3), np.random.default_rng(3)
        exact = 0
        for _ in range(count):
            scene = random_scene(rng)
            exact += read(disturbed(draw(scene), noise, blur, sigma)).scene == scene
        print(f"{name}: {exact} of {count} read without any mistake")
        assert exact >= least * count, name
    planted = 0
    rng = random.Random(4)
    for _ in range(count):
        scene = random_scene(rng)
        found = read(draw(scene)).scene
        one = scene.shapes[0]
        other = rng.choice([c for c in COLORS if c != one.color])
        form = rng.choice([s for s in SHAPES if s != one.shape])
        for wrong in replace(one, color=other), replace(one, shape=form):
            planted += shape_score(found, replace(scene, shapes=(wrong, *scene.shapes[1:]))) < 1
        planted += found != replace(scene, ground=rng.choice([g for g in GROUNDS if g != scene.ground]))
    print(f"{planted} of {3 * count} planted faults seen")
    assert planted == 3 * count


if __name__ == "__main__":
    main()
