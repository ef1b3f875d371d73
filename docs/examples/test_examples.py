#!/usr/bin/env python3
"""Tests of the two readers beside this file, and through them of docs/format.md and docs/numerics.md.

    python3 docs/examples/test_examples.py

DEMASK says how to start the command they are compared with (default: cargo run --release --quiet --).
"""

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
from read_image import Image, Refused, compare  # noqa: E402

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
    kinds = {"F32": "<f4", "I32": "<i4"}
    return {
        name: np.frombuffer(body[slice(*t["data_offsets"])], kinds[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }


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

    def test_dequantized_weights_are_near_their_source(self):
        source = safetensors(SOURCE)
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "attention_output": "attn_out",
                 "gate": "ff_proj", "up": "up_proj", "down": "ff_out"}
        checked = 0
        for name, tensor in self.image.tensors.items():
            layer, _, role = name.rpartition(".")
            if role in names:
                original = source[f"model.transformer.blocks.{layer}.{names[role]}.weight"]
                bound = 0.10
            elif name == "embedding":
                original, bound = source["model.transformer.wte.weight"], 0.01
            else:
                continue
            error = self.image.weights(name) - original
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
    def test_numpy_gives_the_engines_bits(self):
        script = os.path.join(HERE, "exact_forward.py")
        command = [sys.executable, script, IMAGE, "--compare", "--threshold", "0.9", "--demask", DEMASK]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("logits: 0 of", done.stdout)


if __name__ == "__main__":
    unittest.main()
