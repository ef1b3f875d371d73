#!/usr/bin/env python3
"""What the difference to llama.cpp is made of: a forward pass in f64, with one rounding at a time.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release -p demask-std
    python3 benches/peers/roundings.py --types q8_0,q4_k --seeds 2 --rows 128 [--extra DIR]

For every variant: its mean distance from the exact pass, from llama.cpp and from demask, at logits of a root
mean square of 3, over the models of parity.py, whose options these are. "demask, emulated" and "llama.cpp,
emulated" say how near a pass gets that does the same roundings but sums in another order: one value that falls
to the other side of a tie changes all that follow.
"""

import pathlib
import sys
import tempfile

import numpy as np
import parity

F = np.float32


def nothing(x):
    return x


def f16(x):
    return x.astype(np.float16).astype(np.float64)


def q8(x, size=32, floor=2.0**-60, scale_type=F):
    """The last axis in groups of `size` as 8-bit integers and a scale, and back (rule 2 of docs/numerics.md)."""
    groups = x.astype(F).reshape(*x.shape[:-1], -1, size)
    largest = np.abs(groups).max(-1, keepdims=True)
    keep = largest >= floor
    largest = np.where(keep, largest, F(1))
    scale = (largest / F(127)).astype(scale_type).astype(np.float64)
    return (np.rint(groups * (F(127) / largest)) * keep * scale).reshape(x.shape)


def q8_head(x):
    """Rule 5: a head has one scale."""
    return q8(x, x.shape[-1], 2.0**-30)


def q8_head_groups(x):
    return q8(x, min(32, x.shape[-1]), 2.0**-30)


def ggml_q8_0(x):
    return q8(x, scale_type=np.float16)


def ggml_q8_k(x):
    groups = x.astype(F).reshape(*x.shape[:-1], -1, 256)
    at = np.abs(groups).argmax(-1)[..., None]
    largest = np.take_along_axis(groups, at, -1)
    inverse = F(-127) / np.where(largest == 0, F(1), largest)
    q = np.minimum(np.rint(groups * inverse), 127) * (largest != 0)
    return (q * (F(1) / inverse).astype(np.float64)).reshape(x.shape)


def weights_to_q8(w, steps=None):
    """As demask holds what it cannot hold exactly: with the covering scale, or a part of a half's own step."""
    groups = w.reshape(-1, 32)
    cover = np.abs(groups).max(-1, keepdims=True) / 127

    def rounded(scale):
        scale = scale.astype(np.float16).astype(np.float64)
        scale[scale == 0] = 1
        return np.clip(np.rint(groups / scale), -127, 127) * scale

    best = rounded(cover)
    least = ((best - groups) ** 2).sum(-1, keepdims=True)
    for step in [] if steps is None else np.moveaxis(steps.reshape(-1, 2, 1), 1, 0):
        most = np.floor(step / np.maximum(cover, 1e-30))
        for fewer in range(8):
            parts = np.where(most <= 127, most - fewer, 0)
            tried = rounded(np.where(parts > most / 2, step / np.maximum(parts, 1), cover))
            error = ((tried - groups) ** 2).sum(-1, keepdims=True)
            best, least = np.where(error < least, tried, best), np.minimum(error, least)
    return best.reshape(w.shape)


def q6_k_steps(data):
    blocks = np.asarray(data).reshape(-1, 210)
    d = blocks[:, 208:].copy().view(np.float16).astype(np.float64)
    return np.abs(d * blocks[:, 192:208].copy().view(np.int8))


def model_class(oracle):
    sys.path.insert(0, str(oracle))
    import gguf
    import numpy_forward

    class Model(numpy_forward.Model):
        """The exact pass of the oracle, and one that rounds."""

        def __init__(self, path):
            super().__init__(path, np.float64)
            self.exact_weights = self.t
            tensors = gguf.GGUFReader(path).tensors
            q6_k = {t.name: q6_k_steps(t.data) for t in tensors if t.tensor_type.name == "Q6_K"}
            rounded = {name: weights_to_q8(self.t[name]) for name in q6_k}
            stepped = {name: weights_to_q8(self.t[name], steps) for name, steps in q6_k.items()}
            self.held = {"covering": {**self.t, **rounded}, "stepped": {**self.t, **stepped}}

        def rounded(self, ids, act=nothing, q=nothing, k=nothing, v=nothing, p=nothing, weights=None, **places):
            """`act` rounds the inputs of all products, or only of those in `places`: qkv, out, ffn, down, head."""
            t = self.held.get(weights, self.exact_weights)
            at = {place: places.get(place, act) for place in ("qkv", "out", "ffn", "down", "head")}
            x = t["token_embd.weight"][ids]
            for layer in range(self.L):
                w = lambda name: t[f"blk.{layer}.{name}.weight"]
                y = at["qkv"](self.norm(x, w("attn_norm")))

                def heads(name, count):
                    bias = t.get(f"blk.{layer}.{name}.bias", 0.0)
                    return (y @ w(name).T + bias).reshape(len(x), count, self.hd)

                queries = q(self.rope(heads("attn_q", self.h)))
                keys, values = k(self.rope(heads("attn_k", self.kv))), v(heads("attn_v", self.kv))
                share = self.h // self.kv
                keys, values = np.repeat(keys, share, 1), np.repeat(values, share, 1)
                scores = np.einsum("qhd,khd->hqk", queries, keys, optimize=True) / np.sqrt(self.hd)
                scores = np.exp(scores - scores.max(-1, keepdims=True))
                scores = p(scores / scores.sum(-1, keepdims=True))
                y = np.einsum("hqk,khd->qhd", scores, values, optimize=True).reshape(len(x), -1)
                x = x + at["out"](y) @ w("attn_output").T
                y = at["ffn"](self.norm(x, w("ffn_norm")))
                gate = y @ w("ffn_gate").T
                x = x + at["down"](gate / (1 + np.exp(-gate)) * (y @ w("ffn_up").T)) @ w("ffn_down").T
            return at["head"](self.norm(x, t["output_norm.weight"])) @ t["output.weight"].T

    return Model


