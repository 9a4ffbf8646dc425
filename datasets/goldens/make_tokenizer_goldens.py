"""Token ids as transformers' CLIPTokenizer gives them, for strings made to be difficult.

Writes tokenizers/vocab.json and merges.txt (byte-pair merges learned here from the standard library's documentation),
tokenizers/whole/ (a small tokenizer as transformers 5 saves it) and tokenizers.json: the ways in which published folders
write their special tokens, the strings, and per way a 32-bit FNV-1a of the ids of each string. The first strings carry
their ids in full. Seeded: the same every time, for the Python in requirements.txt.
"""
import json
import random
import re
import shutil
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

HERE = Path(__file__).parent
START, END = "<|startoftext|>", "<|endoftext|>"
IN_FULL = 20


def byte_symbols() -> list[str]:
    """GPT-2's characters for bytes, in CLIP's order: printable bytes first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]


def learn_merges(text: str, count: int) -> list[tuple[str, str]]:
    words = Counter(re.findall(r"[a-z]+", text.lower()))
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, symbols in pieces.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for symbols in pieces.values():
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
                i += 1
    return merges


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    tokens = byte_symbols()
    tokens += [token + "</w>" for token in tokens] + [left + right for left, right in merges] + [START, END]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def with_flags(content: str, normalized: bool) -> dict:
    return dict(content=content, lstrip=False, normalized=normalized, rstrip=False, single_word=False)


def ways(vocab: dict[str, int]) -> dict[str, dict]:
    """tokenizer_config.json and special_tokens_map.json as they are found in the world."""
    plain = dict(bos_token=START, eos_token=END, unk_token=END)
    flagged = {key: with_flags(value, True) for key, value in plain.items()}
    typed = {key: dict(value, __type="AddedToken") for key, value in flagged.items()}
    common = dict(model_max_length=77, do_lower_case=True, tokenizer_class="CLIPTokenizer")

    def decoder(start_normalized: bool, end_normalized: bool) -> dict:
        return {"0": dict(with_flags("!", False), special=True),
                str(vocab[START]): dict(with_flags(START, start_normalized), special=True),
                str(vocab[END]): dict(with_flags(END, end_normalized), special=True)}

    return {
        "plain, pad end": dict(config=dict(common, **plain, pad_token=END), map=dict(plain, pad_token=END)),
        "plain, pad !": dict(config=dict(common, **plain, pad_token="!"), map=dict(plain, pad_token="!")),
        "as in sd15": dict(config=dict(common, **typed, pad_token=END), map=dict(flagged, pad_token=END)),
        "as in sd21": dict(config=dict(common, **typed, pad_token=END), map=dict(flagged, pad_token="!")),
        "as in sdxl's second": dict(
            config=dict(common, **plain, pad_token="!", added_tokens_decoder=decoder(True, True)),
            map=dict(flagged, pad_token="!")),
        "mixed decoder": dict(
            config=dict(common, **plain, pad_token="!", added_tokens_decoder=decoder(True, False)), map=None),
    }


def write_folder(folder: Path, way: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(HERE / "tokenizers" / name, folder / name)
    (folder / "tokenizer_config.json").write_text(json.dumps(way["config"]))
    if way["map"] is not None:
        (folder / "special_tokens_map.json").write_text(json.dumps(way["map"]))


HAND_MADE = [
    "", " ", "\t\n", "a", "A photo of a cat", "cat!!", "!", "!!!", "! !", "a!b", "cat ' 's", "it's we're I'll I'd I'm I've",
    "IT'S WE'RE", "'s", "''s", "!'s", "' s", "it\u2019s", "don't can't won't", "rock'n'roll", "'tis", "x'll'd've",
    START, END, "a" + START + "b", "x " + END + " cat", START.upper(), "a " + START.upper() + "!! b", END.upper() + "!",
    "<|startoftext|", "<|endoftext", "|endoftext|>", START + START, "<|<|endoftext|>|>", "<|StartOfText|>'s", "!<|ENDOFTEXT|>!",
    "caf\u00e9", "cafe\u0301", "\u212b", "A\u030a", "\u1e9b\u0323", "\ufb01n", "\u0130stanbul", "I\u0307", "\u03a3\u0391\u03a3",
    "\u1100\u1161\u11a8", "\uac01", "\u0958", "\u2126 \u212a", "1234", "3.14", "\u00bd \u00b2 \u2167 \u0663", "a1b2c3", "100%",
    "a\u00a0b", "a\u2003b", "a\u3000b", "a\u0085b", "a\u200bb", "a\ufeffb", "a\u180eb", "a\x1cb\x1fb", "a\x00b", "a\u2028b",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U00010400", "\U0001d504", "\u4f60\u597d\u4e16\u754c",
    "\u3053\u3093\u306b\u3061\u306f", "\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947", "\ue000", "\U0010ffff",
    "a" * 300, "ab" * 150, "word " * 100, "!" * 100, "1" * 100, "\u00e9" * 60, "x" * 76, "a b c " * 26 + "end",
    "highly detailed, 8k, artstation; (masterpiece:1.2) [bad] {x|y} <lora:foo:0.8>", "C:\\path\\file.txt", "https://a.b/c?d=e&f",
    "\r\n mixed \t spaces \u2009 here ", "ALL CAPS AND MiXeD", "na\u00efve r\u00e9sum\u00e9", "&lt;b&gt; &amp;", "#hashtag @user",
]


def strings(words: list[str]) -> list[str]:
    rng = random.Random(77)
    assigned = [c for c in map(chr, range(0x20000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    spaces = [" ", "  ", "\t", "\n", "\u00a0", "\u2002", "\u3000", "\u0085", "\u200b", ""]
    specials = [START, END, START.upper(), END.title(), "<|", "|>", "'s", "'LL", "'", "!", "!!", "?!", "...", "\u0301", "\u0308"]

    def word() -> str:
        text = rng.choice(words)
        return rng.choice([text, text, text.capitalize(), text.upper(), text + rng.choice(specials)])

    made = list(HAND_MADE)
    planes = [chr(c) for c in range(0x20000, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    for _ in range(3700):
        made.append(" ".join(word() for _ in range(rng.randint(1, 6))))
    for _ in range(2500):
        made.append("".join(rng.choice([word(), rng.choice(specials), rng.choice(spaces), rng.choice(assigned)])
                            for _ in range(rng.randint(2, 8))))
    for _ in range(2200):
        made.append("".join(rng.choice(assigned) for _ in range(rng.randint(1, 8))))
    for _ in range(1000):
        made.append("".join(chr(rng.randint(0, 0x24F)) for _ in range(rng.randint(1, 12))))
    for _ in range(300):  # the planes beyond the second, private use and tags among them
        made.append(word() + "".join(rng.choice(planes) for _ in range(rng.randint(1, 4))) + rng.choice(specials))
    for _ in range(60):  # up to 4,000 characters, most of them beyond what the encoder takes
        made.append("".join(rng.choice([word() + " ", rng.choice(specials), rng.choice(assigned)])
                            for _ in range(1000))[:rng.randint(200, 4000)])
    for _ in range(200):
        base, marks = rng.choice("aeiouAEIOUncs"), [chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 4))]
        made.append(base + "".join(marks) + rng.choice(spaces) + word())
    return made


def fnv32(ids: list[int]) -> str:
    value = 2166136261
    for byte in ",".join(map(str, ids)).encode():
        value = (value ^ byte) * 16777619 % 2**32
    return f"{value:08x}"


def ids_of(tokenizer: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    options = dict(padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    return [tokenizer(text, **options).input_ids for text in texts]


def main() -> None:
    folder = HERE / "tokenizers"
    folder.mkdir(exist_ok=True)
    documentation = " ".join(filter(None, (sys.modules[name].__doc__ for name in sorted(sys.stdlib_module_names)
                                           if name in sys.modules)))
    merges = learn_merges(documentation, 1200)
    vocab = vocabulary(merges)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False, separators=(",", ":")))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))

    texts = strings(re.findall(r"[A-Za-z]+", documentation)[:3000])
    result = {"strings": texts, "ways": {}}
    for name, way in ways(vocab).items():
        with tempfile.TemporaryDirectory() as temporary:
            write_folder(Path(temporary), way)
            ids = ids_of(CLIPTokenizer.from_pretrained(temporary), texts)
        result["ways"][name] = dict(way, ids=ids[:IN_FULL], fingerprints="".join(map(fnv32, ids)))

    small = merges[:40]
    whole = CLIPTokenizer(vocab=vocabulary(small), merges=small, pad_token="!", model_max_length=20)
    whole.save_pretrained(folder / "whole")
    stored = {"whole": folder / "whole"}
    scenes = HERE.parent / "models" / "scenes"
    stored.update({f"scenes/{name}": scenes / name for name in ("tokenizer", "tokenizer_2")})
    result["folders"] = {name: dict(fingerprints="".join(map(fnv32, ids_of(CLIPTokenizer.from_pretrained(path), texts))))
                         for name, path in stored.items()}
    path = HERE / "tokenizers.json"
    path.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")))
    print(f"{path.name}: {len(texts)} strings, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
