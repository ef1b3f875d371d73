#!/usr/bin/env python3
"""Reads a demask image: a second implementation of docs/format.md, written from that page alone.

    python3 docs/examples/read_image.py models/intents-q4.dmk                      # check and list
    python3 docs/examples/read_image.py models/intents-q4.dmk --tensor 0.query     # print weights
    python3 docs/examples/read_image.py models/intents-q4.dmk --compare            # with `demask inspect`

Needs Python 3.9 and numpy. Test: docs/examples/test_examples.py.
"""

import argparse
import hashlib
import json
import struct
import subprocess
import sys

import numpy as np

MAGIC = b"\x89DMK\r\n\x1a\n"
CONFIG, TOKENIZER, PROMPT, TENSORS, WEIGHTS, FILTER = 1, 2, 3, 4, 5, 256
SECTION_NAMES = {1: "CONFIG", 2: "TOKENIZER", 3: "PROMPT", 4: "TENSORS", 5: "WEIGHTS", 256: "FILTER"}
CONFIG_LIMITS = {
    "vocab_size": 1 << 20, "model_dim": 1 << 16, "layers": 1 << 10, "heads": 1 << 10,
    "kv_heads": 1 << 10, "head_dim": 1 << 10, "ffn_dim": 1 << 18, "context": 1 << 16,
}
FORMATS = {(1, 0): "f32", (2, 0): "f16"}
PACKED = {3: "q8", 4: "q4", 5: "q4k", 6: "q5"}
FORMATS |= {(code, layout): kind for code, kind in PACKED.items() for layout in range(1, 7)}
# Rows that a layout interleaves.
INTERLEAVED = {1: 16, 2: 4, 3: 4, 4: 2, 5: 2, 6: 2}
CELL_INTEGERS = {"q8": 512, "q4": 256, "q4k": 256, "q5": 320}
CELL_SCALES = {"q8": 32, "q4": 32, "q4k": 40, "q5": 32}
NORMS = ("attention_norm", "ffn_norm", "output_norm")


class Refused(Exception):
    """A rule of the format does not hold."""


def require(condition, problem):
    if not condition:
        raise Refused(problem)


def align64(n):
    return (n + 63) // 64 * 64


def words(data):
    return np.frombuffer(data, "<u4").astype(np.int64)


