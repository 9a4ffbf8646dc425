"""Makes CLIP's tokenizer folders of the byte-pair merges that OpenAI published (as the clip-anytorch package has them).

Single-file checkpoints hold no tokenizer; these are the two that they were trained with, which differ in their padding.
The vocabulary is 256 bytes, the same with a word's end, 48,894 merges and two marks: 49,408 entries. The published list
of merges is longer; CLIP uses its head (Radford et al. 2021).
Usage: make_clip_tokenizers.py bpe_simple_vocab_16e6.txt.gz OUTPUT_FOLDER
"""

import gzip
import json
import sys
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
ENTRIES = 49408


def byte_symbols():
    """GPT-2's printable characters for the 256 bytes, in CLIP's order: those that stand for themselves first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def main():
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    symbols = byte_symbols()
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")
    merges = lines[1 : ENTRIES - 2 * len(symbols) - 2 + 1]  # the first line is a title
    entries = [*symbols, *(s + "</w>" for s in symbols), *("".join(merge.split()) for merge in merges), START, END]
    vocab = {entry: index for index, entry in enumerate(entries)}
    if len(vocab) != ENTRIES:
        raise ValueError(f"{len(vocab)} entries, CLIP has {ENTRIES}")

    def token(content):
        return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    for folder, pad in ((target / "pad_end", END), (target / "pad_exclamation_mark", "!")):
        folder.mkdir(parents=True, exist_ok=True)
        special = {"bos_token": token(START), "eos_token": token(END), "unk_token": token(END), "pad_token": pad}
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
        (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


if __name__ == "__main__":
    main()
