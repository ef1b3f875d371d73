#!/usr/bin/env python3
"""Logits of demask against llama.cpp and a numpy forward pass, on random GGUF models; fails beyond a bound.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release -p demask-std
    python3 benches/peers/parity.py [--extra DIR]

    python3 benches/peers/parity.py --types q8_0,q4_0,q4_k,q6_k --seeds 4 --rows 256 --extra DIR    # thousands of rows

The models, the numpy pass and the driver of llama.cpp are those of the folder `--oracle`
(make_gguf.py, numpy_forward.py, oracle.py); without it nothing is checked. Figures are scaled to logits of a
root mean square of 3.

It fails beyond these bounds:

    F32      at most 1e-4 from either, in any logit of any model
    F16      at most 1e-4 from numpy; llama.cpp rounds activations to f16 as well, and is shown
    others   over all models of a type on average at most 0.05 from numpy, and the same largest logit as numpy
             in no fewer rows than llama.cpp, within two standard errors

Two aims are reported as met, missed or undecided (too few rows), and do not fail it: at most 0.05 from llama.cpp on average, and its
largest logit as often as llama.cpp has its own again. llama.cpp rounds activations to 8 bits as demask does,
but keys and values to 16, and those of K-quants in groups of 256: what it loses itself ("llama.cpp to numpy")
lies between it and an engine without any rounding, too. roundings.py takes the difference apart.

"Its own again" needs `--extra`, the folder of a build of llama.cpp whose extra buffers (AMX, `repack`) work
(see the head of paired.py). Rows of one model are not independent; standard errors are those of models.
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


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=pathlib.Path, default=ROOT.parent / "shared" / "oracle")
    parser.add_argument("--demask", type=pathlib.Path, default=ROOT / "target" / "release" / "demask")
    parser.add_argument("--extra", metavar="DIR", help="a build of llama.cpp whose extra buffers work")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--seeds", type=int, default=1, help="models of each size")
    parser.add_argument("--rows", type=int, help="of each model, up to 512 [default: some of each]")
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

    def delete(self):
        for path in self.folder.glob("*.gguf"):
            path.unlink()


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


# What is measured of a model: names of the columns, and how they are printed.
COLUMNS = {
    "to llama.cpp, largest": "{:.1e}",
    "mean": "{:.1e}",
    "to numpy, largest": "{:.1e}",
    "mean to numpy": "{:.1e}",
    "llama.cpp to numpy, mean": "{:.1e}",
    "same top as llama.cpp": "{:.3f}",
    "as numpy": "{:.3f}",
    "llama.cpp as numpy": "{:.3f}",
    "to itself, mean": "{:.1e}",
    "as itself": "{:.3f}",
}


def measure(sides, path, ids, extra):
    """The values of `COLUMNS`; the last two are NaN without `extra`."""
    ours, llama, exact = sides.demask(path, ids), sides.llama(path, ids), sides.numpy(path, ids)
    largest, mean, agree = difference(ours, llama)
    to_exact, mean_to_exact, top = difference(ours, exact)
    _, their_mean, their_top = difference(llama, exact)
    own_mean = own_top = np.nan
    if extra:
        _, own_mean, own_top = difference(sides.llama(path, ids, extra=True), llama)
    return [largest, mean, to_exact, mean_to_exact, their_mean, agree, top, their_top, own_mean, own_top]


def is_float(kind):
    return kind in ("f32", "f16")


def within(kind, figures):
    """Whether a model of floats keeps its bound."""
    largest, _, to_exact, *_ = figures
    return to_exact <= EXACT and (kind == "f16" or largest <= EXACT)


def line(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def heading(cells):
    line(cells)
    print("| --- " * len(cells) + "|")


def models(args):
    """(architecture, sizes, ids) of every model."""
    for arch in ("llada", "dream"):
        for sizes, rows in zip(MODELS, ROWS):
            for more in range(args.seeds):
                sizes = {**sizes, "seed": sizes["seed"] + 100 * (more > 0) + more}
                if arch == "llada":
                    sizes["kv"] = sizes["heads"]
                random = np.random.default_rng(sizes["seed"])
                yield arch, sizes, random.integers(0, sizes["vocab"], args.rows or rows)


def compare(args, sides, folder):
    """Prints a line for every model; returns the figures of each type."""
    heading(["model", "type", "rows", *COLUMNS, ""])
    found = {kind: [] for kind in args.types.split(",")}
    for arch, sizes, ids in models(args):
        files = Files(folder, args.oracle, arch, sizes)
        for kind, of_kind in found.items():
            if kind in K_QUANTS and sizes["d"] % 256:
                continue  # rows of whole super-blocks only
            path = files.path(kind)
            figures = measure(sides, path, ",".join(map(str, ids)), args.extra and not is_float(kind))
            of_kind.append(figures)
            name = f"{arch} d {sizes['d']}, {sizes['heads']}/{sizes['kv']} heads, {sizes['vocab']} ids"
            cells = ["-" if np.isnan(x) else form.format(x) for x, form in zip(figures, COLUMNS.values())]
            verdict = ("ok" if within(kind, figures) else "BROKEN") if is_float(kind) else ""
            line([name, kind, str(len(ids)), *cells, verdict])
        files.delete()
    return {kind: np.array(figures) for kind, figures in found.items() if figures}


def with_error(name, values):
    """Mean and standard error over models; of differences, the worst model's as well."""
    if np.isnan(values).any():
        return "-"
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    worst = f" (worst {values.max():.3f})" if "mean" in name else ""
    return f"{values.mean():.4f} ± {error:.4f}{worst}"


def judge(figures):
    """(bounds kept, aims met) of a quantized type."""
    _, mean, _, to_numpy, _, agree, top, their_top, _, own_top = figures.T
    bound = to_numpy.mean() <= MEAN and not clearly_below(top, their_top)
    if np.isnan(own_top).any():
        own = "-"
    elif agree.mean() >= own_top.mean():
        own = "met"
    else:
        own = "missed" if clearly_below(agree, own_top) else "undecided"
    return bound, ["met" if mean.mean() <= MEAN else "missed", own]


def clearly_below(a, b):
    """Whether `a` is lower than `b`, model by model, by more than two standard errors."""
    less = b - a
    return len(less) > 1 and less.mean() > 2 * less.std(ddof=1) / np.sqrt(len(less))


def summarize(found):
    """Prints a line for every quantized type; returns how many bounds are broken."""
    bad = sum(not within(kind, model) for kind, all in found.items() if is_float(kind) for model in all)
    quantized = {kind: figures for kind, figures in found.items() if not is_float(kind)}
    if not quantized:
        return bad
    print()
    of_types = {name: at for at, name in enumerate(COLUMNS) if "largest" not in name}
    heading(["type", "models", *of_types, "bounds", "aim: mean", "aim: top"])
    for kind, figures in quantized.items():
        cells = [with_error(name, figures[:, at]) for name, at in of_types.items()]
        good, aims = judge(figures)
        bad += not good
        line([kind, str(len(figures)), *cells, "ok" if good else "BROKEN", *aims])
    return bad


def main():
    args = arguments(__doc__)
    if not args.oracle.is_dir():
        print(f"SKIPPED: no {args.oracle}, nothing was compared", file=sys.stderr)
        return
    if not args.demask.exists():
        sys.exit(f"no {args.demask}: run `cargo build --release -p demask-std` first")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        bad = summarize(compare(args, Sides(args, folder), folder))
    if bad:
        sys.exit(f"{bad} bounds are broken")


if __name__ == "__main__":
    main()
