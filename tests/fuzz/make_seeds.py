#!/usr/bin/env python3
"""Seeds and dictionaries for the fuzz targets, cut out of this repository's own files: make_seeds.py FOLDER"""
import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ROOT / "datasets"
MAX_JSON_BYTES = 3000
KEPT_TENSORS = 5
TEXTS = 300
WORDS = {
    "safetensors": ['"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"F64"', '"F32"', '"F16"', '"BF16"', '"I64"',
                    '"I32"', '"I16"', '"I8"', '"U8"', '"BOOL"', '"F8_E4M3"', '"F8_E5M2"', "[0,0]", "18446744073709551615"],
    "json": ["true", "false", "null", "NaN", "-Infinity", "1e400", "-0.0", "16777216", "18446744073709551615", '\\\\ud800'],
    "image": ["IHDR", "IDAT", "IEND", "PLTE", "tRNS", "eXIf", "Exif\\x00\\x00", "VP8X", "VP8 ", "VP8L", "ALPH", "EXIF", "ICCP",
              "II*\\x00", "MM\\x00*", "\\xff\\xd8", "\\xff\\xd9", "\\xff\\xda", "\\xff\\xc0", "\\xff\\xc2", "\\xff\\xe1"],
    "text": ["<|startoftext|>", "<|endoftext|>", "!", "'s", "'LL", "\\xcc\\x81", "\\xe2\\x80\\x8d", "\\xf0\\x9f\\x98\\x80", "\\xef\\xbb\\xbf"],
}


def cut_safetensors(path: Path) -> bytes:
    """The file with its smallest tensors alone."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8:8 + length])
    header.pop("__metadata__", None)
    smallest = sorted(header, key=lambda name: header[name]["data_offsets"][1] - header[name]["data_offsets"][0])
    kept, data = {}, b""
    for name in smallest[:KEPT_TENSORS]:
        begin, end = header[name]["data_offsets"]
        kept[name] = header[name] | {"data_offsets": [len(data), len(data) + end - begin]}
        data += whole[8 + length + begin:8 + length + end]
    text = json.dumps(kept, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def seeds() -> dict[str, list[bytes]]:
    models = [*DATASETS.glob("models/*"), *DATASETS.glob("goldens/models/*")]
    documents = [file.read_bytes() for model in models for file in sorted(model.rglob("*.json"))]
    requests = [file.read_bytes() for file in sorted((DATASETS / "requests").glob("*.json"))]
    pictures = json.loads((DATASETS / "goldens" / "source_images.json").read_text())
    texts = json.loads((DATASETS / "goldens" / "tokenizers.json").read_text())["strings"]
    return {
        "safetensors": [cut_safetensors(file) for model in models for file in sorted(model.rglob("*.safetensors"))],
        "json": [text for text in documents + requests if len(text) <= MAX_JSON_BYTES],
        "image": [base64.b64decode(picture["file"]) for picture in pictures.values()],
        "text": [text.encode("utf-8", "surrogatepass") for text in texts[:: len(texts) // TEXTS]],
    }


def main() -> None:
    folder = Path(sys.argv[1])
    for name, files in seeds().items():
        if not files:
            raise SystemExit(f"no seeds for {name}: the files that they are cut from have moved")
        (folder / name).mkdir(parents=True, exist_ok=True)
        for content in files:
            (folder / name / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        words = WORDS[name]
        if name == "json":
            keys = {key for text in files for key in json.loads(text)}
            words = words + [f'"{key}"' for key in sorted(keys)]
        escaped = [word.replace('"', '\\"') for word in words]
        (folder / f"{name}.dict").write_text("".join(f'"{word}"\n' for word in escaped))


if __name__ == "__main__":
    main()
