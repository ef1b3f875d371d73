"""Random models as GGUF files, written straight as blocks of random bytes: nothing is downloaded, and no
model of floats stands in between.

`EDGE` has the sizes of benches/src/random.rs: LLaDA with 448 million parameters. The weights are other
random numbers than there, and a file has no vocabulary: good for times, not for results.
"""

import dataclasses
import pathlib
import struct

import numpy as np

F32 = 0
ALIGN = 32


@dataclasses.dataclass
class Shape:
    """Sizes of a model of LLaDA's architecture."""

    vocab: int
    dim: int
    layers: int
    heads: int
    ffn: int
    context: int

    def tensors(self):
        """Names and `(inputs, outputs)`, or `(inputs,)` of norms."""
        dim = self.dim
        yield "token_embd.weight", (dim, self.vocab)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            yield block + "attn_norm.weight", (dim,)
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield f"{block}{name}.weight", (dim, dim)
            yield block + "ffn_norm.weight", (dim,)
            yield block + "ffn_gate.weight", (dim, self.ffn)
            yield block + "ffn_up.weight", (dim, self.ffn)
            yield block + "ffn_down.weight", (self.ffn, dim)
        yield "output_norm.weight", (dim,)
        yield "output.weight", (dim, self.vocab)


EDGE = Shape(vocab=32000, dim=896, layers=24, heads=14, ffn=4864, context=2048)
LLADA_8B = Shape(vocab=126464, dim=4096, layers=32, heads=32, ffn=12288, context=4096)


@dataclasses.dataclass
class Type:
    """One of ggml's types of quantized weights."""

    number: int
    weights: int
    """Weights of a block."""
    size: int
    """Bytes of a block."""
    deviation: float
    """Standard deviation of random bytes as weights, for a scale of 1."""


TYPES = {"q4": Type(2, 32, 18, 4.61), "q8": Type(8, 32, 34, 73.6), "q4_k": Type(12, 256, 144, 258)}


def blocks(shape, kind, random):
    """Bytes of a quantized matrix, in rows of `shape[0]` numbers of standard deviation 1/sqrt(shape[0])."""
    type_ = TYPES[kind]
    half = lambda x: np.frombuffer(np.float16(x).tobytes(), np.uint8)
    out = random.integers(0, 256, (shape[0] * shape[1] // type_.weights, type_.size), dtype=np.uint8)
    if kind == "q8":
        out[:, 2:][out[:, 2:] == 128] = 0  # -128 does not occur
    scale = 1 / (type_.deviation * shape[0] ** 0.5)
    out[:, :2] = half(scale)
    if kind == "q4_k":
        out[:, 2:4] = half(7.5 * scale)  # of the minima: half of the largest integer
    return out.tobytes()


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def pair(key, value):
    if isinstance(value, bool):
        return text(key) + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    return text(key) + struct.pack("<I", 8) + text(value)


def write(path, kind, shape=EDGE, seed=1):
    """Writes a file, unless there is one."""
    path = pathlib.Path(path)
    if path.exists():
        return
    pairs = {
        "general.architecture": "llada",
        "general.name": "random",
        "llada.context_length": shape.context,
        "llada.embedding_length": shape.dim,
        "llada.block_count": shape.layers,
        "llada.feed_forward_length": shape.ffn,
        "llada.attention.head_count": shape.heads,
        "llada.attention.head_count_kv": shape.heads,
        "llada.attention.layer_norm_rms_epsilon": 1e-5,
        "llada.attention.causal": False,
        "llada.rope.dimension_count": shape.dim // shape.heads,
        "llada.rope.freq_base": 500000.0,
        "llada.vocab_size": shape.vocab,
        "diffusion.shift_logits": False,
        "tokenizer.ggml.model": "none",
        "tokenizer.ggml.eos_token_id": shape.vocab - 4,
        "tokenizer.ggml.mask_token_id": shape.vocab - 3,
    }
    random = np.random.default_rng(seed)
    table, offset, found = b"", 0, list(shape.tensors())
    type_, sizes = TYPES[kind], []
    for name, sides in found:
        matrix = len(sides) == 2
        size = sides[0] * sides[1] // type_.weights * type_.size if matrix else sides[0] * 4
        table += text(name) + struct.pack("<I", len(sides)) + struct.pack(f"<{len(sides)}Q", *sides)
        table += struct.pack("<IQ", type_.number if matrix else F32, offset)
        sizes.append(size)
        offset += -(-size // ALIGN) * ALIGN
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(found), len(pairs))
    head += b"".join(pair(key, value) for key, value in pairs.items()) + table
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGN))
        for (_, sides), size in zip(found, sizes):
            data = blocks(sides, kind, random) if len(sides) == 2 else np.ones(sides, "<f4").tobytes()
            assert len(data) == size
            out.write(data + b"\0" * (-size % ALIGN))
    unfinished.rename(path)
