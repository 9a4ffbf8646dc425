"""Writes lanczos.json: checksums of Pillow's Lanczos resize of seeded pictures, for tests/lanczos_test.cpp.

Needs Pillow 13.0, whose pass order is the one under test; the order of Pillow 12.3 and older (always horizontal first) is made
from it in two calls of one pass each. Run it as: python datasets/goldens/make_lanczos_goldens.py
"""
import json
import pathlib
import random
import zlib

import numpy
import PIL
from PIL import Image

assert PIL.__version__.startswith("13.0"), PIL.__version__


def picture(width, height, seed, kind):
    """Bytes of a 64-bit linear congruential generator (Knuth's MMIX constants), the test computes the same ones.

    "noise" takes its top byte, "edges" only the top bit of it (0 or 255), which drives the filter into clipping.
    """
    state, samples = seed, []
    for _ in range(width * height * 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        byte = state >> 56
        samples.append(byte if kind == "noise" else 255 * (byte >> 7))
    return Image.fromarray(numpy.array(samples, numpy.uint8).reshape(height, width, 3))


def checksum(image):
    return zlib.crc32(image.tobytes())


def main():
    draw = random.Random(20)
    sizes = [
        (1, 1, 1, 1), (1, 1, 9, 7), (9, 7, 1, 1), (1, 40, 1, 3), (40, 1, 3, 1), (2, 2, 64, 64), (64, 64, 2, 2),
        (31, 17, 31, 17), (31, 17, 31, 5), (31, 17, 31, 40), (31, 17, 7, 17), (31, 17, 60, 17),  # one axis unchanged
        (40, 90, 39, 30), (40, 90, 10, 30), (90, 40, 30, 39), (20, 90, 60, 20), (90, 20, 20, 60),  # around the order's switch
        (40, 60, 30, 40), (40, 61, 30, 40), (40, 60, 30, 39), (100, 3, 3, 100), (3, 100, 100, 3),
        (257, 129, 64, 64), (64, 64, 257, 129), (500, 10, 499, 9), (10, 500, 11, 499),
    ]
    sizes += [tuple(draw.randint(1, 120) for _ in range(4)) for _ in range(480)]
    rows = []
    for seed, (in_width, in_height, width, height) in enumerate(sizes, start=1):
        kind = "edges" if seed % 3 == 0 else "noise"
        source = picture(in_width, in_height, seed, kind)
        lanczos = Image.Resampling.LANCZOS
        pillow13 = source.resize((width, height), lanczos)
        pillow12 = source.resize((width, in_height), lanczos).resize((width, height), lanczos)
        rows.append({"from": [in_width, in_height], "to": [width, height], "seed": seed, "kind": kind,
                     "pillow13": checksum(pillow13), "pillow12": checksum(pillow12)})
    text = "[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n"
    pathlib.Path(__file__).with_name("lanczos.json").write_text(text)
    differing = sum(row["pillow13"] != row["pillow12"] for row in rows)
    print(f"{len(rows)} size pairs, {differing} of which depend on the pass order")


if __name__ == "__main__":
    main()
