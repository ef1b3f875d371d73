#!/usr/bin/env python3
"""Tests of the two readers beside this file, and through them of docs/format.md and docs/numerics.md.

    python3 docs/examples/test_examples.py

DEMASK says how to start the command they are compared with (default: cargo run --release --quiet --).
"""

import hashlib
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
from exact_forward import Engine  # noqa: E402
from read_image import Image, Refused, align64, compare  # noqa: E402

DEMASK = os.environ.get("DEMASK", "cargo run --release --quiet --")
IMAGE = os.path.join(ROOT, "models", "intents-q4.dmk")
SOURCE = os.path.join(ROOT, "models", "intents", "model.safetensors")


def safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    kinds = {"F32": "<f4", "I32": "<i4", "BF16": "<u2"}

    def tensor(t):
        numbers = np.frombuffer(body[slice(*t["data_offsets"])], kinds[t["dtype"]]).reshape(t["shape"])
        # The upper half of an f32.
        return (numbers.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else numbers

    return {name: tensor(t) for name, t in header.items()}


def write_image(config, tensors):
    """An image from the numbers of CONFIG and a list of (role, layer, format, layout, rows, columns, bytes)."""
    table, weights = b"", b""
    for role, layer, code, layout, rows, columns, data in tensors:
        table += struct.pack("<HHBBHIIQQ", role, layer, code, layout, 0, rows, columns, len(weights), len(data))
        weights += data + bytes(align64(len(data)) - len(data))
    sections = [(1, struct.pack("<11I2f3I", *config)), (4, table), (5, weights)]
    offset, entries, body = 64 + 64 * len(sections), b"", b""
    for kind, data in sections:
        padded = data + bytes(align64(len(data)) - len(data))
        entries += struct.pack("<IIQQQ", kind, 0, offset + len(body), len(data), 0) + hashlib.sha256(padded).digest()
        body += padded
    header = b"\x89DMK\r\n\x1a\n" + struct.pack("<HHIQII", 1, 0, 0, offset + len(body), 0, len(sections))
    digest = hashlib.sha256(header + bytes(32) + entries).digest()
    return header + digest + entries + body


def random_image(seed):
    """A model of one layer with matrices of every packed format, q4k and q5 among them."""
    random = np.random.default_rng(seed)
    vocab, dim, q, kv, ffn = 77, 256, 128, 64, 512
    config = [1, vocab, dim, 1, 4, 2, 32, ffn, 64, 1, 0, 10000.0, 1e-5, 0, 0, 0]

    def norm(role, layer=0):
        return role, layer, 1, 0, 1, dim, random.uniform(0.7, 1.3, dim).astype("<f4").tobytes()

    def matrix(role, code, rows, columns):
        cells = -(-rows // 16) * (columns // 32)
        size = (3 / columns) ** 0.5
        scales = lambda largest, n: (random.uniform(-1, 1, n) * largest).astype("<f2").tobytes()
        if code == 3:
            data = random.integers(-127, 128, cells * 512, np.int8).tobytes() + scales(size / 127, cells * 16)
        else:
            data = random.integers(0, 256, cells * (320 if code == 6 else 256), np.uint8).tobytes()
            if code in (4, 6):
                data += scales(size / (8 if code == 4 else 16), cells * 16)
            else:
                for _ in range(cells // 8):
                    data += scales(size / 256, 16) + scales(size / 32, 16)
                    data += random.integers(0, 64, 256, np.uint8).tobytes()
        return role, 0, code, 1, rows, columns, data

    q8, q4, q4k, q5 = 3, 4, 5, 6
    return write_image(config, [
        matrix(1, q4k, vocab, dim), norm(2), matrix(3, q4k, q, dim), matrix(4, q4k, kv, dim),
        matrix(5, q8, kv, dim), matrix(6, q4, dim, q), norm(7), matrix(8, q4k, ffn, dim),
        matrix(9, q5, ffn, dim), matrix(10, q4k, dim, ffn), norm(11), matrix(12, q8, vocab, dim),
    ])


class Reader(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.chdir(ROOT)
        with open(IMAGE, "rb") as file:
            cls.data = file.read()
        cls.image = Image(cls.data)

    def test_agrees_with_inspect(self):
        self.assertEqual(compare(self.image.summary(), shlex.split(DEMASK), IMAGE), [])

    def test_every_layout_holds_the_same_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            q8 = os.path.join(folder, "q8.dmk")
            run = lambda *args: subprocess.run([*shlex.split(DEMASK), *args], check=True, capture_output=True)
            run("quantize", os.path.dirname(SOURCE), q8, "--type", "q8")
            for source in [IMAGE, q8]:
                with open(source, "rb") as file:
                    expected = Image(file.read())
                for processor in ["aarch64", "aarch64-i8mm", "cortex-m4", "cortex-m55", "rv32"]:
                    path = os.path.join(folder, processor)
                    run("pack", source, path, "--for", processor)
                    with open(path, "rb") as file:
                        packed = Image(file.read())
                    for name in packed.tensors:
                        same = np.array_equal(packed.weights(name), expected.weights(name))
                        self.assertTrue(same, f"{processor} {name}")

    def test_minima_in_every_layout(self):
        with tempfile.TemporaryDirectory() as folder:
            source, path = os.path.join(folder, "q4k.dmk"), os.path.join(folder, "packed.dmk")
            with open(source, "wb") as file:
                file.write(random_image(1))
            expected = Image(random_image(1))
            self.assertEqual(compare(expected.summary(), shlex.split(DEMASK), source), [])
            for processor in ["aarch64", "aarch64-i8mm", "cortex-m4", "cortex-m55", "rv32"]:
                command = [*shlex.split(DEMASK), "pack", source, path, "--for", processor]
                subprocess.run(command, check=True, capture_output=True)
                with open(path, "rb") as file:
                    packed = Image(file.read())
                for name in packed.tensors:
                    same = np.array_equal(packed.weights(name), expected.weights(name))
                    self.assertTrue(same, f"{processor} {name}")

    def test_units_that_are_not_finite_are_refused(self):
        good = Image(random_image(2))
        at = good.data.index(good.tensors["0.key"]["bytes"]) + 4 * 8 * 256
        for place in [at, at + 32, at + 62, at + 3 * 320 + 34]:
            data = bytearray(good.data)
            data[place : place + 2] = b"\0\x7c"
            damaged = Image.__new__(Image)
            damaged.data = bytes(data)
            damaged._header(), damaged._config(damaged._section(1))
            damaged._tensors(damaged._section(4), damaged._section(5))
            with self.assertRaisesRegex(Refused, "0.key: a scale is not finite"):
                damaged._values()

    def test_dequantized_weights_are_near_their_source(self):
        # Rounded to nearest. The bundled image is calibrated: its weights are not the nearest ones.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "nearest.dmk")
            command = [*shlex.split(DEMASK), "quantize", os.path.dirname(SOURCE), path, "--type", "q4"]
            subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
            with open(path, "rb") as file:
                image = Image(file.read())
        source = safetensors(SOURCE)
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "attention_output": "attn_out",
                 "gate": "ff_proj", "up": "up_proj", "down": "ff_out"}
        checked = 0
        for name, tensor in image.tensors.items():
            layer, _, role = name.rpartition(".")
            if role in names:
                original = source[f"model.transformer.blocks.{layer}.{names[role]}.weight"]
                bound = 0.10
            elif name == "embedding":
                original, bound = source["model.transformer.wte.weight"], 0.01
            else:
                continue
            error = image.weights(name) - original
            relative = np.sqrt((error**2).mean() / (original**2).mean())
            self.assertLess(relative, bound, name)
            checked += 1
        self.assertEqual(checked, 43)

    def test_every_changed_byte_is_refused(self):
        random = np.random.default_rng(1)
        places = [*range(384), *range(384, 448, 3), *random.integers(448, len(self.data), 60)]
        for place in places:
            damaged = bytearray(self.data)
            damaged[place] ^= 1 << int(random.integers(8))
            if 10 <= place < 12:
                continue  # any minor version is accepted; its digest is not, see below
            with self.assertRaises(Refused, msg=f"byte {place}"):
                Image(bytes(damaged))
        damaged = bytearray(self.data)
        damaged[10] = 1
        with self.assertRaisesRegex(Refused, "manifest digest"):
            Image(bytes(damaged))

    def test_cut_and_extended_files_are_refused(self):
        for data in (b"", self.data[:63], self.data[:-1], self.data[:1000], self.data + b"\0"):
            with self.assertRaises(Refused):
                Image(data)


class Numerics(unittest.TestCase):
    def test_numpy_gives_the_engines_bits_with_minima(self):
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(3):
                path, out = os.path.join(folder, "q4k.dmk"), os.path.join(folder, "logits.npy")
                data = random_image(seed)
                with open(path, "wb") as file:
                    file.write(data)
                canvas = [5, 1, 1, 40, 2, 1, 76, 1, 9]
                ids = ",".join(map(str, canvas))
                command = [*shlex.split(DEMASK), "logits", path, "--ids", ids, "--out", out]
                subprocess.run(command, check=True, cwd=ROOT)
                ours, theirs = Engine(Image(data)).logits(canvas), np.load(out)
                self.assertEqual(ours.shape, theirs.shape)
                self.assertEqual(np.count_nonzero(ours.view(np.uint32) != theirs.view(np.uint32)), 0)

    def test_numpy_gives_the_engines_bits(self):
        script = os.path.join(HERE, "exact_forward.py")
        command = [sys.executable, script, IMAGE, "--compare", "--threshold", "0.9", "--demask", DEMASK]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("logits: 0 of", done.stdout)


if __name__ == "__main__":
    unittest.main()
