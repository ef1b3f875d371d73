#!/usr/bin/env python3
"""An 8-billion-parameter model on this machine: memory, time to the first step, time of a step.

    pip install numpy
    cargo build --release -p demask-benches
    python3 benches/peers/big.py FOLDER [--type q4_k] [--canvas 512]

Writes a GGUF file of LLaDA-8B's shape with random weights (4.5 GB) to FOLDER, runs demask on it with one
thread, and deletes it. Fails if that takes more memory than --limit.
"""

import argparse
import pathlib
import sys
import time

import random_gguf
from paired import ROOT, Worker, machine


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--type", choices=random_gguf.TYPES, default="q4")
    parser.add_argument("--canvas", type=int, default=512)
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--limit", type=float, default=6.0, help="GB of memory at the peak")
    parser.add_argument("--keep", action="store_true", help="do not delete the file")
    parser.add_argument("--serve", type=pathlib.Path, default=ROOT / "target" / "release" / "serve")
    return parser.parse_args()


def main():
    args = arguments()
    path = args.folder / f"llada-8b-{args.type}.gguf"
    try:
        started = time.monotonic()
        random_gguf.write(path, args.type, random_gguf.LLADA_8B)
        print(f"{path}: {path.stat().st_size / 1e9:.2f} GB, written in {time.monotonic() - started:.0f} s", flush=True)
        worker = Worker("demask", [args.serve])
        first = worker.ask("open", path, args.kernels, args.canvas)
        if first is None:
            sys.exit("demask did not survive loading")
        wall, cpu = (int(ns) / 1e9 for ns in first.split())
        after_load = int(worker.ask("peak")) / 1e9
        times = {wanted: worker.ask("step", wanted, 1, 0).split() for wanted in (32, args.canvas)}
        peak = int(worker.ask("peak")) / 1e9
    finally:
        if not args.keep:
            path.unlink(missing_ok=True)
    print(f"cpu                       {machine()['cpu']}")
    print(f"load to first step        {wall:.1f} s, {cpu:.1f} s of CPU, one thread")
    for wanted, reply in times.items():
        print(f"step, {args.canvas} rows, {wanted:>4} scored {int(reply[0]) / 1e9:.1f} s, {int(reply[3]) / 1e9:.1f} s of CPU")
    print(f"peak memory               {peak:.2f} GB ({after_load:.2f} GB after the first step)")
    if peak > args.limit:
        sys.exit(f"more than {args.limit} GB")


if __name__ == "__main__":
    main()
