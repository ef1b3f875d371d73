"""Trains the bard model: python3 bard.py --block 8 --out bard.pt

English plays as pieces of bytes. With a block length, a block sees itself and the blocks before it, so
text can be written without end; a masked copy of each block is trained on the clean blocks before it
(block diffusion, arXiv 2503.09573). Without one, every row sees every row. $SHAKESPEARE has
train.txt and heldout_7plays.txt. `python3 bard.py --make-tokenizer FILE` trains the tokenizer.
"""

import argparse
import math
import os
import random

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import trainer
from rows import UNSEEN

SHAKESPEARE = os.environ.get("SHAKESPEARE", "shakespeare")
SPECIALS = ["<|endoftext|>", "<|mask|>"]
MASK = 1
VOCABULARY = 512


def text(name):
    with open(os.path.join(SHAKESPEARE, name), encoding="utf-8") as file:
        return file.read()


def make_tokenizer(out):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator([text("train.txt")], trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    ))
    made.save(out)


def sight(length, block):
    """[1, 1, n, n] bias: which rows see which. In blocks, a noisy copy stands before the clean rows."""
    if not block:
        return None
    of = torch.arange(length) // block
    own, before = of[:, None] == of[None, :], of[:, None] > of[None, :]
    noisy = torch.cat([own, before], 1)
    clean = torch.cat([torch.zeros_like(own), own | before], 1)
    seen = torch.cat([noisy, clean])
    return torch.zeros(1, 1, 2 * length, 2 * length).masked_fill(~seen[None, None], UNSEEN)


def masks(size, length, block, noise):
    """Masked positions and their weights: in each span (a block, or all rows) a uniform number of
    positions, each weighted by span / number. Then the expected sum is the bound (LLaDA)."""
    span = block or length
    spans = size * length // span
    # Numbers spread evenly over 1 .. span, as LLaDA's evaluation does.
    number = (torch.arange(spans) + torch.rand(1, generator=noise)) * span / spans
    number = (number.long() + 1)[torch.randperm(spans, generator=noise)]
    order = torch.rand(spans, span, generator=noise).argsort(1).argsort(1)
    masked = order < number[:, None]
    weight = masked * (span / number[:, None])
    return masked.view(size, length), weight.view(size, length)


class Windows:
    """Windows of the text as batches."""

    def __init__(self, ids, args):
        self.ids, self.args = torch.tensor(ids), args
        self.bias = sight(args.length, args.block)

    def part(self, starts, noise):
        clean = torch.stack([self.ids[at : at + self.args.length] for at in starts])
        masked, weight = masks(*clean.shape, self.args.block, noise)
        noisy = torch.where(masked, MASK, clean)
        if self.args.block:
            noisy = torch.cat([noisy, clean], 1)
            clean = torch.cat([clean, clean], 1)
            weight = torch.cat([weight, torch.zeros_like(weight)], 1)
        return dict(noisy=noisy, clean=clean, weight=weight, bias=self.bias,
                    copies=2 if self.args.block else 1)

    def __call__(self, step):
        rng = random.Random(f"{self.args.seed} {step}")
        noise = torch.Generator().manual_seed(rng.getrandbits(48))
        parts = []
        for _ in range(self.args.batch // self.args.part):
            starts = [rng.randrange(len(self.ids) - self.args.length) for _ in range(self.args.part)]
            part = self.part(starts, noise)
            part["weight"] = part["weight"] / (self.args.batch * self.args.length)
            parts.append(part)
        return parts


@torch.no_grad()
def bound(net, windows, characters, passes):
    """Nats per character of a text: a bound of its negative log-likelihood, and its standard error."""
    length = windows.args.length
    starts = range(0, len(windows.ids) - length + 1, length)
    used = len(starts) * length / len(windows.ids) * characters
    noise, totals = torch.Generator().manual_seed(1), []
    for _ in range(passes):
        total = 0.0
        for at in range(0, len(starts), 32):
            part = windows.part(starts[at : at + 32], noise)
            inputs = part["noisy"], part["bias"], part["copies"]
            with torch.autocast("cpu", torch.bfloat16):
                logits = net.head(net.trunk(*inputs)[part["weight"] > 0]).float()
            logits[:, MASK] = -1e9
            losses = F.cross_entropy(logits, part["clean"][part["weight"] > 0], reduction="none")
            total += (losses * part["weight"][part["weight"] > 0]).sum().item()
        totals.append(total / used)
    mean = sum(totals) / passes
    spread = math.sqrt(sum((t - mean) ** 2 for t in totals) / max(passes - 1, 1) / passes)
    return round(mean, 4), round(spread, 4)


def main():
    p = argparse.ArgumentParser(description="Trains the bard model.")
    trainer.add_arguments(p)
    p.add_argument("--block", type=int, default=8, help="block length; 0: every row sees every row")
    p.add_argument("--length", type=int, default=128, help="tokens per row")
    p.add_argument("--part", type=int, default=8, help="rows that are computed together")
    p.add_argument("--tokenizer", default="tokenizer.json")
    p.add_argument("--make-tokenizer", metavar="FILE")
    args = p.parse_args()
    if args.make_tokenizer:
        make_tokenizer(args.make_tokenizer)
        return
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    encoded = {name: tokenizer.encode(text(name)).ids for name in ("train.txt", "heldout_7plays.txt")}
    windows = Windows(encoded["train.txt"], args)
    # A tenth of the training text is seen as well as trained on; the held-back plays judge.
    held = text("heldout_7plays.txt")
    some = Windows(tokenizer.encode(held[:60_000]).ids, args)
    net = trainer.network(args, tokenizer.get_vocab_size(), head_norms=bool(args.block))
    average = trainer.train(args, net, windows, lambda net: dict(
        nats_per_character=bound(net, some, 60_000, 2)))
    every = Windows(encoded["heldout_7plays.txt"], args)
    print("held-back plays, nats per character", *bound(average, every, len(held), 4))


if __name__ == "__main__":
    main()
