"""SNIPS examples: utterance, frame text, augmentation, scoring.

An example is (intent, [(slot or None, [word, ...]), ...]). A split is a file of JSON lines:

    {"intent": "PlayMusic", "segments": [[null, "play the "], ["music_item", "album"], ...]}

`python3 snips.py 1500` prints so many training utterances with other slot values.
"""

import collections
import json
import os
import random
import re
import sys

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


class Spelling:
    """Words that are spelled like given ones: each letter follows the last three, or two, as it does there."""

    def __init__(self, known):
        self.following = collections.defaultdict(list)
        for word in known:
            letters = "^^^" + word + "$"
            for at in range(3, len(letters)):
                for order in (2, 3):
                    self.following[letters[at - order : at]].append(letters[at])

    def __call__(self, rng):
        letters = "^^^"
        while not letters.endswith("$") and len(letters) < 16:
            order = 3 if rng.random() < 0.7 else 2
            letters += rng.choice(self.following[letters[-order:]])
        return letters.strip("^$") or self(rng)


class Augmentation:
    """Examples with other slot values, so that values are copied and not remembered.

    A value is replaced by one of the same slot in any intent, or by one that no example has. The latter
    happens as often as it will later, which is about the share of the slot's values that occur once (Good
    and Turing): nearly always for the name of a city, hardly ever for a country, never for a state. So what
    is known of a value is worth learning where values come again, and its surroundings and its spelling
    where they do not. The words of a new value are new by the same rule.
    """

    def __init__(self, examples):
        self.occurring = collections.defaultdict(list)
        for _, segments in examples:
            for slot, value in segments:
                if slot:
                    self.occurring[slot].append(value)
        words = {slot: [w for v in values for w in v] for slot, values in self.occurring.items()}
        self.words = sorted({w for of_slot in words.values() for w in of_slot})
        self.new = {slot: share_of_new(map(tuple, values)) for slot, values in self.occurring.items()}
        self.new_word = {slot: share_of_new(of_slot) for slot, of_slot in words.items()}
        self.spelling = {slot: Spelling(sorted(set(of_slot))) for slot, of_slot in words.items()}

    def __call__(self, example, rng):
        intent, segments = example
        if rng.random() < 0.2:
            return example
        return intent, [(slot, self.value(slot, value, rng)) for slot, value in segments]

    def value(self, slot, value, rng):
        if slot is None or rng.random() < 0.25:
            return value
        values = self.occurring[slot]
        if rng.random() >= self.new[slot]:
            return rng.choice(values)
        made = rng.choice(values)
        if rng.random() < 0.4:  # the beginning of one and the end of another
            other = rng.choice(values)
            made = (made[: rng.randint(1, len(made))] + other[rng.randint(0, len(other)) :])[:12]
        return [self.word(slot, word, rng) for word in made]

    def word(self, slot, word, rng):
        """The word of a new value, or another one in its place."""
        if rng.random() < self.new_word[slot]:
            return rng.choice(self.words) if rng.random() < 0.3 else self.spelling[slot](rng)
        return self.letters(rng) if rng.random() < 0.05 else word

    def letters(self, rng):
        """Syllables of other words."""
        first, second = rng.choice(self.words), rng.choice(self.words)
        return first[: rng.randint(1, 5)] + second[-rng.randint(1, 5) :]


def share_of_new(things):
    """How often the next one will be one that is not among these: the share of those that occur once."""
    times = collections.Counter(things)
    return sum(n == 1 for n in times.values()) / max(times.total(), 1)


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


def main():
    rng, examples = random.Random(5), load("train")
    augmentation = Augmentation(examples)
    for _ in range(int(sys.argv[1])):
        intent, segments = augmentation(rng.choice(examples), rng)
        spaced = [[slot, " ".join(value) + " "] for slot, value in segments]
        print(json.dumps(dict(intent=intent, segments=spaced)))


if __name__ == "__main__":
    main()
