"""The cases on which `i2i promises` measures the action: drawn sources, edit prompts of the same layout, what they ask for.

Usage: make_promise_cases.py FOLDER writes NN.png and cases.json. Seeded; made again, the files are the same.
"""
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import cv2

from evaluate import edits
from world import GROUNDS, caption, draw

COUNT, SEED = 32, 1000
NAMED = "red"  # the colour that the negative prompt names


def main() -> None:
    folder = Path(sys.argv[1])
    rng = random.Random(6)
    rows = []
    for i, (source, target) in enumerate(zip(*edits(COUNT, SEED))):
        # A second source, all of one colour, and a prompt that names none: the colour is the negative prompt's to remove.
        single = replace(source, shapes=tuple(replace(s, color=NAMED) for s in source.shapes))
        cv2.imwrite(str(folder / f"{i:02}.png"), draw(source)[:, :, ::-1])
        cv2.imwrite(str(folder / f"{i:02}_{NAMED}.png"), draw(single)[:, :, ::-1])
        rows.append({
            "source": f"{i:02}.png",
            "source_in_one_color": f"{i:02}_{NAMED}.png",
            "prompt": caption(target),
            "prompt_without_color": caption(target, frozenset({"color"})),
            "prompt_without_place": caption(target, frozenset({"place"})),
            "prompt_for_negative": caption(replace(single, ground=rng.choice(GROUNDS)), frozenset({"color"})),
            "wanted": [[s.color, s.shape, s.row, s.column] for s in target.shapes],
        })
    (folder / "cases.json").write_text(json.dumps({"negative_prompt": NAMED, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
