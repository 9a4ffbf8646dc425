"""Reads a picture of the world: ground, pattern, and each shape's colour, form, size and place.

The algorithm, with all its numbers in world.json, is kept plain enough to be written again elsewhere:
1. The ground is the ground colour whose two tones are nearest (squared RGB distance, among all tones and shape
   colours) to the most pixels.
2. Every pixel is labelled again among that ground's tones and the shape colours; shape-coloured pixels are the mask.
3. The pattern is the one whose tone map agrees with the most ground pixels (ties: the earlier in world.json).
4. Each 4-connected component of the mask of at least min_area pixels is an object. Its colour is its most frequent
   label; its place is the grid centre nearest to the centre of its bounding box.
5. Its form and size are those of the template (coverage of at least template_threshold at that place, shifted by up
   to max_shift pixels each way) with the highest intersection over union; below min_template_iou the form is unknown.
"""
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from world import COLORS, COLUMNS, GROUNDS, PATTERNS, ROWS, SHAPES, SIZES, WORLD, Scene, Shape, shape_mask, tone_map

READER = WORLD["reader"]
COLOR_VALUES = np.array(list(WORLD["colors"].values()), np.int64)
GROUND_VALUES = np.array(list(WORLD["grounds"].values()), np.int64).reshape(-1, 3)  # tone t of ground g is row 2g + t


@dataclass(frozen=True)
class Reading:
    scene: Scene
    mask: np.ndarray  # bool [64, 64], the pixels of all objects


def nearest(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    difference = picture[:, :, None, :].astype(np.int64) - palette
    return (difference**2).sum(-1).argmin(-1)


@lru_cache(maxsize=None)
def templates(row: str, column: str) -> list[tuple[str, str, np.ndarray]]:
    """All forms and sizes at one place with all shifts: (size, shape, bool [shifts, 64, 64])."""
    reach = range(-READER["max_shift"], READER["max_shift"] + 1)
    found = []
    for size in SIZES:
        for shape in SHAPES:
            mask = shape_mask(size, shape, row, column) >= READER["template_threshold"]
            found.append((size, shape, np.stack([np.roll(mask, (dy, dx), (0, 1)) for dy in reach for dx in reach])))
    return found


def read_object(component: np.ndarray, labels: np.ndarray) -> Shape:
    color = COLORS[np.bincount(labels[component], minlength=len(COLORS)).argmax()]
    ys, xs = np.nonzero(component)
    y, x = (ys.min() + ys.max() + 1) / 2, (xs.min() + xs.max() + 1) / 2
    row = min(ROWS, key=lambda r: abs(WORLD["rows"][r] - y))
    column = min(COLUMNS, key=lambda c: abs(WORLD["columns"][c] - x))
    best, size, shape = 0.0, "unknown", "unknown"
    for a_size, a_shape, masks in templates(row, column):
        both = (masks & component).sum((1, 2))
        either = (masks | component).sum((1, 2))
        overlap = (both / either).max()
        if overlap > best:
            best, size, shape = overlap, a_size, a_shape
    return Shape(size, color, shape if best >= READER["min_template_iou"] else "unknown", row, column)


def read(picture: np.ndarray) -> Reading:
    """picture: uint8 [64, 64, 3]. Shapes come in reading order of their places."""
    everything = nearest(picture, np.concatenate([GROUND_VALUES, COLOR_VALUES]))
    per_ground = np.bincount(everything[everything < len(GROUND_VALUES)] // 2, minlength=len(GROUNDS))
    ground = int(per_ground.argmax())
    labels = nearest(picture, np.concatenate([GROUND_VALUES[2 * ground : 2 * ground + 2], COLOR_VALUES]))
    mask = labels >= 2
    agreement = [((labels == tone_map(p)) & ~mask).sum() for p in PATTERNS]
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    objects = [components == i for i in range(1, count)]
    objects = [o for o in objects if o.sum() >= READER["min_area"]]
    shapes = [read_object(o, labels - 2) for o in objects]
    shapes.sort(key=lambda s: (ROWS.index(s.row), COLUMNS.index(s.column)))
    kept = np.any(objects, axis=0) if objects else np.zeros_like(mask)
    return Reading(Scene(tuple(shapes), PATTERNS[int(np.argmax(agreement))], GROUNDS[ground]), kept)


def shape_score(found: Scene, wanted: Scene) -> float:
    """Share of the wanted shapes that stand at their place with their colour and form."""
    seen = {(s.color, s.shape, s.row, s.column) for s in found.shapes}
    return float(np.mean([(s.color, s.shape, s.row, s.column) in seen for s in wanted.shapes]))


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