def unpack(kind, layout, cells):
    """Integers [..., rows, 32] of cells [..., bytes] in a layout."""
    r, c = np.mgrid[0 : INTERLEAVED[layout], 0:32]
    if kind == "q5":
        bit = 4 * (INTERLEAVED[layout] * (c // 4) + r) + c % 4
        fifth = cells[..., 16 * INTERLEAVED[layout] + bit // 8] >> bit % 8 & 1
        return unpack("q4", layout, cells) + (16 * fifth.astype(np.int8) - np.int8(8))
    half = c if kind == "q8" else c % 16
    if layout in (1, 2):
        at = 4 * INTERLEAVED[layout] * (half // 4) + 4 * r + half % 4
    elif layout == 3:
        at = (32 if kind == "q8" else 16) * 2 * (r // 2) + 16 * (half // 8) + 8 * (r % 2) + half % 8
    elif layout == 4 and kind == "q8":
        at = 4 * (2 * (c // 4) + r) + 2 * (c % 2)
        pair = (cells[..., at].astype(np.int16) | cells[..., at + 1].astype(np.int16) << 8).view(np.int16)
        low = (pair & 255).astype(np.uint8).view(np.int8)
        return np.where(c % 4 < 2, low, (pair - low) >> 8).astype(np.int8)
    elif layout == 4:
        at = 4 * (2 * (c // 8) + r) + 2 * (c % 2) + c % 8 // 4
        return signed(cells[..., at] >> 4 * (c % 8 // 2 % 2))
    elif layout == 5:
        at = (32 if kind == "q8" else 16) * r + half
    elif kind == "q8":
        at, shift = 32 * r + c // 2, 4 * (c % 2)
        upper, lower = cells[..., at] >> shift & 15, cells[..., at + 16] >> shift & 15
        return (16 * (upper.astype(np.int16) - 8) + lower).astype(np.int8)
    else:
        return (cells[..., 16 * r + c // 2] >> 4 * (c % 2) & 15).astype(np.int8) - np.int8(8)
    if kind == "q8":
        return cells[..., at].view(np.int8)
    nibbles = cells[..., at] >> 4 * (c // 16)
    return signed(nibbles) if layout != 1 else (nibbles & 15).astype(np.int8) - np.int8(8)


def signed(nibbles):
    return (nibbles << 4).astype(np.uint8).view(np.int8) >> 4


def affine(blocks):
    """Scales and minima [rows, groups] of super-blocks [blocks of 16 rows, super-blocks, 320 bytes]."""
    units = np.ascontiguousarray(blocks[..., :64]).view("<f2").astype(np.float32).reshape(*blocks.shape[:2], 2, 1, 16)
    factors = blocks[..., 64:].astype(np.float32).reshape(*blocks.shape[:2], 8, 2, 16)
    with np.errstate(invalid="ignore"):  # an infinity is found later
        both = units.transpose(0, 1, 3, 2, 4) * factors
    return both.transpose(3, 0, 4, 1, 2).reshape(2, len(blocks) * 16, -1)


class Image:
    """A checked image. `config`, `tokenizer`, `prompt`, `filter` are dictionaries; `tensors` maps names such
    as "0.query" to entries."""

    def __init__(self, data):
        self.data = data
        self._header()
        self._config(self._section(CONFIG))
        self.tokenizer = self.prompt = self.filter = None
        if TOKENIZER in self.sections:
            self._tokenizer(self._section(TOKENIZER))
        if PROMPT in self.sections:
            self._prompt(self._section(PROMPT))
        if FILTER in self.sections:
            self._filter(self._section(FILTER))
        self._tensors(self._section(TENSORS), self._section(WEIGHTS))
        self._digests()
        self._values()

    # The manifest

    def _header(self):
        data = self.data
        require(len(data) >= 64, "shorter than a header")
        require(data[:8] == MAGIC, "magic number")
        major, _minor, flags, total, counter, count = struct.unpack_from("<HHIQII", data, 8)
        require(major == 1, f"major version {major}")
        require(flags == 0, "header flags")
        require(total == len(data), f"length {len(data)}, header says {total}")
        require(1 <= count <= 64, "section count")
        self.security_counter = counter
        self.manifest_length = 64 + 64 * count
        require(self.manifest_length <= len(data), "section table does not fit")
        self.sections = {}
        expected, last = self.manifest_length, 0
        for i in range(count):
            kind, zero, offset, length, zero2 = struct.unpack_from("<IIQQQ", data, 64 + 64 * i)
            digest = data[64 + 64 * i + 32 : 64 + 64 * i + 64]
            require(kind > last, f"section {i}: kind does not ascend")
            require(kind in SECTION_NAMES or kind >= 256, f"section {i}: unknown kind {kind}")
            require(zero == 0 and zero2 == 0, f"section {i}: reserved field")
            require(offset == expected, f"section {i}: offset")
            expected, last = align64(offset + length), kind
            require(expected <= len(data), f"section {i}: length")
            self.sections[kind] = (offset, length, digest)
        require(expected == len(data), "sections do not end where the file ends")

    def _section(self, kind):
        require(kind in self.sections, f"no {SECTION_NAMES[kind]} section")
        offset, length, _ = self.sections[kind]
        return self.data[offset : offset + length]

    def _digests(self):
        manifest = bytearray(self.data[: self.manifest_length])
        stored = bytes(manifest[32:64])
        manifest[32:64] = bytes(32)
        require(hashlib.sha256(manifest).digest() == stored, "manifest digest")
        for kind, (offset, length, digest) in self.sections.items():
            padded = self.data[offset : align64(offset + length)]
            name = SECTION_NAMES.get(kind, kind)
            require(hashlib.sha256(padded).digest() == digest, f"digest of section {name}")

    # The small sections

    def _config(self, section):
        require(len(section) == 64, "CONFIG: length")
        fields = struct.unpack("<11I2f3I", section)
        names = ["architecture", *CONFIG_LIMITS, "mask_id", "eos_id", "rope_theta", "norm_eps", "flags"]
        c = dict(zip(names, fields))
        require(fields[14:] == (0, 0), "CONFIG: reserved words")
        require(c["architecture"] == 1, "CONFIG: architecture")
        require(c["flags"] & ~3 == 0, "CONFIG: flags")
        for name, limit in CONFIG_LIMITS.items():
            require(1 <= c[name] <= limit, f"CONFIG: {name}")
        require(c["head_dim"] % 2 == 0, "CONFIG: head_dim is odd")
        require(c["heads"] % c["kv_heads"] == 0, "CONFIG: kv_heads do not divide heads")
        require(c["heads"] * c["head_dim"] <= 1 << 16, "CONFIG: heads * head_dim")
        require(c["mask_id"] < c["vocab_size"], "CONFIG: mask_id")
        require(c["eos_id"] < c["vocab_size"] and c["eos_id"] != c["mask_id"], "CONFIG: eos_id")
        # Compared as the f32 numbers that they are; false for NaN.
        require(1.0 <= c["rope_theta"] <= np.float32(1e12), "CONFIG: rope_theta")
        require(np.float32(1e-12) <= c["norm_eps"] <= 1.0, "CONFIG: norm_eps")
        flags = c.pop("flags")
        c["tied_head"] = bool(flags & 1)
        c["rope_pairs"] = "adjacent" if flags & 2 else "half-split"
        self.config = c

    def _tokenizer(self, section):
        require(len(section) >= 32, "TOKENIZER: length")
        kind, pre, flags, size, merges, added, blob_length, whole = struct.unpack_from("<8I", section)
        require(kind == 1 and 1 <= pre <= 3 and flags & ~3 == 0, "TOKENIZER: header")
        counts = [8, 256, size + 1, 4 * merges, added, whole]
        table = 4 * sum(counts)
        require(len(section) == table + (blob_length + 3) // 4 * 4, "TOKENIZER: length")
        ends = np.cumsum(counts)
        parts = np.split(words(section[:table]), ends)
        _, byte_tokens, offsets, merge_words, added_words, whole_words, _ = parts
        blob, padding = section[table:][:blob_length], section[table:][blob_length:]
        require(not any(padding), "TOKENIZER: padding")
        require(offsets[0] == 0 and offsets[-1] == blob_length, "TOKENIZER: offsets")
        require((np.diff(offsets) >= 0).all(), "TOKENIZER: offsets fall")
        pieces = [bytes(blob[a:b]) for a, b in zip(offsets[:-1], offsets[1:])]

        def piece(token):
            require(token < size, f"TOKENIZER: id {token}")
            return pieces[token]

        for byte, token in enumerate(byte_tokens):
            require(token == 0xFFFFFFFF or piece(token) == bytes([byte]), "TOKENIZER: byte token")
        table = {}
        before = (-1, -1)
        for left, right, rank, merged in merge_words.reshape(-1, 4).tolist():
            require((left, right) > before, "TOKENIZER: merges do not ascend")
            before = (left, right)
            a, b = piece(left), piece(right)
            require(a and b and piece(merged) == a + b and rank < merges, "TOKENIZER: merge")
            table[before] = (rank, merged)
        added_ids = (added_words & 0x7FFFFFFF).astype(np.int64)
        require((np.diff(added_ids) > 0).all(), "TOKENIZER: added tokens do not ascend")
        for token in added_ids:
            require(piece(token), "TOKENIZER: empty added token")
            try:
                piece(token).decode()
            except UnicodeDecodeError as error:
                raise Refused("TOKENIZER: added token is not UTF-8") from error
        before = b""
        for token in whole_words:
            require(piece(token) > before, "TOKENIZER: whole words do not ascend")
            before = piece(token)
        self.tokenizer = {
            "pieces": pieces, "merges": table, "byte_tokens": byte_tokens.tolist(),
            "pre_tokenizer": pre, "added": added_ids.tolist(),
            "specials": added_ids[added_words < 1 << 31].tolist(),
            "whole_words": whole_words.tolist(),
            "add_prefix_space": bool(flags & 1), "nfc": bool(flags & 2),
        }

    def _prompt(self, section):
        require(len(section) >= 16, "PROMPT: length")
        prefix, suffix, flags, zero = struct.unpack_from("<4I", section)
        require(prefix <= 64 and suffix <= 64, "PROMPT: counts")
        require(flags & ~3 == 0 and zero == 0, "PROMPT: flags")
        require(len(section) == 16 + 4 * (prefix + suffix), "PROMPT: length")
        ids = words(section[16:]).tolist()
        require(all(i < self.config["vocab_size"] for i in ids), "PROMPT: id outside the vocabulary")
        self.prompt = {
            "prefix": ids[:prefix], "suffix": ids[prefix:],
            "leading_space": bool(flags & 1), "normal_form": bool(flags & 2),
        }

    def _filter(self, section):
        require(len(section) >= 16, "FILTER: length")
        kind, block, hidden, zero = struct.unpack_from("<4I", section)
        require(kind == 1 and zero == 0, "FILTER: header")
        require(1 <= block <= 1024 and 1 <= hidden <= 1024, "FILTER: widths")
        require(len(section) == 16 + 4 * (2 * block * hidden + hidden + block), "FILTER: length")
        numbers = np.frombuffer(section[16:], "<f4")
        require(np.isfinite(numbers).all(), "FILTER: a number is not finite")
        first, rest = np.split(numbers, [(block + 1) * hidden])
        self.filter = {
            "first": first[: block * hidden].reshape(hidden, block), "first_bias": first[block * hidden :],
            "second": rest[: block * hidden].reshape(block, hidden), "second_bias": rest[block * hidden :],
        }

    # The tensors

    def _expected_tensors(self):
        """(role, layer, name, rows, columns) in file order."""
        c = self.config
        d, f, v = c["model_dim"], c["ffn_dim"], c["vocab_size"]
        q, kv = c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"]
        per_layer = [
            ("attention_norm", 1, d), ("query", q, d), ("key", kv, d), ("value", kv, d),
            ("attention_output", d, q), ("ffn_norm", 1, d), ("gate", f, d), ("up", f, d), ("down", d, f),
        ]
        yield 1, 0, "embedding", v, d
        for layer in range(c["layers"]):
            for role, (name, rows, columns) in enumerate(per_layer, start=2):
                yield role, layer, f"{layer}.{name}", rows, columns
        yield 11, 0, "output_norm", 1, d
        if not c["tied_head"]:
            yield 12, 0, "head", v, d

    def _tensors(self, table, weights):
        self.tensors = {}
        expected_offset = at = 0
        layouts = set()
        for role, layer, name, rows, columns in self._expected_tensors():
            require(at + 32 <= len(table), f"tensor {name} is missing")
            entry = struct.unpack_from("<HHBBHIIQQ", table, at)
            at += 32
            require(entry[:2] == (role, layer), f"tensor {name}: another one is in its place")
            require(entry[4] == 0 and (entry[2], entry[3]) in FORMATS, f"tensor {name}: format")
            kind = FORMATS[entry[2], entry[3]]
            layouts |= {entry[3]} if kind in CELL_INTEGERS else set()
            require(len(layouts) <= 1, f"tensor {name}: packed in another layout than those before")
            is_norm = name.split(".")[-1] in NORMS
            require(kind == "f32" or not is_norm, f"tensor {name}: a norm is not f32")
            require(entry[5:7] == (rows, columns), f"tensor {name}: shape")
            offset, length = entry[7:]
            require(kind != "q4k" or columns % 256 == 0, f"tensor {name}: columns of q4k")
            cells = -(-rows // 16) * -(-columns // 32)
            stored = {"f32": rows * columns * 4, "f16": rows * columns * 2}
            size = stored.get(kind) or cells * (CELL_INTEGERS[kind] + CELL_SCALES[kind])
            require((offset, length) == (expected_offset, size), f"tensor {name}: offset or length")
            require(offset + length <= len(weights), f"tensor {name}: outside the section")
            expected_offset = align64(offset + length)
            self.tensors[name] = {
                "type": kind, "layout": entry[3], "rows": rows, "cols": columns,
                "bytes": weights[offset : offset + length],
            }
        require(at == len(table), "TENSORS: surplus entries")
        require(expected_offset == len(weights), "WEIGHTS: surplus bytes")

    def packed(self, name):
        """Integers [rows, columns], scales and minima [rows, groups] of a packed tensor, padding included.
        The integers of q4k are unsigned; minima of the others are None."""
        t = self.tensors[name]
        kind, layout, together = t["type"], t["layout"], INTERLEAVED[t["layout"]]
        sub_blocks, groups = -(-t["rows"] // 16) * (16 // together), -(-t["cols"] // 32)
        raw = np.frombuffer(t["bytes"], np.uint8)
        cell = CELL_INTEGERS[kind] * together // 16
        if layout == 1 or kind == "q4k":
            plane = sub_blocks * groups * cell
            integers, scales = raw[:plane], raw[plane:]
        else:
            cells = raw.reshape(-1, 2 * together + cell)
            integers, scales = cells[:, 2 * together :], cells[:, : 2 * together]
        integers = integers.reshape(sub_blocks, groups, cell)
        q = unpack("q4" if kind == "q4k" else kind, layout, integers).transpose(0, 2, 1, 3)
        rows = sub_blocks * together
        q = q.reshape(rows, groups * 32)
        if kind == "q4k":
            return q + 8, *affine(scales.reshape(rows // 16, groups // 8, 320))
        scales = np.ascontiguousarray(scales).view("<f2").reshape(sub_blocks, groups, together)
        return q, scales.transpose(0, 2, 1).reshape(rows, groups).astype(np.float32), None

    def weights(self, name):
        """A tensor as f32 [rows, columns]."""
        t = self.tensors[name]
        rows, cols = t["rows"], t["cols"]
        if t["type"] in ("f32", "f16"):
            kind = {"f32": "<f4", "f16": "<f2"}[t["type"]]
            return np.frombuffer(t["bytes"], kind).astype(np.float32).reshape(rows, cols)
        q, scales, minima = self.packed(name)
        weights = np.repeat(scales, 32, axis=1) * q.astype(np.float32)
        if minima is not None:
            weights = weights - np.repeat(minima, 32, axis=1)
        return weights[:rows, :cols]

    def _values(self):
        for name, t in self.tensors.items():
            if t["type"] in CELL_INTEGERS:
                q, *scales = self.packed(name)
                require(t["type"] != "q8" or (q != -128).all(), f"tensor {name}: a weight of -128")
                finite = all(np.isfinite(x).all() for x in scales if x is not None)
                require(finite, f"tensor {name}: a scale is not finite")
            else:
                require(np.isfinite(self.weights(name)).all(), f"tensor {name}: a weight is not finite")

    # As `demask inspect --json` prints it

    def summary(self):
        c = dict(self.config, architecture="llada")
        return dict(
            c,
            parameters=sum(t["rows"] * t["cols"] for t in self.tensors.values()),
            bytes=len(self.data),
            security_counter=self.security_counter,
            tensors=[
                {"name": name, "type": t["type"], "rows": t["rows"], "cols": t["cols"]}
                for name, t in self.tensors.items()
            ],
        )


def compare(ours, command, path):
    """Compares with what another program says about the image; returns the differences."""
    theirs = json.loads(subprocess.check_output([*command, "inspect", path, "--json"]))

    def same(a, b):
        if isinstance(a, float) or isinstance(b, float):
            return np.float32(a) == np.float32(b)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, dict):
            # Fields that only one program prints are not a difference.
            return all(same(a[k], b[k]) for k in a if k in b)
        return a == b

    missing = [k for k in ours if k not in theirs]
    return missing + [k for k in ours if k in theirs and not same(ours[k], theirs[k])]


def main():
    parser = argparse.ArgumentParser(description="Checks and shows a demask image.")
    parser.add_argument("image")
    parser.add_argument("--tensor", help="print a tensor's weights, such as 0.query")
    parser.add_argument("--row", type=int, default=0)
    parser.add_argument("--compare", action="store_true", help="with `demask inspect --json`")
    parser.add_argument("--demask", default="cargo run --release --quiet --", help="how to start demask")
    args = parser.parse_args()
    with open(args.image, "rb") as file:
        data = file.read()
    try:
        image = Image(data)
    except Refused as error:
        sys.exit(f"{args.image}: refused: {error}")
    if args.tensor:
        if args.tensor not in image.tensors:
            sys.exit(f"no tensor {args.tensor}")
        print(" ".join(f"{w:.6g}" for w in image.weights(args.tensor)[args.row]))
    elif args.compare:
        differences = compare(image.summary(), args.demask.split(), args.image)
        if differences:
            sys.exit(f"differs from `demask inspect`: {', '.join(differences)}")
        print(f"{args.image}: as `demask inspect` says")
    else:
        for kind, (offset, length, digest) in image.sections.items():
            name = SECTION_NAMES.get(kind, f"kind {kind}")
            print(f"{name:<10} at {offset:>8}  {length:>9} bytes  sha256 {digest.hex()[:16]}... right")
        print(json.dumps(image.config))
        for name, t in image.tensors.items():
            print(f"{name:<20} {t['type']}  {t['rows']:>6} x {t['cols']}")


if __name__ == "__main__":
    main()
