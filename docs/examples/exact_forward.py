#!/usr/bin/env python3
"""Decodes a canvas with docs/numerics.md and numpy only, and arrives at the engine's own bits.

    python3 docs/examples/exact_forward.py models/intents-q4.dmk --ids 2,276,277,3 --masks 56 --threshold 0.9

prints tokens, forward passes and checksum. `--compare` runs `demask` on the same canvas and fails if
a single bit of a logit or of the checksum differs. Needs Python 3.9 and numpy; greedy decoding in
one block only. Rule numbers are those of docs/numerics.md.

numpy rounds every f32 operation on its own and never fuses two: that is all the contract asks for.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from read_image import CELL_INTEGERS, Image  # noqa: E402

F = np.float32
ROUND = F(12582912.0)
EXP_MIN, CUTOFF = F(-64.0), F(-27.725887)
ACTIVATION_FLOOR, ATTENTION_FLOOR = F(2.0**-60), F(2.0**-30)
CHUNK = 64


# Rule 4: functions and reductions


def exp(x):
    x = np.maximum(np.asarray(x, F), EXP_MIN)
    shifted = x * F(1.44269504) + ROUND
    n = shifted - ROUND
    r = x - n * F(0.6933594)
    r = r - n * F(-2.1219444e-4)
    p = F(1.9875691e-4)
    for c in (1.3981999e-3, 8.333452e-3, 4.1665796e-2, 1.6666665e-1, 5.0e-1):
        p = p * r + F(c)
    y = (p * (r * r) + r) + F(1.0)
    with np.errstate(over="ignore"):  # the sum wraps: n is negative
        bits = y.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))
    return bits.view(F)


def silu(x):
    e = exp(-np.abs(x))
    return np.where(x < 0, (x * e) / (F(1) + e), x / (F(1) + e)).astype(F)


def ln(x):
    """The fdlibm `logf`, for normal positive numbers."""
    ix = int(F(x).view(np.uint32))
    if ix == 0x3F800000:
        return F(0)
    ix += 0x3F800000 - 0x3F3504F3
    k = (ix >> 23) - 0x7F
    f = np.uint32((ix & 0x007FFFFF) + 0x3F3504F3).view(F) - F(1)
    lg1, lg2, lg3, lg4 = (
        F(float.fromhex(c)) for c in ("0xaaaaaap-24", "0xccce13p-25", "0x91e9eep-25", "0xf89e26p-26")
    )
    s = f / (F(2) + f)
    z = s * s
    w = z * z
    t1 = w * (lg2 + w * lg4)
    t2 = z * (lg1 + w * lg3)
    half_square = F(0.5) * f * f
    dk = F(k)
    return s * (half_square + (t2 + t1)) + dk * F(9.0580006145e-06) - half_square + f + dk * F(6.9313812256e-01)


def tree(s):
    s = np.moveaxis(s, -1, 0)
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


def sum_of(x):
    """Eight chains over the last axis, then the tree."""
    chains = np.zeros((*x.shape[:-1], 8), F)
    for start in range(0, x.shape[-1], 8):
        part = x[..., start : start + 8]
        chains[..., : part.shape[-1]] += part
    return tree(chains)


# Rules 2 and 3: activations and products


def quantize(x, floor):
    """The last axis becomes i8 (kept as int32) and one scale."""
    largest = np.abs(x).max(axis=-1)
    assert np.isfinite(largest).all()
    keep = largest >= floor
    safe = np.where(keep, largest, F(1)).astype(F)
    q = np.rint(x * (F(127) / safe)[..., None]).astype(np.int32)
    return q * keep[..., None], np.where(keep, safe / F(127), F(0)).astype(F)


def product(x, matrix):
    """x [rows, columns] by a packed matrix (integers [outputs, columns], scales, minima or None, outputs)."""
    q, scales, minima, outputs = matrix
    groups = scales.shape[1]
    padded = np.zeros((len(x), groups * 32), F)
    padded[:, : x.shape[1]] = x
    a, a_scales = quantize(padded.reshape(len(x), groups, 32), ACTIVATION_FLOOR)
    w = q.reshape(-1, groups, 32)
    acc = np.zeros((len(x), len(w)), F)
    for g in range(groups):
        exact = (a[:, g].astype(np.int64) @ w[:, g].astype(np.int64).T).astype(F)
        term = (scales[None, :, g] * a_scales[:, g, None]) * exact
        if minima is not None:
            scaled_sum = a_scales[:, g] * a[:, g].sum(axis=-1).astype(F)
            term = term - minima[None, :, g] * scaled_sum[:, None]
        acc = acc + term
    return acc[:, :outputs]


# Rule 6: the rotary tables


def f64(bits):
    return np.uint64(bits).view(np.float64)


HALF_PI = [f64(b) for b in (0x3FF921FB54400000, 0x3DD0B4611A600000, 0x3BA3198A2E037073)]
SIN = [f64(b) for b in (0x3DE5D93A5ACFD57C, 0xBE5AE5E68A2B9CEB, 0x3EC71DE357B1FE7D,
                        0xBF2A01A019C161D5, 0x3F8111111110F8A6, 0xBFC5555555555549)]
COS = [f64(b) for b in (0xBDA8FAE9BE8838D4, 0x3E21EE9EBDB4B1C4, 0xBE927E4F809C52AD,
                        0x3EFA01A019CB1590, 0xBF56C16C16C15177, 0x3FA555555555554C)]


def sin_cos(x):
    shifted = x * f64(0x3FE45F306DC9C883) + f64(0x4338000000000000)
    n = shifted - f64(0x4338000000000000)
    for part in HALF_PI:
        x = x - n * part
    z = x * x

    def polynomial(coefficients):
        total = coefficients[0]
        for c in coefficients[1:]:
            total = total * z + c
        return total

    s = x + (x * z) * polynomial(SIN)
    c = 1.0 - (0.5 * z - (z * z) * polynomial(COS))
    quadrant = shifted.view(np.uint64) & np.uint64(3)
    cases = [quadrant == q for q in range(4)]
    return np.select(cases, [s, c, -s, -c]), np.select(cases, [c, -s, -c, s])


class Engine:
    def __init__(self, image):
        self.c = image.config
        self.tensors = {}
        for name, t in image.tensors.items():
            packed = t["type"] in CELL_INTEGERS
            self.tensors[name] = (*image.packed(name), t["rows"]) if packed else image.weights(name)[0]
        self.embedding = image.weights("embedding")
        self.head = self.tensors["embedding" if self.c["tied_head"] else "head"]

    # Rule 6: norm, rotation, feed-forward

    def norm(self, x, name):
        mean = sum_of(x * x) / F(x.shape[-1])
        assert np.isfinite(mean).all()
        inverse = F(1) / np.sqrt(mean + F(self.c["norm_eps"]))
        return (x * inverse[:, None]) * self.tensors[name]

    def rotate(self, x):
        """x [rows, heads, head_dim]"""
        dim = self.c["head_dim"]
        theta = float(F(self.c["rope_theta"]))
        frequency = np.array([math.pow(theta, -2.0 * i / dim) for i in range(dim // 2)])
        sin, cos = sin_cos(np.arange(len(x), dtype=np.float64)[:, None] * frequency)
        sin, cos = sin.astype(F)[:, None], cos.astype(F)[:, None]
        if self.c["rope_pairs"] == "half-split":
            first, second = np.s_[..., : dim // 2], np.s_[..., dim // 2 :]
        else:
            first, second = np.s_[..., 0::2], np.s_[..., 1::2]
        y = np.empty_like(x)
        y[first] = x[first] * cos - x[second] * sin
        y[second] = x[second] * cos + x[first] * sin
        return y

    # Rule 5

    def attention(self, y, layer):
        heads, kv_heads, dim = self.c["heads"], self.c["kv_heads"], self.c["head_dim"]
        rows = len(y)
        project = lambda name, n: product(y, self.tensors[f"{layer}.{name}"]).reshape(rows, n, dim)
        q, q_scale = quantize(self.rotate(project("query", heads)), ATTENTION_FLOOR)
        k, k_scale = quantize(self.rotate(project("key", kv_heads)), ATTENTION_FLOOR)
        v, v_scale = quantize(project("value", kv_heads), ATTENTION_FLOOR)
        q_scale = q_scale * (F(1) / np.sqrt(F(dim)))
        out = np.empty((rows, heads, dim), F)
        for h in range(heads):
            m = h // (heads // kv_heads)
            exact = (q[:, h].astype(np.int64) @ k[:, m].astype(np.int64).T).astype(F)
            below = (q_scale[:, h, None] * k_scale[None, :, m]) * exact
            below = below - below.max(axis=-1, keepdims=True)
            weights = np.where(below < CUTOFF, F(0), exp(below)).astype(F)
            inverse = F(1) / sum_of(weights)
            acc = np.zeros((rows, dim), F)
            for slot in range(rows):
                scaled = weights[:, slot] * v_scale[slot, m]
                acc = acc + scaled[:, None] * v[slot, m].astype(F)[None, :]
            out[:, h] = acc * inverse[:, None]
        return out.reshape(rows, heads * dim)

    def logits(self, canvas):
        x = self.embedding[canvas]
        for layer in range(self.c["layers"]):
            t = lambda name: self.tensors[f"{layer}.{name}"]
            y = self.norm(x, f"{layer}.attention_norm")
            x = x + product(self.attention(y, layer), t("attention_output"))
            y = self.norm(x, f"{layer}.ffn_norm")
            x = x + product(silu(product(y, t("gate"))) * product(y, t("up")), t("down"))
        return product(self.norm(x, "output_norm"), self.head)


# Rule 7: the score record


def score(position, logits, mask):
    top, top_logit, runner_up = 0, F(-np.inf), F(-np.inf)
    total = weighted = F(0)
    for first in range(0, len(logits), CHUNK):
        chunk = np.full(CHUNK, -np.inf, F)
        part = logits[first : first + CHUNK]
        chunk[: len(part)] = part
        if first <= mask < first + CHUNK:
            chunk[mask - first] = -np.inf
        before, largest = top_logit, chunk.max()
        for i, l in enumerate(chunk):
            if l > top_logit:
                runner_up, top, top_logit = top_logit, first + i, l
            elif l > runner_up:
                runner_up = l
        if largest == -np.inf:
            continue
        below = chunk - largest
        e = np.where(below == -np.inf, F(0), exp(below)).astype(F)
        part = sum_of(e), sum_of(e * np.maximum(below, EXP_MIN))
        (a, b), (c, d) = rebase(total, weighted, before - top_logit), rebase(*part, largest - top_logit)
        total, weighted = a + c, b + d
    log_sum = ln(total)
    entropy = log_sum - weighted / total
    runner_up = max(runner_up, np.finfo(F).min)
    return dict(
        position=position, top=top, top_logit=top_logit, runner_up_logit=runner_up,
        log_sum_exp=top_logit + log_sum, entropy=entropy if entropy > 0 else F(0),
        proposal=top, proposal_logit=top_logit,
        # Only masks are scored here, and nothing is compared with an earlier pass.
        current_logit=np.finfo(F).min, divergence=F(0),
    )


def rebase(total, weighted, shift):
    if shift >= 0 or total == 0:
        return total, weighted
    factor = exp(shift)
    return factor * total, factor * (weighted + shift * total)


def confidence(s):
    return exp(min(s["proposal_logit"] - s["log_sum_exp"], F(0)))


# Rule 10: the checksum


class Checksum:
    def __init__(self):
        self.value = 0xCBF29CE484222325

    def absorb(self, word):
        word = int(word) if isinstance(word, (int, np.integer)) else int(F(word).view(np.uint32))
        self.value = (self.value ^ word) * 0x100000001B3 % 2**64


def decode(engine, canvas, steps, threshold):
    """Fills the masks of one block; returns forward passes and checksum."""
    mask, eos = engine.c["mask_id"], engine.c["eos_id"]
    start = len(canvas) - canvas.count(mask)
    masks, step, checksum = len(canvas) - start, 0, Checksum()
    while mask in canvas:
        logits = engine.logits(canvas)
        scores = [score(p, logits[p], mask) for p, token in enumerate(canvas) if token == mask]
        ranked = sorted(scores, key=lambda s: (-confidence(s), s["position"]))
        if threshold is not None:
            chosen = [s for s in ranked if confidence(s) >= F(threshold)]
        else:
            chosen = ranked[: masks // steps + (step < masks % steps)]
        chosen = chosen or ranked[:1]
        checksum.absorb(step)
        for s in scores:
            for value in s.values():
                checksum.absorb(value)
        for s in chosen:
            checksum.absorb(s["position"])
            checksum.absorb(s["proposal"])
            canvas[s["position"]] = s["proposal"]
        step += 1
        # Stop at the first end token of the region that has no mask before it.
        first = next((p for p in range(start, len(canvas)) if canvas[p] in (mask, eos)), None)
        if first is not None and canvas[first] == eos:
            canvas[first:] = [eos if token == mask else token for token in canvas[first:]]
    return step, checksum.value


def compare(args, image, engine, ids):
    """Logits of a partly masked canvas, and a whole decode of a prompt, against `demask`."""
    demask = args.demask.split()
    canvas = ids + [engine.c["mask_id"]] * args.masks
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.npy")
        command = [*demask, "logits", args.image, "--ids", ",".join(map(str, canvas)), "--out", out]
        subprocess.run(command, check=True)
        theirs = np.load(out)
    ours = engine.logits(canvas)
    different = np.count_nonzero(ours.view(np.uint32) != theirs.view(np.uint32))
    print(f"logits: {different} of {ours.size} differ")
    command = [*demask, "run", args.image, "--prompt", args.prompt, "--gen-length", str(args.masks), "--json"]
    if args.threshold is not None:
        command += ["--threshold", str(args.threshold)]
    theirs = json.loads(subprocess.check_output(command))
    canvas = prompt_ids(image, args.prompt) + [engine.c["mask_id"]] * args.masks
    start = len(canvas) - args.masks
    forwards, checksum = decode(engine, canvas, args.masks, args.threshold)
    print(f"decode: ours {checksum:016x} in {forwards} forwards, demask {theirs['checksum']} in {theirs['forwards']}")
    same = (canvas[start:], forwards, f"{checksum:016x}") == (
        theirs["tokens"], theirs["forwards"], theirs["checksum"])
    if different or not same:
        sys.exit("not the same")
    print("bit-identical")


def prompt_ids(image, text):
    """Prefix, text (already in normal form: ASCII words and single spaces), suffix."""
    t, ids = image.tokenizer, []
    assert all(word.isalpha() and word.isascii() for word in text.split(" ")), "words of a to z only"
    # Where a space is an added token, a word is encoded without it.
    space = [id for id in t["added"] if t["pieces"][id] == b" "]
    for word in text.split(" "):
        ids += space
        tokens = [t["byte_tokens"][b] for b in (word if space else " " + word).encode()]
        while True:
            pairs = [(*t["merges"][p], i) for i, p in enumerate(zip(tokens, tokens[1:])) if p in t["merges"]]
            if not pairs:
                break
            _, merged, at = min(pairs, key=lambda pair: (pair[0], pair[2]))
            tokens[at : at + 2] = [merged]
        ids += tokens
    return image.prompt["prefix"] + ids + image.prompt["suffix"]


def main():
    parser = argparse.ArgumentParser(description="Decodes with docs/numerics.md in numpy.")
    parser.add_argument("image")
    parser.add_argument("--ids", default="2,276,277,3", help="the canvas before the masks")
    parser.add_argument("--masks", type=int, default=56)
    parser.add_argument("--threshold", type=float, help="commit by threshold [default: one per step]")
    parser.add_argument("--prompt", default="play some jazz", help="for --compare")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--demask", default="cargo run --release --quiet --", help="how to start demask")
    args = parser.parse_args()
    with open(args.image, "rb") as file:
        image = Image(file.read())
    engine = Engine(image)
    ids = [int(i) for i in args.ids.split(",")]
    if args.compare:
        return compare(args, image, engine, ids)
    canvas = ids + [image.config["mask_id"]] * args.masks
    forwards, checksum = decode(engine, canvas, args.masks, args.threshold)
    pieces = b"".join(image.tokenizer["pieces"][t] for t in canvas[len(ids) :] if t != image.config["eos_id"])
    print(json.dumps({"tokens": canvas, "text": pieces.decode(errors="replace"),
                      "forwards": forwards, "checksum": f"{checksum:016x}"}))


if __name__ == "__main__":
    main()