HEADS = dict(q=q8_head, k=q8_head, v=q8_head)
DEMASK = dict(HEADS, act=q8, weights="stepped")
LLAMA = dict(q=f16, k=f16, v=f16, p=f16)


def variants(kind):
    ggml = ggml_q8_k if kind in parity.K_QUANTS else ggml_q8_0
    named = {
        "nothing rounded": {},
        "demask, emulated": DEMASK,
        "llama.cpp, emulated": dict(LLAMA, act=ggml),
        "only inputs of products": dict(act=q8),
        "... of query, key, value": dict(qkv=q8),
        "... of the output projection": dict(out=q8),
        "... of gate and up": dict(ffn=q8),
        "... of down": dict(down=q8),
        "... of the head": dict(head=q8),
        "only queries": dict(q=q8_head),
        "only keys": dict(k=q8_head),
        "only values": dict(v=q8_head),
        "only queries, keys, values": HEADS,
        "demask, inputs of products not rounded": dict(DEMASK, act=nothing),
        "demask, inputs in groups of 16": dict(DEMASK, act=lambda x: q8(x, 16)),
        "demask, inputs as llama.cpp": dict(DEMASK, act=ggml),
        "demask, keys and values not rounded": dict(DEMASK, k=nothing, v=nothing),
        "demask, attention not rounded": dict(act=q8, weights="stepped"),
        "demask, heads in groups of 32": dict(DEMASK, q=q8_head_groups, k=q8_head_groups, v=q8_head_groups),
    }
    if kind == "q6_k":
        named |= {
            "only weights, covering scale": dict(weights="covering"),
            "only weights, part of a step": dict(weights="stepped"),
            "demask, weights with covering scale": dict(DEMASK, weights="covering"),
            "demask, weights not rounded": dict(DEMASK, weights=None),
        }
    return named


def distances(args, sides, model, path, ids, kind):
    """{variant: distances from the exact pass, llama.cpp and demask}"""
    listed = ",".join(map(str, ids))
    exact, llama, demask = model.rounded(ids), sides.llama(path, listed), sides.demask(path, listed)
    logits = {"llama.cpp": llama, "demask": demask}
    if args.extra:
        logits["llama.cpp, extra buffers"] = sides.llama(path, listed, extra=True)
    logits |= {name: model.rounded(ids, **switches) for name, switches in variants(kind).items()}
    scale = 3 / np.sqrt(np.mean(np.square(exact)))
    away = lambda y: [np.abs(y - other).mean() * scale for other in (exact, llama, demask)]
    return {name: away(y) for name, y in logits.items()}


def main():
    args = parity.arguments(__doc__)
    if not args.oracle.is_dir():
        print(f"SKIPPED: no {args.oracle}, nothing was compared", file=sys.stderr)
        return
    Model = model_class(args.oracle)
    kinds = [kind for kind in args.types.split(",") if not parity.is_float(kind)]
    found = {kind: {} for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sides = parity.Sides(args, folder)
        for arch, sizes, ids in parity.models(args):
            files = parity.Files(folder, args.oracle, arch, sizes)
            for kind in kinds:
                if kind in parity.K_QUANTS and sizes["d"] % 256:
                    continue
                path = files.path(kind)
                for name, figures in distances(args, sides, Model(path), path, ids, kind).items():
                    found[kind].setdefault(name, []).append(figures)
            files.delete()
    for kind, of_kind in found.items():
        print()
        parity.heading([f"{kind}, rounded", "to exact", "to llama.cpp (worst model)", "to demask"])
        for name, figures in of_kind.items():
            mean, worst = np.mean(figures, axis=0), np.max(figures, axis=0)
            parity.line([name, f"{mean[0]:.4f}", f"{mean[1]:.4f} ({worst[1]:.3f})", f"{mean[2]:.4f}"])


if __name__ == "__main__":
    main()
