"""Pictures of the world, clean and spoilt, with what reader.py reads in them: the C++ reader must read the same.

Usage: make_reader_goldens.py FOLDER writes scene_readings.png (one column of pictures) and scene_readings.json.
"""
import json
import random
import sys
from pathlib import Path

import cv2
import numpy as np

from reader import read
from world import draw, random_scene

COUNT = 60


def spoil(picture: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
    """0: as drawn; 1: noise; 2: blurred; 3: noise, washed out and moved by a pixel."""
    if kind == 2:
        return cv2.GaussianBlur(picture, (0, 0), 1.0)
    value = picture.astype(float)
    if kind in (1, 3):
        value += rng.normal(0, 22, picture.shape)
    if kind == 3:
        value = np.roll(value * 0.85 + 20, 1, axis=1)
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)


def main() -> None:
    rng, noise = random.Random(77), np.random.default_rng(77)
    pictures, readings = [], []
    for i in range(COUNT):
        picture = spoil(draw(random_scene(rng)), i % 4, noise)
        found = read(picture)
        pictures.append(picture)
        readings.append({"ground": found.scene.ground, "pattern": found.scene.pattern, "mask_pixels": int(found.mask.sum()),
                         "shapes": [[s.size, s.color, s.shape, s.row, s.column] for s in found.scene.shapes]})
    folder = Path(sys.argv[1])
    cv2.imwrite(str(folder / "scene_readings.png"), np.concatenate(pictures)[:, :, ::-1])
    (folder / "scene_readings.json").write_text(json.dumps(readings, indent=0) + "\n")


if __name__ == "__main__":
    main()
