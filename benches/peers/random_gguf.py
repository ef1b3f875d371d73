"""Random models of the `edge` size as GGUF files, so that nothing has to be downloaded.

The sizes are those of benches/src/random.rs: LLaDA with 448 million parameters. The weights are other
random numbers than there, and a file has no vocabulary: good for times, not for results.
"""

import pathlib
import struct

import numpy as np

VOCAB, DIM, LAYERS, HEADS, FFN, CONTEXT = 32000, 896, 24, 14, 4864, 2048
MASK, EOS = 31997, 31996
# Name to ggml's number of the type, bytes per block of 32, integers' standard deviation.
TYPES = {"q4": (2, 18, 4.61), "q8": (8, 34, 73.6)}
F32 = 0
ALIGN = 32


def weights_per_row():
    """Multiplications by weights for one row, head included."""
    return LAYERS * (4 * DIM * DIM + 3 * DIM * FFN) + VOCAB * DIM


def tensors():
    """Names and `(inputs, outputs)`, or `(inputs,)` of norms."""
    yield "token_embd.weight", (DIM, VOCAB)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (DIM,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}{name}.weight", (DIM, DIM)
        yield block + "ffn_norm.weight", (DIM,)
        yield block + "ffn_gate.weight", (DIM, FFN)
        yield block + "ffn_up.weight", (DIM, FFN)
        yield block + "ffn_down.weight", (FFN, DIM)
    yield "output_norm.weight", (DIM,)
    yield "output.weight", (DIM, VOCAB)


def blocks(shape, kind, random):
    """Bytes of a quantized matrix, in rows of `shape[0]` numbers of standard deviation 1/sqrt(shape[0])."""
    _, size, deviation = TYPES[kind]
    count = shape[0] * shape[1] // 32
    out = random.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == "q8":
        out[:, 2:][out[:, 2:] == 128] = 0  # -128 does not occur
    scale = np.float16(1 / (deviation * shape[0] ** 0.5))
    out[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
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


def write(path, kind, seed=1):
    """Writes a file, unless there is one."""
    path = pathlib.Path(path)
    if path.exists():
        return
    pairs = {
        "general.architecture": "llada",
        "general.name": "random-edge",
        "llada.context_length": CONTEXT,
        "llada.embedding_length": DIM,
        "llada.block_count": LAYERS,
        "llada.feed_forward_length": FFN,
        "llada.attention.head_count": HEADS,
        "llada.attention.head_count_kv": HEADS,
        "llada.attention.layer_norm_rms_epsilon": 1e-5,
        "llada.attention.causal": False,
        "llada.rope.dimension_count": DIM // HEADS,
        "llada.rope.freq_base": 500000.0,
        "llada.vocab_size": VOCAB,
        "diffusion.shift_logits": False,
        "tokenizer.ggml.model": "none",
    }
    random = np.random.default_rng(seed)
    table, offset, found = b"", 0, list(tensors())
    sizes = []
    for name, shape in found:
        number = TYPES[kind][0] if len(shape) == 2 else F32
        size = shape[0] * shape[1] // 32 * TYPES[kind][1] if len(shape) == 2 else shape[0] * 4
        table += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        table += struct.pack("<IQ", number, offset)
        sizes.append(size)
        offset += -(-size // ALIGN) * ALIGN
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(found), len(pairs))
    head += b"".join(pair(key, value) for key, value in pairs.items()) + table
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGN))
        for (_, shape), size in zip(found, sizes):
            data = blocks(shape, kind, random) if len(shape) == 2 else np.ones(shape, "<f4").tobytes()
            assert len(data) == size
            out.write(data + b"\0" * (-size % ALIGN))
    unfinished.rename(path)
