#!/usr/bin/env python3
"""demask and llama.cpp on the same GGUF files, in turns, one thread each; prints times, memory, ratios.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release -p demask-benches
    python3 benches/peers/same_file.py FILE.gguf ... [--llama LABEL=DIR ...] [--write NAME]

What is measured, all by processor time of the process, of which the least of all turns counts:

    load        from nothing to the end of a first step, in a process of its own each time; the file is
                in the page cache
    memory      at the peak, after a few steps; of llama.cpp less what Python itself has, in its fastest
                mode and in its leanest
    step        all rows of a canvas computed, some of them scored; llama.cpp has only "all logits"
    generation  a canvas of masks, as `demask run --threshold 0.9` fills it: blocks of 32, dual cache.
                Random weights are never sure, so this is one token per pass, the worst case; with
                `--per-pass N` a fixed number instead. llama.cpp has no cache: a step times the steps,
                128 as its command has them by default, and one per token

Of the builds and modes of llama.cpp the best one counts, for each line by itself. Builds go into
folders of their own: see the head of paired.py.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

from paired import HERE, ROOT, Worker, machine

LIMITS = {"step": 0.6, "generation": 0.15, "memory": 0.75, "load": 1.0}
LLAMA_STEPS = 128


class Contestant:
    """A way to run a file: kernels of demask, or a build of llama.cpp and a kind of buffers."""

    def __init__(self, name, command, kernels, env=None):
        self.name, self.command, self.kernels, self.env = name, command, kernels, env
        self.ours = name.startswith("demask")
        self.worker = None

    def open(self, path, canvas):
        """A new process with the file loaded; (wall, CPU) seconds of that, or None if it cannot."""
        self.worker = Worker(self.name, self.command, self.env)
        reply = self.worker.ask("open", path, self.kernels, canvas)
        return reply and [int(ns) / 1e9 for ns in reply.split()]

    def step(self, wanted):
        """Least CPU seconds."""
        reply = self.worker.ask("step", wanted, 2, 0)
        return reply and int(reply.split()[3]) / 1e9

    def close(self):
        if self.worker.process:
            self.worker.process.stdin.close()
            self.worker.process.wait()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--llama", action="append", metavar="LABEL[=DIR]", help="a build of llama.cpp (default: native)")
    parser.add_argument("--modes", default="plain,extra", help="of llama.cpp: without or with its extra buffers")
    parser.add_argument("--kernels", default="", help="of demask, separated by commas (default: the fastest)")
    parser.add_argument("--canvas", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--loads", type=int, default=2)
    parser.add_argument("--per-pass", type=int, default=4, help="tokens of the second kind of generation")
    parser.add_argument("--serve", type=pathlib.Path, default=ROOT / "target" / "release" / "serve")
    parser.add_argument("--write", metavar="NAME", help="write benches/results/NAME.{md,json}")
    return parser.parse_args()


def contestants(args):
    if not args.serve.exists():
        sys.exit(f"no {args.serve}: run `cargo build --release -p demask-benches` first")
    serve = Worker("demask", [args.serve])
    kernels = serve.ask("kernels").split()
    wanted = args.kernels.split(",") if args.kernels else kernels[:1]
    if missing := set(wanted) - set(kernels):
        sys.exit(f"this processor has no {missing}: there are {kernels}")
    found = [Contestant(f"demask {name}", [args.serve], name) for name in wanted]
    for entry in args.llama or ["native"]:
        label, _, folder = entry.partition("=")
        env = dict(os.environ, OMP_NUM_THREADS="1", **({"PYTHONPATH": folder} if folder else {}))
        command = [sys.executable, HERE / "llama_worker.py"]
        found += [Contestant(f"llama.cpp {label} {kind}", command, kind, env) for kind in args.modes.split(",")]
    return found


def load(all_, path, args):
    """Name to ([wall], [CPU], bytes at the peak); the last processes stay."""
    found = {}
    path.read_bytes()  # into the page cache
    for turn in range(args.loads):
        for c in all_:
            if turn:
                c.close()
            times = c.open(path, args.canvas)
            if times is None:
                continue
            walls, cpus, _ = found.get(c.name, ([], [], 0))
            c.step(min(32, args.canvas))
            found[c.name] = (walls + times[:1], cpus + times[1:], int(c.worker.ask("peak")))
    return found


def steps(all_, kinds, args):
    """Number of scored rows to name to [CPU seconds], a turn each; all the same for llama.cpp."""
    found = {wanted: {} for wanted in kinds}
    for _ in range(args.rounds):
        for c in all_:
            times = [c.step(wanted) for wanted in (kinds if c.ours else kinds[:1])]
            for wanted, time in zip(kinds, times if c.ours else times * len(kinds)):
                found[wanted].setdefault(c.name, []).append(time)
    return found


def generation(c, tokens_per_pass, canvas):
    """(CPU seconds, passes, rows) of demask for a whole canvas; 0 tokens per pass: by threshold."""
    reply = c.worker.ask("generate", canvas // tokens_per_pass if tokens_per_pass else 0)
    _, cpu, passes, rows = map(int, reply.split())
    return cpu / 1e9, passes, rows


class Report:
    """Lines of a table for one file."""

    def __init__(self, path, all_):
        self.path = path
        self.ours = [c.name for c in all_ if c.ours]
        self.lines, self.raw = [], {}

    def add(self, what, limit, ours, theirs, show):
        """`ours` and `theirs`: name to figure; the least of theirs is compared."""
        best = min(theirs, key=theirs.get)
        cells = [what, f"{show(theirs[best])} ({best.removeprefix('llama.cpp ')})"]
        for name in self.ours:
            ratio = ours[name] / theirs[best]
            cells += [show(ours[name]), f"**{ratio:.3f}**" if limit is None or ratio <= limit else f"{ratio:.3f} (!)"]
        self.lines.append(cells + ["-" if limit is None else f"{limit}"])
        self.raw[what] = {"demask": ours, "llama.cpp": theirs, "limit": limit}
        print(f"{self.path.name}: " + " | ".join(self.lines[-1]), file=sys.stderr)

    def markdown(self):
        head = ["", "llama.cpp, best"]
        for name in self.ours:
            head += [name, "ratio"]
        rows = [head + ["at most"], ["---"] * (len(head) + 1), *self.lines]
        size = self.path.stat().st_size / 1e6
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return f"## {self.path.name}, {size:.0f} MB\n\n{table}\n"


def compare(all_, path, args):
    report = Report(path, all_)
    seconds = lambda s: f"{s:.3f} s"
    split = lambda found: ({n: v for n, v in found.items() if n in report.ours},
                           {n: v for n, v in found.items() if n not in report.ours})
    loaded = load(all_, path, args)
    alive = [c for c in all_ if c.name in loaded]
    report.add("load to first step", LIMITS["load"], *split({n: min(v[1]) for n, v in loaded.items()}), seconds)
    megabytes = lambda b: f"{b / 1e6:.0f} MB"
    peaks, best = split({n: v[2] for n, v in loaded.items()}), {}
    kinds = (min(32, args.canvas), args.canvas, 0)
    for wanted, times in steps(alive, kinds, args).items():
        what = f"step, {args.canvas} rows, " + (f"{wanted} scored" if wanted else "all logits")
        report.raw[what + ", all turns"] = times
        least = {n: min(v) for n, v in times.items()}
        best = {n: min(t, best.get(n, t)) for n, t in least.items()}
        report.add(what, LIMITS["step"] if wanted else None, *split(least), seconds)
        medians = {n: statistics.median(v) for n, v in times.items()}
        report.add(what + ", medians", None, *split(medians), seconds)
    theirs = split(best)[1]
    fastest = min(theirs, key=theirs.get)
    report.add("peak memory, the fastest", LIMITS["memory"], peaks[0], {fastest: peaks[1][fastest]}, megabytes)
    report.add("peak memory, the leanest", None, *peaks, megabytes)
    for per_pass in (0, args.per_pass):
        done = {c.name: generation(c, per_pass, args.canvas) for c in alive if c.ours}
        _, passes, rows = next(iter(done.values()))
        cpu = {n: v[0] for n, v in done.items()}
        for count in (LLAMA_STEPS, args.canvas):
            what = f"{args.canvas} tokens in {passes} passes ({rows} rows), llama.cpp in {count}"
            report.add(what, LIMITS["generation"], cpu, {n: s * count for n, s in theirs.items()}, seconds)
    for c in all_:
        c.close()
    return report


def main():
    args = arguments()
    about = machine()
    about["command"] = about["command"].replace("paired.py", "same_file.py")
    all_ = contestants(args)
    reports = [compare(all_, path, args) for path in args.files]
    head = "\n".join(f"- {key}: {value}" for key, value in about.items())
    text = f"# demask and llama.cpp (llama-cpp-python 0.3.36) on the same files, one thread\n\n{head}\n\n"
    text += "\n".join(report.markdown() for report in reports)
    print(text)
    if args.write:
        out = ROOT / "benches" / "results" / args.write
        out.with_suffix(".md").write_text(text)
        data = {"about": about, "files": {r.path.name: r.raw for r in reports}}
        out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        print(f"written: {out}.md, {out}.json", file=sys.stderr)


if __name__ == "__main__":
    main()
