"""Trains the intents model: python3 train.py --minutes 60 --out model.pt

The loss is LLaDA's: mask each position of the target with probability t, t uniform, predict the
masked tokens, weight by 1 / t. The target is the answer (70 %), the utterance (15 %) or both (15 %).
Training stops by the clock, so every machine makes a model of its own.
"""

import argparse
import copy
import math
import random
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
from model import MaskedDiffusion

EOS, MASK, USER, JSON = 0, 1, 2, 3
ANSWER = 56  # masks given for an answer


def arguments():
    p = argparse.ArgumentParser(description="Trains the intents model.")
    p.add_argument("--d", type=int, default=128, help="model width")
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, default=2)
    p.add_argument("--ffn", type=int, default=384)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--rows", type=int, default=80, help="tokens per row")
    p.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    p.add_argument("--decay", type=float, default=0.1, help="weight decay of matrices")
    p.add_argument("--augment", type=float, default=0.5, help="share of examples with other slot values")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--tokenizer", default="tokenizer.json")
    p.add_argument("--out", default="model.pt")
    return p.parse_args()


class Rows:
    """Batches of rows, their masks and the noise levels."""

    def __init__(self, examples, tokenizer, args):
        self.examples, self.tokenizer, self.args = examples, tokenizer, args
        self.values = data.slot_values(examples)
        self.random = random.Random(args.seed)
        self.cache = {}

    def encode(self, text):
        ids = self.cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text).ids
            if len(self.cache) < 400_000:
                self.cache[text] = ids
        return ids

    def row(self, example):
        """Ids of the prompt and of the frame."""
        utterance, frame = data.render(*example)
        return [USER] + self.encode(" " + utterance) + [JSON], self.encode(frame)

    def batch(self):
        size, length = self.args.batch, self.args.rows
        ids = torch.full((size, length), EOS)
        target = torch.zeros(size, length, dtype=torch.bool)
        n = 0
        while n < size:
            example = self.random.choice(self.examples)
            if self.random.random() < self.args.augment:
                example = data.augment(*example, self.values, 0.7, self.random)
            prompt, frame = self.row(example)
            if len(prompt) + len(frame) > length - 1:
                continue
            ids[n, : len(prompt)] = torch.tensor(prompt)
            ids[n, len(prompt) : len(prompt) + len(frame)] = torch.tensor(frame)
            kind = self.random.random()
            if kind < 0.7 or kind >= 0.85:
                target[n, len(prompt) :] = True
            if kind >= 0.7:
                target[n, 1 : len(prompt) - 1] = True
            n += 1
        # One noise level per row, spread evenly over the batch.
        t = (torch.arange(size) + self.random.random()) / size
        t = t[torch.randperm(size)] * 0.99 + 0.01
        masked = target & (torch.rand(size, length) < t[:, None])
        return torch.where(masked, MASK, ids), ids, masked, target, t


def loss_of(net, batch):
    noisy, ids, masked, target, t = batch
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.head(net.trunk(noisy)[masked])
    weight = 1 / (t * target.sum(1))
    losses = F.cross_entropy(logits.float(), ids[masked], reduction="none")
    return (losses * weight[:, None].expand_as(masked)[masked]).sum() / len(ids)


@torch.no_grad()
def decode(net, prompts, steps):
    """Fills the answers of prompts of equal length, the most probable tokens first."""
    start = len(prompts[0])
    ids = torch.full((len(prompts), start + ANSWER), MASK)
    ids[:, :start] = torch.tensor(prompts)
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(ids).float()
        logits[..., MASK] = -1e9
        confidence, proposal = F.softmax(logits, -1).max(-1)
        confidence[ids != MASK] = -1
        best = confidence.topk(ANSWER // steps, 1).indices
        ids.scatter_(1, best, proposal.gather(1, best))
    return ids[:, start:].tolist()


def evaluate(net, rows, examples, steps=ANSWER):
    """Whole frames, intents, slot F1 and invalid answers, as fractions."""
    net.eval()
    by_length = {}
    for example in examples:
        prompt, _ = rows.row(example)
        by_length.setdefault(len(prompt), []).append((example, prompt))
    frames = intents = hits = surplus = missed = invalid = 0
    for group in by_length.values():
        for at in range(0, len(group), 64):
            part = group[at : at + 64]
            for (example, _), ids in zip(part, decode(net, [p for _, p in part], steps)):
                ids = ids[: ids.index(EOS)] if EOS in ids else ids
                expected = data.pairs(data.render(*example)[1])
                found = data.pairs(rows.tokenizer.decode(ids))
                if found is None:
                    invalid, missed = invalid + 1, missed + len(expected[1])
                    continue
                intents += found[0] == expected[0]
                frames += found == expected
                left = list(expected[1])
                for pair in found[1]:
                    if pair in left:
                        left.remove(pair)
                        hits += 1
                    else:
                        surplus += 1
                missed += len(left)
    net.train()
    n = len(examples)
    f1 = 2 * hits / max(2 * hits + surplus + missed, 1)
    return dict(frame=frames / n, intent=intents / n, f1=f1, invalid=invalid / n, n=n)


def train(net, rows, valid, args):
    matrices = [p for p in net.parameters() if p.dim() == 2]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    groups = [dict(params=matrices, weight_decay=args.decay), dict(params=vectors, weight_decay=0)]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98), fused=True)
    average = copy.deepcopy(net)
    start = shown = time.time()
    step, smooth = 0, None
    while (done := (time.time() - start) / (args.minutes * 60)) < 1:
        cosine = 0.5 * (1 + math.cos(math.pi * done)) * 0.98 + 0.02
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 200) * cosine
        loss = loss_of(net, rows.batch())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        smooth = loss.item() if smooth is None else 0.99 * smooth + 0.01 * loss.item()
        keep = min(0.9995, (step + 1) / (step + 20))
        with torch.no_grad():
            for mean, p in zip(average.parameters(), net.parameters()):
                mean.lerp_(p, 1 - keep)
        if step % 100 == 0:
            print(f"step {step}  loss {smooth:.4f}  {100 * done:.1f} %", flush=True)
        if time.time() - shown > 600:
            shown = time.time()
            print("valid", evaluate(average, rows, valid[:60]), flush=True)
    return average


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    config = dict(
        vocabulary=tokenizer.get_vocab_size(), d=args.d, layers=args.layers, heads=args.heads,
        kv_heads=args.kv_heads, ffn=args.ffn, theta=10000.0,
    )
    net = MaskedDiffusion(config)
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    rows, valid = Rows(data.load("train"), tokenizer, args), data.load("valid")
    average = train(net, rows, valid, args)
    torch.save(dict(config=config, weights=average.state_dict()), args.out)
    print("valid", evaluate(average, rows, valid))


if __name__ == "__main__":
    main()
