"""The drawn world: coloured shapes on coloured grounds, and captions that say all of it.

Every number (colours, sizes, centres) stands in world.json, which the evaluators read too. Shapes are drawn from
precomputed coverage masks, so a picture is one blend per shape and drawing never costs training time.
"""
import json
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

WORLD = json.loads((Path(__file__).parent / "world.json").read_text())
SIZE = WORLD["picture_size"]
SHAPES, COLORS, SIZES = WORLD["shapes"], list(WORLD["colors"]), list(WORLD["sizes"])
ROWS, COLUMNS = list(WORLD["rows"]), list(WORLD["columns"])
GROUNDS, PATTERNS = list(WORLD["grounds"]), WORLD["patterns"]
SUPERSAMPLING = 8


@dataclass(frozen=True)
class Shape:
    size: str
    color: str
    shape: str
    row: str
    column: str


@dataclass(frozen=True)
class Scene:
    shapes: tuple[Shape, ...]
    pattern: str
    ground: str


def inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in the shape of radius 1 about the origin; y points down."""
    g = WORLD["geometry"]
    r = np.hypot(x, y)
    if shape == "circle":
        return r <= 1
    if shape == "ring":
        return (r <= 1) & (r >= g["ring_inner_radius"])
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= g["square_half_side"]
    if shape == "cross":
        w = g["cross_half_width"]
        return (np.maximum(abs(x), abs(y)) <= 1) & (np.minimum(abs(x), abs(y)) <= w)
    if shape == "triangle":  # apex (0, -1), base from (-1, d) to (1, d)
        d = g["triangle_base_drop"]
        return (y <= d) & (abs(x) * (1 + d) <= y + 1)
    # Star of five points, one up: fold the plane into half a point, then test one edge (tip to inner corner).
    angle = np.mod(np.arctan2(x, -y), 2 * np.pi / 5)
    angle = np.minimum(angle, 2 * np.pi / 5 - angle)
    px, py = r * np.cos(angle), r * np.sin(angle)
    q = g["star_inner_radius"]
    cx, cy = q * np.cos(np.pi / 5), q * np.sin(np.pi / 5)
    return (px - 1) * cy - py * (cx - 1) <= 0


def coverage(shape: str, radius: float, cx: float, cy: float, size: int = SIZE) -> np.ndarray:
    """Share of every pixel, [size, size] in [0, 1], that the shape covers; pixel i spans [i, i + 1)."""
    n = size * SUPERSAMPLING
    at = (np.arange(n) + 0.5) / SUPERSAMPLING
    hit = inside(shape, (at[None, :] - cx) / radius, (at[:, None] - cy) / radius)
    return hit.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3)).astype(np.float32)


@lru_cache(maxsize=None)
def shape_mask(size: str, shape: str, row: str, column: str) -> np.ndarray:
    return coverage(shape, WORLD["sizes"][size], WORLD["columns"][column], WORLD["rows"][row])


@lru_cache(maxsize=None)
def tone_map(pattern: str) -> np.ndarray:
    """Which of a ground's two tones (0 or 1) each pixel has; a plain ground has only tone 0."""
    cell = np.arange(SIZE) // WORLD["pattern_period"]
    columns = np.broadcast_to(cell[None, :], (SIZE, SIZE))
    if pattern == "plain":
        return np.zeros((SIZE, SIZE), np.int64)
    return columns % 2 if pattern == "striped" else (columns + cell[:, None]) % 2


def draw(scene: Scene) -> np.ndarray:
    """The picture as uint8 [64, 64, 3]."""
    picture = np.array(WORLD["grounds"][scene.ground], np.float32)[tone_map(scene.pattern)]
    for s in scene.shapes:
        alpha = shape_mask(s.size, s.shape, s.row, s.column)[..., None]
        picture = picture * (1 - alpha) + np.array(WORLD["colors"][s.color], np.float32) * alpha
    return np.rint(picture).astype(np.uint8)


def random_scene(rng: random.Random, count: int | None = None) -> Scene:
    weights = WORLD["count_weights"]
    count = count or int(rng.choices(list(weights), list(weights.values()))[0])
    # Reading order of the places is the order of the caption, so a picture has exactly one full caption.
    cells = sorted(rng.sample(range(9), count))
    shapes = tuple(
        Shape(rng.choice(SIZES), rng.choice(COLORS), rng.choice(SHAPES), ROWS[c // 3], COLUMNS[c % 3]) for c in cells
    )
    return Scene(shapes, rng.choice(PATTERNS), rng.choice(GROUNDS))


def restyle(scene: Scene, rng: random.Random, keep: float = 0.25) -> Scene:
    """The same layout (number, places, sizes) with new shapes, colours and ground; each is kept with chance `keep`."""

    def pick(old, choices):
        return old if rng.random() < keep else rng.choice(choices)

    shapes = tuple(replace(s, color=pick(s.color, COLORS), shape=pick(s.shape, SHAPES)) for s in scene.shapes)
    return Scene(shapes, pick(scene.pattern, PATTERNS), pick(scene.ground, GROUNDS))


def caption(scene: Scene, without: frozenset[str] = frozenset()) -> str:
    """What the scene shows; `without` leaves out any of size, color, shape, place, pattern, ground."""
    parts = []
    for s in scene.shapes:
        words = ["a"]
        words += [] if "size" in without else [s.size]
        words += [] if "color" in without else [s.color]
        words += ["shape" if "shape" in without else s.shape]
        words += [] if "place" in without else ["at", s.row, s.column]
        parts.append(" ".join(words))
    text = " and ".join(parts)
    ground = ([] if "pattern" in without else [scene.pattern]) + ([] if "ground" in without else [scene.ground])
    return f"{text} on a {' '.join(ground)} ground" if ground else text


WORDS = (
    ["a", "at", "and", "on", "ground", "shape"] + SIZES + COLORS + SHAPES + ROWS + COLUMNS + PATTERNS + GROUNDS
)
