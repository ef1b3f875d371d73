"""Trains small tokenizers of each kind with the Python package and encodes 10 000 lines with them.

    make.py OUT TEXT...

OUT/KIND.json is the tokenizer, OUT/KIND.jsonl has a line of JSON per text: [text, ids with special
tokens found, ids with special tokens read as text]. TEXT are files to take lines from.
"""

import json
import random
import sys
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLADA = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
PATTERNS = {"gpt2": None, "qwen2": CL100K % "", "llama3": CL100K % "{1,3}", "llada": LLADA}
LINES = 10_000
SCRAPS = (
    "don't WE'LL 'ſ it'S ’s '' def f(x): return x**2 {\"a\":[1,2]} <|im_start|> <|im_end|> <think> "
    "<|im_end naïve Zoë Straße İstanbul Ǆ ﬁn ﬆ Привет мир Ελλάδα שלום مرحبا ١٢٣ हिन्दी ไทย 한국어 日本語 漢字，。 "
    "e\u0301 o\u031b\u0323 a\u0308\u0323\u0338 \u1112\u1161\u11ab \u212a\u212b \U0002f800 👍🏽 👩‍👩‍👧 🇩🇪 ☃ ½ ² Ⅷ "
    "3.14159 1,000,000 20261126 1e-9 0x7f :: -> != /* */ #!/bin/sh http://x.y/z?q=1&r=%20 --- ... _a_b"
).split(" ")
SPACES = [" "] * 8 + ["", "", "  ", "   ", "\n", "\n\n", "\r\n", " \r\n \n", "\r", "\t", "\t\t", "\u00a0",
          "\u0085", "\u2003", "\u3000", "\u200b", "\ufeff", "\u1680 ", "\u2028", "\x1c", "\x0b"]


def character(rng):
    """Any character below the surrogates that every Unicode table knows; marks from U+0800 on are left
    out, because the normalizer's tables are those of Unicode 12."""
    while True:
        c = chr(rng.randrange(0x20, 0x3000))
        if c < "\u0800" or not (unicodedata.combining(c) or unicodedata.category(c) == "Cn"):
            return c


def mixed(rng):
    parts = []
    for _ in range(rng.randrange(1, 16)):
        kind = rng.randrange(8)
        if kind == 0:
            parts.append("".join(character(rng) for _ in range(rng.randrange(1, 4))))
        else:
            parts.append(rng.choice(SCRAPS))
        parts.append(rng.choice(SPACES))
    return "".join(parts)


def texts(files):
    rng = random.Random(4)
    real = [line for file in files for line in Path(file).read_text("utf-8").splitlines(True)]
    rng.shuffle(real)
    # Two lines at a time, so that line ends stand within a text.
    real = ["".join(real[i : i + 2]) for i in range(0, min(len(real), LINES), 2)]
    return real + [mixed(rng) for _ in range(LINES - len(real))]


def train(kind, lines):
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
    if kind == "gpt2":
        tokenizer.pre_tokenizer = byte_level
    else:
        split = pre_tokenizers.Split(Regex(PATTERNS[kind]), behavior="isolated", invert=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(lines, trainer)
    special = [AddedToken(t, normalized=False, special=True) for t in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    return tokenizer


def main():
    out, files = Path(sys.argv[1]), sys.argv[2:]
    lines = texts(files)
    for kind in PATTERNS:
        tokenizer = train(kind, lines)
        tokenizer.save(str(out / f"{kind}.json"))
        tokenizer.encode_special_tokens = False
        found = [encoding.ids for encoding in tokenizer.encode_batch(lines)]
        tokenizer.encode_special_tokens = True
        plain = [encoding.ids for encoding in tokenizer.encode_batch(lines)]
        with open(out / f"{kind}.jsonl", "w", encoding="utf-8") as file:
            for row in zip(lines, found, plain):
                file.write(json.dumps(row) + "\n")


main()
