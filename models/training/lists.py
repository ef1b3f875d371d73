"""Trains the lists model: python3 lists.py --layers 4 --ffn 256 --kv-heads 4 --out lists.pt

The waiting-line tasks of ParallelBench (arXiv 2510.04767) on letters, made without end:

    insert-index 2 "Q" ["A", "B", "C"]   ->   ["A", "B", "Q", "C"]

Where several answers are right, one of them is drawn. `python3 lists.py --tokenizer FILE` writes the
tokenizer: bytes, and each piece of a task that is always the same.
"""

import argparse
import random
import string

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import rows
import trainer

SPECIALS = ["<|endoftext|>", "<|mask|>", "<|user|>", "<|answer|>"]  # ids 0 to 3
USER, ANSWER = 2, 3
TASKS = [
    "copy", "reverse", "sort", "shuffle", "insert-index", "insert-random", "remove-index",
    "remove-random", "replace-index", "replace-random",
]
LENGTHS = range(3, 13)
CANVAS = 32  # masks given for an answer


def tokenizer():
    """Bytes in the order of their alphabet, and the pieces between items."""
    letters = SPECIALS + sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIALS)
    pieces = [f"{task} " for task in TASKS] + ['["', '", "', '"]', '" ["', ' "', ' ["', "10", "11", "12"]
    made.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    return made


def text(items):
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def example(rng, task=None, n=None):
    """Prompt and answer. Items are different letters; an index counts from zero."""
    task, n = task or rng.choice(TASKS), n or rng.choice(LENGTHS)
    *items, item = rng.sample(string.ascii_uppercase, n + 1)
    operation, _, place = task.partition("-")
    index = rng.randint(0, n if operation == "insert" else n - 1)
    answer = list(items)
    if operation == "reverse":
        answer.reverse()
    elif operation == "sort":
        answer.sort()
    elif operation == "shuffle":
        while answer == items:
            rng.shuffle(answer)
    elif operation == "insert":
        answer.insert(index, item)
    elif operation == "remove":
        del answer[index]
    elif operation == "replace":
        answer[index] = item
    words = [task]
    if place == "index":
        words.append(str(index))
    if operation in ("insert", "replace"):
        words.append(f'"{item}"')
    return " ".join(words + [text(items)]), text(answer)


class Lists:
    def __init__(self, tokenizer):
        self.tokenizer, self.cache = tokenizer, {}

    def row(self, pair):
        prompt, answer = (self.tokenizer.encode(part).ids for part in pair)
        return [USER] + prompt + [ANSWER], answer, None

    def draw(self, rng):
        return self.row(example(rng))

    def evaluate(self, net, count):
        """Share of right answers to the tasks with one right answer, lengths 3 to 8 and 9 to 12."""
        rng, score = random.Random("evaluation"), {}
        one_answer = [task for task in TASKS if task != "shuffle" and "random" not in task]
        for name, lengths in ("short", range(3, 9)), ("long", range(9, 13)):
            pairs = [example(rng, task, rng.choice(lengths)) for task in one_answer for _ in range(count)]
            found = rows.answers(net, [self.row(pair)[0] for pair in pairs], CANVAS)
            right = [self.tokenizer.decode(ids) == answer for ids, (_, answer) in zip(found, pairs)]
            for n, task in enumerate(one_answer):
                score[f"{task} {name}"] = sum(right[n * count : (n + 1) * count])
            score[name] = round(100 * sum(right) / len(right), 2)
        return score


def main():
    p = argparse.ArgumentParser(description="Trains the lists model.")
    trainer.add_arguments(p)
    p.add_argument("--tokenizer", help="only write the tokenizer")
    args = p.parse_args()
    made = tokenizer()
    if args.tokenizer:
        made.save(args.tokenizer)
        return
    torch.manual_seed(args.seed)
    lists = Lists(made)
    net = trainer.network(args, made.get_vocab_size())
    trainer.train(args, net, rows.Batches(lists.draw, CANVAS, args), lambda net: lists.evaluate(net, 40))


if __name__ == "__main__":
    main()
