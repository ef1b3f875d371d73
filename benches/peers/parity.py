#!/usr/bin/env python3
"""Logits of demask against llama.cpp and a numpy forward pass, on random GGUF models; fails beyond a bound.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release -p demask-std
    python3 benches/peers/parity.py [--extra DIR]

The models, the numpy pass and the driver of llama.cpp are those of the folder `--oracle`
(make_gguf.py, numpy_forward.py, oracle.py); without it nothing is checked. Figures are scaled to logits of a
root mean square of 3.

    F32      at most 1e-4 from either, in any logit
    F16      at most 1e-4 from numpy; llama.cpp rounds activations to f16 as well, and is shown
    others   on average at most 0.05 from numpy, or as far as llama.cpp. It rounds activations, too, in other
             ways than demask (keys and values not at all, those of K-quants in groups of 256), so the
             roundings of both lie between the two; that difference, and llama.cpp's own from numpy, are
             shown, and how often the largest logit of a row is the same token

With `--extra`, the folder of a build of llama.cpp whose extra buffers (AMX, `repack`) work (see the head of
paired.py), the last column shows how often llama.cpp with and without them agrees with itself.
"""

import argparse
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXACT, MEAN = 1e-4, 0.05
# Name in ggml's list of file types.
K_QUANTS = {"q4_k": 14, "q6_k": 18}
TYPES = ["f32", "f16", "q8_0", "q4_0", *K_QUANTS]
# Sizes other than the presets of make_gguf.py, but for the first.
MODELS = [
    dict(layers=4, d=128, heads=4, kv=2, ffn=384, vocab=512, seed=1),
    dict(layers=3, d=256, heads=8, kv=4, ffn=512, vocab=1000, seed=7),
    dict(layers=2, d=256, heads=2, kv=1, ffn=768, vocab=777, seed=3),
    dict(layers=2, d=512, heads=8, kv=8, ffn=1024, vocab=2048, seed=11),
]
ROWS = [7, 64, 200, 33]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=pathlib.Path, default=ROOT.parent / "shared" / "oracle")
    parser.add_argument("--demask", type=pathlib.Path, default=ROOT / "target" / "release" / "demask")
    parser.add_argument("--extra", metavar="DIR", help="a build of llama.cpp whose extra buffers work")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--kernels", default="auto", help="of demask; the result does not depend on them")
    return parser.parse_args()


def run(command, env=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")


def quantize(source, to, kind):
    import llama_cpp as lc

    # Must outlive the call.
    quiet = lc.llama_log_callback(lambda level, text, user: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    parameters = lc.llama_model_quantize_default_params()
    parameters.ftype, parameters.pure, parameters.nthread = K_QUANTS[kind], True, 1
    if lc.llama_model_quantize(str(source).encode(), str(to).encode(), ctypes.byref(parameters)):
        sys.exit(f"llama.cpp cannot quantize {source} as {kind}")


class Files:
    """The files of one model, made when they are asked for."""

    def __init__(self, folder, oracle, arch, sizes):
        self.folder, self.oracle, self.arch, self.sizes = folder, oracle, arch, sizes

    def path(self, kind):
        path = self.folder / f"{self.arch}-s{self.sizes['seed']}-{kind}.gguf"
        if path.exists():
            return path
        if kind in K_QUANTS:
            quantize(self.path("f32"), path, kind)
            return path
        options = [f"--{key}={value}" for key, value in self.sizes.items()]
        make = self.oracle / "make_gguf.py"
        run([sys.executable, make, "--arch", self.arch, "--type", kind, *options, "-o", path])
        return path


class Sides:
    """Who computes logits."""

    def __init__(self, args, folder):
        self.args, self.out = args, folder / "logits.npy"

    def demask(self, path, ids):
        kernels = ["--kernels", self.args.kernels]
        run([self.args.demask, "logits", path, "--ids", ids, "--out", self.out, *kernels])
        return np.load(self.out)

    def llama(self, path, ids, extra=False):
        env = dict(os.environ, OMP_NUM_THREADS="1")
        if extra:
            env["PYTHONPATH"] = self.args.extra
        options = ["--extra-bufts"] if extra else []
        run([sys.executable, self.args.oracle / "oracle.py", path, ids, "-o", self.out, *options], env)
        return np.load(self.out)

    def numpy(self, path, ids):
        sys.path.insert(0, str(self.args.oracle))
        import numpy_forward

        return numpy_forward.Model(path).forward([int(i) for i in ids.split(",")])


def difference(a, b):
    """(largest, mean) difference at a root mean square of 3, and the rows with the same largest logit."""
    scale = 3 / np.sqrt(np.mean(np.square(b)))
    apart = np.abs(a - b) * scale
    return apart.max(), apart.mean(), np.mean(a.argmax(-1) == b.argmax(-1))


def check(sides, files, kind, ids):
    """A line of the table, and whether all bounds hold."""
    path = files.path(kind)
    ours, llama, exact = sides.demask(path, ids), sides.llama(path, ids), sides.numpy(path, ids)
    largest, mean, agree = difference(ours, llama)
    to_exact, mean_to_exact, top = difference(ours, exact)
    _, their_mean, their_top = difference(llama, exact)
    match kind:
        case "f32":
            good = max(largest, to_exact) <= EXACT
        case "f16":
            good = to_exact <= EXACT
        case _:
            good = mean_to_exact <= max(MEAN, their_mean)
    itself = "-"
    if sides.args.extra and kind not in ("f32", "f16"):
        itself = f"{difference(sides.llama(path, ids, extra=True), llama)[2]:.3f}"
    figures = [f"{x:.1e}" for x in (largest, mean, to_exact, mean_to_exact, their_mean)]
    tops = [f"{x:.3f}" for x in (agree, top, their_top)]
    return [*figures, *tops, itself, "ok" if good else "BROKEN"], good


def main():
    args = arguments()
    if not args.oracle.is_dir():
        print(f"SKIPPED: no {args.oracle}, nothing was compared", file=sys.stderr)
        return
    if not args.demask.exists():
        sys.exit(f"no {args.demask}: run `cargo build --release -p demask-std` first")
    head = ["model", "type", "rows", "to llama.cpp, largest", "mean", "to numpy, largest", "mean"]
    head += ["llama.cpp to numpy, mean", "same top as llama.cpp", "as numpy", "llama.cpp as numpy", "as itself", ""]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sides = Sides(args, folder)
        for arch in ("llada", "dream"):
            for sizes, rows in zip(MODELS, ROWS):
                if arch == "llada":
                    sizes = {**sizes, "kv": sizes["heads"]}
                files = Files(folder, args.oracle, arch, sizes)
                random = np.random.default_rng(sizes["seed"])
                ids = ",".join(map(str, random.integers(0, sizes["vocab"], rows)))
                for kind in args.types.split(","):
                    if kind in K_QUANTS and sizes["d"] % 256:
                        continue  # rows of whole super-blocks only
                    cells, good = check(sides, files, kind, ids)
                    bad += not good
                    name = f"{arch} d {sizes['d']}, {sizes['heads']}/{sizes['kv']} heads, {sizes['vocab']} ids"
                    print("| " + " | ".join([name, kind, str(rows), *cells]) + " |", flush=True)
    if bad:
        sys.exit(f"{bad} bounds are broken")


if __name__ == "__main__":
    main()
