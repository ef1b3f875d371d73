"""Writes a Hugging Face LLaDA folder from a checkpoint: python3 export.py model.pt tokenizer.json OUT

OUT gets config.json, tokenizer.json, model.safetensors and golden.safetensors: six canvases with masks
and the logits that PyTorch computes for them, for parity tests.
"""

import json
import os
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

import data
from model import EPSILON, MaskedDiffusion
from train import EOS, JSON, MASK, USER

BLOCK_NAMES = {
    "query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "attn_out",
    "gate": "ff_proj", "up": "up_proj", "down": "ff_out",
    "attention_norm": "attn_norm", "ffn_norm": "ff_norm",
}


def tensors(net):
    weights = {name: w.float().contiguous().numpy() for name, w in net.state_dict().items()}
    out = {
        "model.transformer.wte.weight": weights["embedding.weight"],
        "model.transformer.ln_f.weight": weights["norm.weight"],
    }
    for layer in range(net.c["layers"]):
        for ours, theirs in BLOCK_NAMES.items():
            name = f"model.transformer.blocks.{layer}.{theirs}.weight"
            out[name] = weights[f"blocks.{layer}.{ours}.weight"]
    return out


def config(c):
    return dict(
        architectures=["LLaDAModelLM"], model_type="llada", block_type="llama",
        activation_type="silu", layer_norm_type="rms", d_model=c["d"], n_heads=c["heads"],
        n_kv_heads=c["kv_heads"], n_layers=c["layers"], mlp_hidden_size=c["ffn"],
        vocab_size=c["vocabulary"], embedding_size=c["vocabulary"], weight_tying=True, rope=True,
        rope_theta=c["theta"], rms_norm_eps=EPSILON, max_sequence_length=128, include_bias=False,
        mask_token_id=MASK, eos_token_id=EOS, pad_token_id=EOS, torch_dtype="float32",
    )


@torch.no_grad()
def golden(net, tokenizer):
    """Even cases have the whole answer masked, odd ones half of everything."""
    cases, random = {}, np.random.default_rng(7)
    for n, example in enumerate(data.load("valid")[:6]):
        utterance, frame = data.render(*example)
        prompt = [USER] + tokenizer.encode(" " + utterance).ids + [JSON]
        ids = np.full(len(prompt) + 48, EOS)
        full = (prompt + tokenizer.encode(frame).ids)[: len(ids)]
        ids[: len(full)] = full
        if n % 2 == 0:
            ids[len(prompt) :] = MASK
        else:
            ids[random.random(len(ids)) < 0.5] = MASK
        cases[f"case{n}.ids"] = ids.astype(np.int32)
        cases[f"case{n}.logits"] = net(torch.tensor(ids)[None])[0].numpy()
    return cases


def main(checkpoint, tokenizer_file, out):
    saved = torch.load(checkpoint)
    net = MaskedDiffusion(saved["config"])
    net.load_state_dict(saved["weights"])
    net.eval()
    tokenizer = Tokenizer.from_file(tokenizer_file)
    os.makedirs(out, exist_ok=True)
    save_file(tensors(net), os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config(saved["config"]), file, indent=1)
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    save_file(golden(net, tokenizer), os.path.join(out, "golden.safetensors"))


if __name__ == "__main__":
    main(*sys.argv[1:])
