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
import tempfile

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
# Intents models: weights, and the policies to measure.
MODELS = {
    "intents-large": {
        "Q8": ["one token per pass"],
        "Q4, to nearest": ["one token per pass"],
        "Q4": list(POLICIES),
    },
    **{model: {
        "Q8": ["one token per pass"],
        "Q4, to nearest": ["one token per pass"],
        "Q4": ["one token per pass", "threshold 0.98", "threshold 0.9"],
    } for model in ("intents", "intents-small", "intents-tiny")},
}
# What an image is made with that is not rounded as usual.
ROUNDING = {"intents-tiny": ["--embedding-type", "q4"]}
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
OTHERS = {"lists": [LISTS], "bard": [SCENES, GAPS], "bard-twin": [SCENES, GAPS]}
OTHERS_HEAD = ["| model | weights | measured | |", "|---|---|---|---|"]


def load(model, to_nearest):
    """Weights with the arguments that load them; an image of weights rounded to nearest is written."""
    folder = f"models/{model}"
    run("quantize", folder, to_nearest, "--type", "q4", *ROUNDING.get(model, []))
    return {"Q8": [folder, "--type", "q8"], "Q4, to nearest": [to_nearest], "Q4": [f"{folder}-q4.dmk"]}


def run(*arguments):
    command = [f"{ROOT}/target/release/demask", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def frames(model, sources):
    first, *others = SCORES
    for weights, policies in MODELS[model].items():
        for policy in policies:
            found = run("eval", *sources[weights], *FRAMES, *POLICIES[policy])
            cells = [f"{found[first]:.1f} ± {found['errors'][first]:.1f}"]
            cells += [f"{found[score]:.1f}" for score in others]
            cells.append(f"{found['forwards']:.1f}")
            yield f"| `{model}` | {weights} | {policy} | {' | '.join(cells)} |"


def others(model, sources):
    for weights, source in sources.items():
        for title, score, digits, how in OTHERS[model]:
            found = run("eval", *source, *how)
            value, error = found[score], found["errors"][score]
            yield f"| `{model}` | {weights} | {title} | {value:.{digits}f} ± {error:.{digits}f} |"


def main():
    p = argparse.ArgumentParser(description="Measures the bundled models.")
    p.add_argument("--check", action="store_true", help="fail if README.md has other figures")
    p.add_argument("--only", nargs="+", metavar="MODEL", choices=[*MODELS, *OTHERS],
                   help="these models only")
    args = p.parse_args()
    with open(f"{ROOT}/README.md", encoding="utf-8") as file:
        told = set(file.read().splitlines())
    different = 0
    for head, models, rows in [(FRAMES_HEAD, MODELS, frames), (OTHERS_HEAD, OTHERS, others)]:
        chosen = [model for model in models if not args.only or model in args.only]
        if chosen:
            print("", *head, sep="\n")
        for model in chosen:
            with tempfile.TemporaryDirectory() as folder:
                for line in rows(model, load(model, f"{folder}/nearest.dmk")):
                    print(line, flush=True)
                    different += line not in told
    if args.check and different:
        sys.exit(f"{different} of these lines are not in README.md")


if __name__ == "__main__":
    main()
