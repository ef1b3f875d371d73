#!/usr/bin/env python3
"""demask and llama.cpp in turns in one run, one thread each; prints times, rates and ratios.

    pip install llama-cpp-python==0.3.36 numpy
    cargo build --release -p demask-benches
    python3 benches/peers/paired.py --quick          # does everything work here?
    python3 benches/peers/paired.py --write          # minutes; tables also go to benches/results/

The package is built for this machine. Other builds go into folders of their own, and each is compared
with the kernels that may use the same instructions:

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON" \\
        pip install --no-cache-dir --no-binary llama-cpp-python --target DIR llama-cpp-python==0.3.36
    paired.py --llama native --llama avx2=DIR --pair avx512-vnni=native --pair avx2=avx2

Best wall time over all turns counts: other programs only add to it. Clocks of processor time miss part
of a run now and then in virtual machines, so of them the median of the turns' medians is taken; their
ratio stands beside that of the wall times, and where the two differ the machine was too busy. llama.cpp is timed with weights as in the file and in an extra buffer type (rearranged); the
better one counts.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

import random_gguf

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHAPES = [(896, 4864), (4864, 896)]  # inputs, outputs
FLAGS = ["avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8"]


class Worker:
    """A program that times on request and does nothing in between."""

    def __init__(self, name, command, env=None):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )

    def ask(self, *words):
        """The answer, or None if there is none; a program that dies is only told about once."""
        if self.process is None:
            return None
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
            reply = self.process.stdout.readline().strip()
        except BrokenPipeError:
            reply = ""
        if not reply:
            print(f"{self.name} died at: {' '.join(map(str, words))}", file=sys.stderr)
            self.process = None
            return None
        if reply.startswith("error"):
            sys.exit(f"{self.name}: {reply} (asked: {' '.join(map(str, words))})")
        return None if reply == "none" else reply


class Contestant:
    """One way to compute the same: kernels of demask, or a build of llama.cpp with a kind of buffers."""

    def __init__(self, worker, kernels, wanted=0):
        self.worker, self.kernels, self.wanted = worker, kernels, wanted
        self.name = f"{worker.name} {kernels}" + (f" step {wanted}" if wanted else "")


def take_turns(contestants, rounds, request):
    """Names to (best wall seconds, median CPU seconds)."""
    walls, cpus = {}, {}
    for _ in range(rounds):
        for c in contestants:
            reply = c.worker.ask(*request(c))
            if reply:
                wall, cpu = map(int, reply.split()[:2])
                walls.setdefault(c.name, []).append(wall / 1e9)
                cpus.setdefault(c.name, []).append(cpu / 1e9)
    return {name: (min(times), statistics.median(cpus[name])) for name, times in walls.items()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", action="append", metavar="LABEL[=DIR]", help="a build of llama.cpp (default: native)")
    parser.add_argument("--pair", action="append", metavar="KERNELS=LABEL", help="what to compare (default: by name)")
    parser.add_argument("--formats", default="q4,q8")
    parser.add_argument("--rows", default="1,8,32,128,256", help="of single products")
    parser.add_argument("--forward-rows", default="32,64,256", help="of whole passes; empty: none")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--forward-rounds", type=int, default=3)
    parser.add_argument("--gguf", action="append", default=[], metavar="FORMAT=FILE", help="instead of random weights")
    parser.add_argument("--image", action="append", default=[], metavar="FORMAT=FILE", help="the same for demask")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "peers", help="where models are kept")
    parser.add_argument("--serve", type=pathlib.Path, default=ROOT / "target" / "release" / "serve")
    parser.add_argument("--quick", action="store_true", help="one round of a few products")
    parser.add_argument("--write", action="store_true", help="write benches/results/peers-DATE-CPU.{md,json}")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.forward_rows, args.rounds = "1,32", "", 2
    args.llama = dict(entry.partition("=")[::2] for entry in args.llama or ["native"])
    args.gguf, args.image = (dict(e.split("=", 1) for e in given) for given in (args.gguf, args.image))
    return args


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    field = lambda key: next((l.split(":")[1].strip() for l in info.splitlines() if l.startswith(key)), "?")
    has = set(field("flags").split())
    cpu = f"{field('model name')} (family {field('cpu family')}, model {field('model')})"
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": cpu,
        "flags": " ".join(f for f in FLAGS if f in has),
        "processors": os.cpu_count(),
        "commit": commit.stdout.strip() or "?",
        "command": shlex.join(["python3", "benches/peers/paired.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "load": "%.1f" % os.getloadavg()[0],
    }


def start(args):
    """demask, the builds of llama.cpp, and the pairs to compare."""
    if not args.serve.exists():
        sys.exit(f"no {args.serve}: run `cargo build --release -p demask-benches` first")
    demask = Worker("demask", [args.serve])
    builds = {}
    for label, folder in args.llama.items():
        env = dict(os.environ, OMP_NUM_THREADS="1")
        if folder:
            env["PYTHONPATH"] = folder
        builds[label] = Worker(f"llama.cpp {label}", [sys.executable, HERE / "llama_worker.py"], env)
        if builds[label].ask("kernels") is None:
            sys.exit(f"llama.cpp {label} does not start: pip install llama-cpp-python==0.3.36 numpy")
    kernels = demask.ask("kernels").split()
    if args.pair:
        pairs = [tuple(p.split("=")) for p in args.pair]
    else:
        pairs = [(k, k if k in builds else "native") for k in kernels if k != "scalar"]
        pairs = [(k, label) for k, label in pairs if label in builds]
    for kernel, label in pairs:
        if kernel not in kernels or label not in builds:
            sys.exit(f"cannot compare {kernel} with {label}: there are {kernels} and {list(builds)}")
    return demask, builds, pairs


class Table:
    """Rows of one kind of work: a pair of columns and their ratio for each comparison."""

    def __init__(self, title, unit, builds, pairs):
        self.title, self.unit, self.builds, self.pairs = title, unit, builds, pairs
        self.rows, self.raw = [], []

    def add(self, name, times, show, suffix=""):
        cells = []
        for kernel, label in self.pairs:
            ours = times.get(f"demask {kernel}{suffix}")
            theirs = {n: t for n, t in times.items() if n.startswith(f"{self.builds[label].name} ")}
            best = min(theirs, key=lambda n: theirs[n][0]) if theirs else None
            if ours is None or best is None:
                cells += ["-"] * 4
                continue
            kind = best.split()[-1].partition(":")
            kind = kind[2].removeprefix("CPU_").lower() or kind[0]
            by_cpu = min(cpu for _, cpu in theirs.values()) / ours[1]
            cells += [show(ours[0]), f"{show(theirs[best][0])} ({kind})"]
            cells += [f"**{theirs[best][0] / ours[0]:.2f}**", f"{by_cpu:.2f}"]
        self.rows.append([name, *cells])
        raw = {n: {"best_wall_s": wall, "median_cpu_s": cpu} for n, (wall, cpu) in times.items()}
        self.raw.append({"work": name, "times": raw})
        print(f"{self.title}: " + " | ".join(self.rows[-1]), file=sys.stderr)

    def markdown(self):
        head = [self.title]
        for kernel, label in self.pairs:
            head += [f"demask {kernel}", f"llama.cpp {label}", "times as fast", "by CPU time"]
        lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *self.rows]]
        return f"{self.unit}\n\n" + "\n".join(lines) + "\n"


def products(args, contestants, builds, pairs):
    table = Table("product", "Gigaflops per second (2 per multiplication by a weight):", builds, pairs)
    for form in args.formats.split(","):
        for inputs, outputs in SHAPES:
            for rows in map(int, args.rows.split(",")):
                flops = 2 * rows * inputs * outputs
                request = lambda c: ("matmul", form, rows, inputs, outputs, c.kernels, 3, 10)
                times = take_turns(contestants, args.rounds, request)
                table.add(f"{form} K={inputs} N={outputs} M={rows}", times, lambda s: f"{flops / s / 1e9:.0f}")
    return table


def forwards(args, demask, contestants, builds, pairs):
    table = Table("pass", "Seconds for a whole pass of the `edge` model:", builds, pairs)
    args.work.mkdir(parents=True, exist_ok=True)
    for form in args.formats.split(","):
        image = args.image.get(form) or args.work / f"edge-{form}.dmk"
        gguf = args.gguf.get(form) or args.work / f"edge-{form}.gguf"
        if form not in args.image:
            print(f"random weights: {image}, {gguf}", file=sys.stderr)
            demask.ask("write", form, image)
        if form not in args.gguf:
            random_gguf.write(gguf, form)
        demask.ask("load", form, image)
        for build in builds.values():
            build.ask("load", form, gguf)
        for rows in map(int, args.forward_rows.split(",")):
            # A denoising step: llama.cpp has no way to leave rows out, so its whole pass is compared.
            steps = [Contestant(demask, kernels, 32) for kernels, _ in pairs if rows == 256]
            request = lambda c: ("forward", form, rows, c.wanted, c.kernels, 2, 0)
            times = take_turns(contestants + steps, args.forward_rounds, request)
            table.add(f"{form}, {rows} rows, all logits", times, lambda s: f"{s:.3f}")
            if steps:
                table.add(f"{form}, {rows} rows, 32 wanted", times, lambda s: f"{s:.3f}", " step 32")
    return table


def main():
    args = arguments()
    about = machine()
    demask, builds, pairs = start(args)
    contestants = [Contestant(demask, kernels) for kernels, _ in pairs]
    for label in dict(pairs).values():
        for kind in builds[label].ask("kernels").split():
            if all(c.name != f"{builds[label].name} {kind}" for c in contestants):
                contestants.append(Contestant(builds[label], kind))
    for label, build in builds.items():
        about[f"llama.cpp {label}"] = build.ask("system")
    tables = [products(args, contestants, builds, pairs)]
    if args.forward_rows:
        # Whole models know only "all extra buffer types" or none.
        plain = [c for c in contestants if not c.kernels.startswith("extra") or c.kernels.endswith("CPU_REPACK")]
        tables.append(forwards(args, demask, plain, builds, pairs))
    head = "\n".join(f"- {key}: {value}" for key, value in about.items())
    report = f"# demask and llama.cpp (llama-cpp-python 0.3.36), one thread\n\n{head}\n\n"
    report += "\n".join(table.markdown() for table in tables)
    print(report)
    if args.write:
        cpu = "".join(c if c.isalnum() else "-" for c in about["cpu"].split("(")[0].strip().lower())
        out = ROOT / "benches" / "results" / f"peers-{about['date']}-{cpu}"
        out.with_suffix(".md").write_text(report)
        data = {"about": about, "tables": {table.title: table.raw for table in tables}}
        out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        print(f"written: {out}.md, {out}.json", file=sys.stderr)


if __name__ == "__main__":
    main()
