"""SNIPS examples: utterance, frame text, augmentation, scoring.

An example is (intent, [(slot or None, [word, ...]), ...]). A split is a file of JSON lines:

    {"intent": "PlayMusic", "segments": [[null, "play the "], ["music_item", "album"], ...]}
"""

import collections
import json
import os
import re

SNIPS = os.environ.get("SNIPS", os.path.join(os.path.dirname(os.path.abspath(__file__)), "snips"))
PUNCTUATION = re.compile(r"[.,?!;'’\"()]+")


def words(text):
    """The normal form: lower case, no punctuation, single spaces."""
    return PUNCTUATION.sub(" ", text.lower()).split()


def load(split):
    """The examples of $SNIPS/<split>.jsonl."""
    examples = []
    with open(os.path.join(SNIPS, split + ".jsonl"), encoding="utf-8") as lines:
        for line in lines:
            example = json.loads(line)
            segments = [(slot, words(text)) for slot, text in example["segments"]]
            examples.append((example["intent"], [(slot, w) for slot, w in segments if w]))
    return examples


def render(intent, segments):
    """Utterance and frame of an example. A slot that occurs twice becomes a list."""
    utterance = " ".join(" ".join(w) for _, w in segments)
    frame = collections.OrderedDict(intent=intent)
    for slot, value in segments:
        if slot is None:
            continue
        value = " ".join(value)
        if slot not in frame:
            frame[slot] = value
        elif isinstance(frame[slot], list):
            frame[slot].append(value)
        else:
            frame[slot] = [frame[slot], value]
    return utterance, json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def slot_values(examples):
    """Every value seen for each (intent, slot)."""
    values = collections.defaultdict(list)
    for intent, segments in examples:
        for slot, value in segments:
            if slot:
                values[(intent, slot)].append(value)
    return values


def augment(intent, segments, values, probability, random):
    """Replaces slot values by other values of the same slot."""

    def replace(slot, value):
        if slot and random.random() < probability:
            return random.choice(values[(intent, slot)])
        return value

    return intent, [(slot, replace(slot, value)) for slot, value in segments]


def pairs(text):
    """(intent, sorted (slot, value) pairs) of a frame text; None if it is not a frame."""
    try:
        frame = json.loads(text)
    except ValueError:
        return None
    if not isinstance(frame, dict) or "intent" not in frame:
        return None
    slots = []
    for slot, value in frame.items():
        if slot != "intent":
            slots += [(slot, str(v)) for v in (value if isinstance(value, list) else [value])]
    return frame["intent"], sorted(slots)
