"""Rows of a prompt and an answer: batches with masks, and decoding.

Masked is the answer (80 %), the prompt's text (10 %) or both (10 %), at a ratio spread evenly over
(0, 1]. In half of the rows whose answer alone is masked, the prompt does not see the answer: so the
model can be run with the prompt's keys and values kept.
"""

import random

import torch
import torch.nn.functional as F

EOS, MASK = 0, 1
PART = 32  # rows that are computed together
UNSEEN = -1e4


class Batches:
    """Batches of what draw(rng) gives: ids of a prompt and of an answer, and tags of the prompt's ids or
    None. The same for the same seed and step. The canvas has room for `canvas` tokens."""

    def __init__(self, draw, canvas, args):
        self.draw, self.canvas, self.args = draw, canvas, args

    def __call__(self, step):
        rng = random.Random(f"{self.args.seed} {step}")
        picked = []
        while len(picked) < self.args.batch:
            prompt, answer, tags = self.draw(rng)
            room = self.canvas - len(answer)
            if len(prompt) > 64 or room < 1:
                continue
            spare = room if rng.random() < 0.15 else min(room, 1 + int(rng.expovariate(1 / 6)))
            picked.append((prompt, answer + [EOS] * spare, len(answer), tags))
        # Rows of about the same length are computed together: less padding.
        picked.sort(key=lambda row: len(row[0]) + len(row[1]))
        noise = torch.Generator().manual_seed(rng.getrandbits(48))
        parts = [picked[at : at + PART] for at in range(0, len(picked), PART)]
        return [self.part(part, rng, noise) for part in parts]

    def part(self, picked, rng, noise):
        size = len(picked)
        length = max(len(prompt) + len(answer) for prompt, answer, _, _ in picked)
        length = (length + 15) // 16 * 16
        clean = torch.full((size, length), EOS)
        target = torch.zeros(size, length)  # what a position counts if it is masked
        seen = torch.ones(size, length, dtype=torch.bool)
        frozen = torch.zeros(size, dtype=torch.bool)
        prompts = torch.zeros(size, 1, dtype=torch.long)
        tags = torch.full((size, length), -1)
        for n, (prompt, answer, told, kinds) in enumerate(picked):
            start, end = len(prompt), len(prompt) + len(answer)
            clean[n, :start], clean[n, start:end] = torch.tensor(prompt), torch.tensor(answer)
            seen[n, end:] = False
            prompts[n] = start
            kind = rng.random()
            if kind < 0.8 or kind >= 0.9:
                target[n, start : start + told + 1] = 1.0
                target[n, start + told + 1 : end] = 0.1  # more end tokens are easy
            if kind >= 0.8:
                target[n, 1 : start - 1] = 0.5
            elif kinds:
                tags[n, :start] = torch.tensor(kinds)
            frozen[n] = kind < 0.4
        t = (torch.randperm(size, generator=noise) + torch.rand(1, generator=noise)) / size
        chance = torch.rand(size, length, generator=noise).masked_fill(target == 0, 2.0)
        # At least one position of each row is masked.
        masked = chance <= torch.maximum(t[:, None], chance.min(1, keepdim=True).values)
        weight = target * masked
        weight = weight / (weight.sum(1, keepdim=True) * self.args.batch)
        at = torch.arange(length)
        hidden = ~seen[:, None, :] | (
            frozen[:, None, None] & (at[:, None] < prompts[:, :, None]) & (at >= prompts[:, :, None])
        )
        bias = torch.zeros(size, 1, length, length).masked_fill(hidden[:, None], UNSEEN)
        part = dict(
            noisy=torch.where(masked, MASK, clean), clean=clean, weight=weight, bias=bias, copies=1
        )
        if (tags >= 0).any():
            part.update(tags=tags, batch=self.args.batch)
        return part


@torch.no_grad()
def decode(net, prompts, canvas):
    """Fills the answers of prompts of equal length, the most probable token of each pass."""
    start = len(prompts[0])
    ids = torch.full((len(prompts), start + canvas), MASK)
    ids[:, :start] = torch.tensor(prompts)
    for _ in range(canvas):
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(ids).float()
        logits[..., MASK] = -1e9
        confidence, proposal = F.softmax(logits, -1).max(-1)
        confidence[ids != MASK] = -1
        best = confidence.argmax(1, keepdim=True)
        ids.scatter_(1, best, proposal.gather(1, best))
    return ids[:, start:].tolist()


def answers(net, prompts, canvas):
    """The decoded answers, up to their end, in the order of the prompts."""
    by_length, found = {}, [None] * len(prompts)
    for n, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(n)
    for group in by_length.values():
        for at in range(0, len(group), 64):
            part = group[at : at + 64]
            for n, ids in zip(part, decode(net, [prompts[n] for n in part], canvas)):
                found[n] = ids[: ids.index(EOS)] if EOS in ids else ids
    return found
