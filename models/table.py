#!/usr/bin/env python3
"""Measures the bundled models and prints README.md's tables of them.

    cargo build --release
    python3 models/table.py                # the tables, about ten minutes on two cores
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
        "Q4, to nearest": (["models/intents-large", "--type", "q4"], ["one token per pass"]),
        "Q4": (["models/intents-large-q4.dmk"], list(POLICIES)),
    }),
    ("intents", {
        "Q8": (["models/intents", "--type", "q8"], ["one token per pass"]),
        "Q4, to nearest": (["models/intents", "--type", "q4"], ["one token per pass"]),
        "Q4": (["models/intents-q4.dmk"], ["one token per pass", "threshold 0.98", "threshold 0.9"]),
    }),
    ("intents-small", {
        "Q8": (["models/intents-small", "--type", "q8"], ["one token per pass"]),
        "Q4, to nearest": (["models/intents-small", "--type", "q4"], ["one token per pass"]),
        "Q4": (
            ["models/intents-small-q4.dmk"],
            ["one token per pass", "threshold 0.98", "threshold 0.9"],
        ),
    }),
]
FRAMES_HEAD = [
    "| model | weights | policy | right % | intent % | slot F1 % | no frame % | passes |",
    "|---|---|---|---|---|---|---|---|",
]
# Tasks of the other models: what is measured, its name, digits, and how.
LISTS = (
    "answers right %", "right", 1, ["--task", "models/lists/test.jsonl", "--gen-length", "32", *ONE]
)
SCENES = ("nats per character, at most", "nll_char", 3, ["--task", "models/bard/scenes.jsonl"])
GAPS = ("hidden words right %", "exact", 1, ["--task", "models/bard/gaps.jsonl", *ONE])
OTHERS = [
    (model, weights, load, task)
    for model, tasks in [("lists", [LISTS]), ("bard", [SCENES, GAPS]), ("bard-twin", [SCENES, GAPS])]
    for weights, load in [
        ("Q8", [f"models/{model}", "--type", "q8"]),
        ("Q4, to nearest", [f"models/{model}", "--type", "q4"]),
        ("Q4", [f"models/{model}-q4.dmk"]),
    ]
    for task in tasks
]
OTHERS_HEAD = ["| model | weights | measured | |", "|---|---|---|---|"]


def measured(load, how):
    command = [f"{ROOT}/target/release/demask", "eval", *load, *how, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def frames_row(model, weights, load, policy):
    found = measured(load, [*FRAMES, *POLICIES[policy]])
    first, *others = SCORES
    cells = [f"{found[first]:.1f} ± {found['errors'][first]:.1f}"]
    cells += [f"{found[score]:.1f}" for score in others]
    return f"| `{model}` | {weights} | {policy} | {' | '.join(cells)} | {found['forwards']:.1f} |"


def others_row(model, weights, load, task):
    title, score, digits, how = task
    found = measured(load, how)
    value, error = found[score], found["errors"][score]
    return f"| `{model}` | {weights} | {title} | {value:.{digits}f} ± {error:.{digits}f} |"


def frames():
    for model, kinds in MODELS:
        for weights, (load, policies) in kinds.items():
            for policy in policies:
                yield model, lambda: frames_row(model, weights, load, policy)


def others():
    for model, *how in OTHERS:
        yield model, lambda: others_row(model, *how)


def main():
    p = argparse.ArgumentParser(description="Measures the bundled models.")
    p.add_argument("--check", action="store_true", help="fail if README.md has other figures")
    p.add_argument("--only", nargs="+", metavar="MODEL", help="these models only")
    args = p.parse_args()
    with open(f"{ROOT}/README.md", encoding="utf-8") as file:
        told = set(file.read().splitlines())
    different = 0
    for head, rows in [(FRAMES_HEAD, frames()), (OTHERS_HEAD, others())]:
        print(*head, sep="\n")
        for model, row in rows:
            if args.only and model not in args.only:
                continue
            line = row()
            print(line, flush=True)
            different += line not in told
        print()
    if args.check and different:
        sys.exit(f"{different} of these lines are not in README.md")


if __name__ == "__main__":
    main()
