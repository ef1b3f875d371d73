"""Trains an intents model: python3 intents.py --d 256 --ffn 512 --heads 8 --kv-heads 4 --out large.pt

A row is `<|user|> utterance <|json|>` and a canvas with the frame and end tokens; see rows.py.
"""

import argparse

import torch
from tokenizers import Tokenizer

import rows
import snips
import trainer

USER, JSON = 2, 3
CANVAS = 56  # masks given for an answer


class Examples:
    """Examples as ids of prompt and frame, with other slot values where they are drawn."""

    def __init__(self, tokenizer, examples):
        self.tokenizer, self.examples, self.cache = tokenizer, examples, {}
        self.augmentation = snips.Augmentation(examples)
        self.slots = sorted(self.augmentation.occurring)

    def encode(self, text):
        ids = self.cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text).ids
            if len(self.cache) < 100_000:
                self.cache[text] = ids
        return ids

    def row(self, example):
        """Ids of prompt and frame, and tags of the prompt: 0 outside slots, and two numbers for each
        slot, of a value's first token and of the others."""
        intent, segments = example
        prompt, tags = [USER], [-1]
        for slot, words in segments:
            first = 1 + 2 * self.slots.index(slot) if slot in self.slots else 0
            for n, word in enumerate(words):
                ids = self.encode(" " + word)
                prompt += ids
                # The space before a value is outside.
                inside = [first + 1 if first else 0] * len(ids)
                if n == 0:
                    inside[:2] = [0, first]
                tags += inside
        return prompt + [JSON], self.encode(snips.render(intent, segments)[1]), tags + [-1]

    def draw(self, rng):
        return self.row(self.augmentation(rng.choice(self.examples), rng))

    def evaluate(self, net, examples):
        """Whole frames, intents, slot F1 and invalid answers, in percent."""
        tally = snips.Tally()
        prompts = [self.row(example)[0] for example in examples]
        for example, ids in zip(examples, rows.answers(net, prompts, CANVAS)):
            tally.add(example, self.tokenizer.decode(ids))
        return tally.score()


def main():
    p = argparse.ArgumentParser(description="Trains an intents model.")
    trainer.add_arguments(p)
    p.add_argument("--tokenizer", default="tokenizer.json")
    p.add_argument("--teacher-tokenizer", help="the teacher's, if it has more tokens")
    args = p.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    examples, valid = Examples(tokenizer, snips.load("train")), snips.load("valid")
    net = trainer.network(args, tokenizer.get_vocab_size(), tags=1 + 2 * len(examples.slots))
    batches = rows.Batches(examples.draw, CANVAS, args)
    teacher_ids = None
    if args.teacher_tokenizer:
        theirs, ours = Tokenizer.from_file(args.teacher_tokenizer).get_vocab(), tokenizer.get_vocab()
        teacher_ids = [theirs[token] for token in sorted(ours, key=ours.get)]
    evaluate = lambda net: examples.evaluate(net, valid[::7])
    average = trainer.train(args, net, batches, evaluate, teacher_ids)
    print("valid", examples.evaluate(average, valid))


if __name__ == "__main__":
    main()
