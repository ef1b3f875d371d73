#!/usr/bin/env python3
"""Measures the bundled models and prints README.md's table of them.

    cargo build --release
    python3 models/table.py                # the table, about ten minutes on two cores
    python3 models/table.py --check        # and whether README.md has exactly these lines
    python3 models/table.py --only intents # some of the models
"""

import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FRAMES = ["--task", "models/intents/valid.jsonl", "--gen-length", "56"]
ONE = ["--policy", "low-confidence"]
CACHED = ["--cache", "dual", "--block-length", "14"]
POLICIES = {
    "one token per pass": ONE,
    "threshold 0.98": ["--threshold", "0.98"],
    "threshold 0.9": ["--threshold", "0.9"],
    "threshold 0.98, dual cache": ["--threshold", "0.98", *CACHED],
}
# As `demask eval --json` names them.
SCORES = ("frame", "intent", "slot_f1", "invalid")
# Weights with what loads them, and the policies to measure.
MODELS = [
    ("intents-large", {
        "Q8": (["models/intents-large", "--type", "q8"], ["one token per pass"]),
        "Q4": (["models/intents-large-q4.dmk"], list(POLICIES)),
    }),
    ("intents", {
        "Q8": (["models/intents", "--type", "q8"], ["one token per pass"]),
        "Q4, to nearest": (["models/intents", "--type", "q4"], ["one token per pass"]),
        "Q4": (["models/intents-q4.dmk"], ["one token per pass", "threshold 0.98", "threshold 0.9"]),
    }),
]
HEAD = [
    "| model | weights | policy | right % | intent % | slot F1 % | no frame % | passes |",
    "|---|---|---|---|---|---|---|---|",
]


def row(model, weights, load, policy):
    command = [f"{ROOT}/target/release/demask", "eval", *load, *FRAMES, *POLICIES[policy], "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    found = json.loads(done.stdout)
    first, *others = SCORES
    cells = [f"{found[first]:.1f} ± {found['errors'][first]:.1f}"]
    cells += [f"{found[score]:.1f}" for score in others]
    return f"| `{model}` | {weights} | {policy} | {' | '.join(cells)} | {found['forwards']:.1f} |"


def main():
    p = argparse.ArgumentParser(description="Measures the bundled models.")
    p.add_argument("--check", action="store_true", help="fail if README.md has other figures")
    p.add_argument("--only", nargs="+", metavar="MODEL", help="these models only")
    args = p.parse_args()
    with open(f"{ROOT}/README.md", encoding="utf-8") as file:
        told = set(file.read().splitlines())
    different = 0
    print(*HEAD, sep="\n")
    for model, kinds in MODELS:
        if args.only and model not in args.only:
            continue
        for weights, (load, policies) in kinds.items():
            for policy in policies:
                line = row(model, weights, load, policy)
                print(line, flush=True)
                different += line not in told
    if args.check and different:
        sys.exit(f"{different} of these lines are not in README.md")


if __name__ == "__main__":
    main()
