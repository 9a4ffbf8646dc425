"""Draws datasets/sources: pictures of the world with their captions, and for each a prompt that edits it."""
import json
import random
from pathlib import Path

from PIL import Image

from evaluate import edits
from world import caption, draw

FOLDER = Path(__file__).resolve().parent.parent / "sources"
COUNT = 8


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    sources, targets = edits(COUNT, seed=2026)
    entries = []
    for i, (source, target) in enumerate(zip(sources, targets)):
        name = f"scene_{i:02d}.png"
        Image.fromarray(draw(source)).save(FOLDER / name)
        entries.append({"file": name, "caption": caption(source), "edit_prompt": caption(target)})
    (FOLDER / "sources.json").write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
