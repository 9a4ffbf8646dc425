"""A small CLIP byte-level BPE tokenizer: real merges learned from the sentences below, CLIP's vocabulary order.

Writes the four files that a checkpoint's tokenizer folder holds. About 850 entries, so that a tiny text encoder
stays tiny and still sees words of one token, of several tokens and of single bytes.
"""

import collections
import json
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
NUM_MERGES = 340

CORPUS = """
a photo of a red cube on a green table, soft morning light
a portrait of an old sailor, oil painting, highly detailed
make the house look as if it were built of glass and snow
turn the blue circle into a yellow star on a striped ground
the quiet harbour at night with small boats and warm lanterns
two white cats sleeping beside a large wooden window
replace the mountains with dunes and add a stormy evening sky
a landscape drawn in pencil, sharp lines, careful shading
blurry, low quality, deformed, dark, noisy, text, watermark
a bowl of fresh fruit, bright colours, studio photograph
the girl with a paper umbrella walks through the rain
an empty street in summer, long shadows, wide angle
watercolour sketch of a river, a bridge and three towers
a small robot holding a flower, cinematic lighting
what a fine day it is, isn't it? they're sure we'll like it
"""


def byte_symbols() -> dict[int, str]:
    """GPT-2's map of the 256 bytes to printable characters, in the order that makes '!' entry 0."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {byte: chr(byte) for byte in printable}
    shifted = (byte for byte in range(256) if byte not in symbols)
    for offset, byte in enumerate(shifted):
        symbols[byte] = chr(256 + offset)
    return symbols


def learn_merges(corpus: str) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016): the most frequent pair first, ties in alphabetical order."""
    symbols = byte_symbols()
    words = collections.Counter()
    for word in corpus.replace(",", " ,").replace("?", " ?").replace("'", " '").split():
        pieces = [symbols[byte] for byte in word.encode()]
        pieces[-1] += "</w>"
        words[tuple(pieces)] += 1
    merges = []
    while len(merges) < NUM_MERGES:
        pairs = collections.Counter()
        for pieces, count in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += count
        if not pairs:
            raise ValueError(f"the corpus gives {len(merges)} merges, {NUM_MERGES} are wanted")
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = collections.Counter({merged(pieces, best): count for pieces, count in words.items()})
    return merges


def merged(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    position = 0
    while position < len(pieces):
        if pieces[position : position + 2] == pair:
            out.append(pair[0] + pair[1])
            position += 2
        else:
            out.append(pieces[position])
            position += 1
    return tuple(out)


def write_tokenizer(folder: Path, pad_token: str) -> dict[str, int]:
    """Writes vocab.json, merges.txt and the two configs; returns the vocabulary."""
    merges = learn_merges(CORPUS)
    singles = list(byte_symbols().values())
    entries = [*singles, *(s + "</w>" for s in singles), *(a + b for a, b in merges), START, END]
    vocab = {entry: index for index, entry in enumerate(entries)}
    if len(vocab) != len(entries):
        raise ValueError("two merges make the same entry")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad_token}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "add_prefix_space": False, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **special}, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    return vocab
