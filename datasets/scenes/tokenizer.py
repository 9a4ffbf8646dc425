"""CLIP byte-level BPE files for the world's words: the full byte alphabet, and merges that make each word one token."""
import json
from pathlib import Path

from model import TEXT_LENGTH
from world import WORDS

START, END = "<|startoftext|>", "<|endoftext|>"


def byte_alphabet() -> list[str]:
    """The 256 printable characters that stand for bytes, in CLIP's order ("!" first)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def merges_for(words: list[str]) -> list[tuple[str, str]]:
    """Merges, in rank order, after which every word is one token.

    Each round adds the first pair of a word that is still in pieces under all the merges so far; a merge wanted by one
    word may also act inside another, so words are always re-read with the whole list.
    """
    merges: list[tuple[str, str]] = []
    while True:
        broken = [pieces for pieces in (apply_merges(w, merges) for w in words) if len(pieces) > 1]
        if not broken:
            return merges
        merges.append((broken[0][0], broken[0][1]))


def apply_merges(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Byte pair encoding: join the pair of lowest rank wherever it occurs, until none is left."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    rank = {pair: i for i, pair in enumerate(merges)}
    while len(pieces) > 1:
        best = min(zip(pieces, pieces[1:]), key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        joined, i = [], 0
        while i < len(pieces):
            pair = tuple(pieces[i : i + 2]) == best
            joined.append("".join(best) if pair else pieces[i])
            i += 2 if pair else 1
        pieces = joined
    return pieces


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    alphabet = byte_alphabet()
    merges = merges_for(WORDS)
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges] + [START, END]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path, pad: str) -> None:
    """One tokenizer folder as CLIPTokenizer reads it; `pad` is END for the first and "!" for the second, as in SDXL."""
    folder.mkdir(parents=True, exist_ok=True)
    ids, merges = vocabulary()
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(ids[t]): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                          "special": True}
            for t in sorted({START, END, pad}, key=ids.get)
        },
        **special,
        "do_lower_case": True,
        "model_max_length": TEXT_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2"] + [f"{a} {b}" for a, b in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


class WordTokenizer:
    """The same ids for captions made of known words, fast enough for training; the self-check below holds them equal."""

    def __init__(self) -> None:
        self.ids, _ = vocabulary()
        self.end = self.ids[END]

    def __call__(self, text: str, pad: int) -> list[int]:
        row = [self.ids[START]] + [self.ids[w + "</w>"] for w in text.split()] + [self.end]
        assert len(row) <= TEXT_LENGTH, text
        return row + [pad] * (TEXT_LENGTH - len(row))


def self_check(folder: Path) -> None:
    """CLIPTokenizer on the written files agrees with WordTokenizer, and spells unknown words in bytes."""
    from transformers import CLIPTokenizer

    words, text = WordTokenizer(), "a large red circle at top left on a striped gray ground"
    for name, pad in ("tokenizer", words.end), ("tokenizer_2", 0):
        loaded = CLIPTokenizer.from_pretrained(folder / name)
        read = loaded(text, padding="max_length", max_length=TEXT_LENGTH, truncation=True).input_ids
        assert read == words(text, pad), (name, read)
        assert len(loaded("zebra").input_ids) > 3
        assert loaded("").input_ids == [words.ids[START], words.end]
