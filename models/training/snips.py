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


class Augmentation:
    """Examples with other slot values, so that values are copied and not remembered.

    A value is replaced by one of the same slot, in any intent; or, for slots with many values, by
    words of other values, or by letters that are no word.
    """

    OPEN = 150  # slots with at least so many values take any words

    def __init__(self, examples):
        found = collections.defaultdict(dict)
        for _, segments in examples:
            for slot, value in segments:
                if slot:
                    found[slot][tuple(value)] = value
        self.values = {slot: list(values.values()) for slot, values in found.items()}
        self.occurring = collections.defaultdict(list)
        for intent, segments in examples:
            for slot, value in segments:
                self.occurring[slot].append(value)
        self.words = sorted({w for vs in self.values.values() for v in vs for w in v})

    def __call__(self, example, rng):
        intent, segments = example
        if rng.random() < 0.3:
            return example
        return intent, [(slot, self.value(slot, value, rng)) for slot, value in segments]

    def value(self, slot, value, rng):
        chance = rng.random()
        if slot is None or chance < 0.35:
            return value
        if len(self.values[slot]) < self.OPEN or chance < 0.65:
            return rng.choice(self.occurring[slot])
        if chance < 0.8:
            return rng.choice(self.values[slot])
        if chance < 0.95:
            return [rng.choice(self.words) for _ in value]
        return [self.letters(rng) if rng.random() < 0.5 else word for word in value]

    def letters(self, rng):
        """Syllables of other words."""
        first, second = rng.choice(self.words), rng.choice(self.words)
        return first[: rng.randint(1, 5)] + second[-rng.randint(1, 5) :]


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


class Tally:
    """Counts of whole frames, intents, slots and invalid answers."""

    def __init__(self):
        self.n = self.frames = self.intents = self.invalid = 0
        self.hits = self.surplus = self.missed = 0

    def add(self, example, answer):
        expected, found = pairs(render(*example)[1]), pairs(answer)
        self.n += 1
        if found is None:
            self.invalid += 1
            self.missed += len(expected[1])
            return
        self.intents += found[0] == expected[0]
        self.frames += found == expected
        common = collections.Counter(expected[1]) & collections.Counter(found[1])
        hits = sum(common.values())
        self.hits += hits
        self.surplus += len(found[1]) - hits
        self.missed += len(expected[1]) - hits

    def score(self):
        f1 = 2 * self.hits / max(2 * self.hits + self.surplus + self.missed, 1)
        parts = dict(frame=self.frames / self.n, intent=self.intents / self.n, f1=f1,
                     invalid=self.invalid / self.n)
        return {name: round(100 * part, 2) for name, part in parts.items()}
