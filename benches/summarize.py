#!/usr/bin/env python3
"""Prints a table from the last `cargo bench -p demask-benches`: python3 benches/summarize.py [TARGET]

Times are the fastest sample of each benchmark, since other programs can only add to a time; the
spread is the median over the fastest and shows how quiet the machine was.
"""

import json
import pathlib
import sys

NAMES = ["scalar", "avx2", "avx512-vnni"]


def times(folder):
    """Fastest and median seconds per iteration."""
    sample = json.loads((folder / "new" / "sample.json").read_text())
    each = sorted(t / n / 1e9 for t, n in zip(sample["times"], sample["iters"]))
    return each[0], each[len(each) // 2]


def show(seconds):
    for unit, scale in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            break
    return f"{seconds / scale:.3g} {unit}"


def main(target):
    print("| benchmark | " + " | ".join(NAMES) + " | scalar / fastest | rate of the fastest | spread |")
    print("|---|" + "---|" * (len(NAMES) + 3))
    for group, unit in (("q4", "GMAC/s"), ("q8", "GMAC/s"), ("forward", "rows/s"), ("decode", "tokens/s")):
        root = pathlib.Path(target) / "criterion" / group
        folders = [f for f in root.iterdir() if f.name != "report"] if root.is_dir() else []
        order = lambda f: [int(n) if n.isdigit() else 0 for n in f.name.split("x")]
        for folder in sorted(folders, key=order):
            found = {n: times(folder / n) for n in NAMES if (folder / n / "new").is_dir()}
            fastest = min(found.values())[0]
            name = min(found, key=lambda n: found[n][0])
            info = json.loads((folder / name / "new" / "benchmark.json").read_text())
            rate = info["throughput"]["Elements"] / fastest
            rate = f"{rate / 1e9:.3g}" if unit == "GMAC/s" else f"{rate:,.0f}"
            columns = [show(found[n][0]) if n in found else "" for n in NAMES]
            ratio = f"{found['scalar'][0] / fastest:.1f}" if "scalar" in found else ""
            spread = max(median / low for low, median in found.values())
            columns += [ratio, f"{rate} {unit}", f"{100 * (spread - 1):.0f} %"]
            print(f"| {group} {folder.name} | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "target")
