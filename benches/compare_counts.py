#!/usr/bin/env python3
"""Compares instruction counts with those on record and fails where one has grown.

    compare_counts.py RECORD NEW [--tolerance PERCENT]

Lines are `machine kernel operation shape instructions per_unit`, `#` begins a comment. Fails (1) if a
count grew by more than the tolerance or if work on record is missing from NEW; (2) for unusable files.
What is in NEW only, and what shrank, is told and accepted.
"""

import argparse
import pathlib
import sys


def read(path):
    """Counts by (machine, kernel, operation, shape), and the compiler named in the header."""
    counts, compiler = {}, None
    for number, line in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
        if line.startswith("# compiler:"):
            compiler = line.removeprefix("# compiler:").strip()
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 6 or not words[4].isdigit() or int(words[4]) == 0:
            raise ValueError(f"{path}:{number}: expected machine kernel operation shape instructions per_unit")
        if counts.setdefault(tuple(words[:4]), int(words[4])) != int(words[4]):
            raise ValueError(f"{path}:{number}: a second count of {' '.join(words[:4])}")
    if not counts:
        raise ValueError(f"{path}: no counts")
    return counts, compiler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=1.0, help="percent (default 1)")
    args = parser.parse_args()
    try:
        (old, old_compiler), (new, new_compiler) = read(args.record), read(args.new)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    grown, shrunk = [], 0
    for key, count in old.items():
        name = " ".join(key)
        if key not in new:
            grown.append(f"{name}: on record, but not counted now")
            continue
        percent = 100 * (new[key] / count - 1)
        if percent > args.tolerance:
            grown.append(f"{name}: {count} -> {new[key]} instructions ({percent:+.1f} %)")
        elif percent < -args.tolerance:
            shrunk += 1
            print(f"better  {name}: {count} -> {new[key]} instructions ({percent:+.1f} %)")
    for key in new.keys() - old.keys():
        print(f"new     {' '.join(key)}: not on record yet")
    for line in grown:
        print(f"WORSE   {line}")
    if grown and old_compiler != new_compiler:
        print(f"the record is from another compiler: {old_compiler}; now {new_compiler}")
    if grown:
        print(f"{len(grown)} of {len(old)} counts are worse than {args.record} allows (+{args.tolerance} %).")
        print(f"If that is the price of something better: cp {args.new} {args.record}, and say in the commit what.")
        return 1
    print(f"{len(old)} counts within {args.tolerance} % of {args.record}")
    if shrunk or new.keys() - old.keys():
        print(f"to keep the gain: cp {args.new} {args.record}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
