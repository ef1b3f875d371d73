"""Writes a Hugging Face folder from a checkpoint: python3 export.py intents CHECKPOINT TOKENIZER OUT

The first word is the task: intents, lists or bard. OUT gets config.json, tokenizer.json,
model.safetensors in bfloat16 and golden.safetensors: six canvases with masks, and the logits that
PyTorch computes for them in f32 from those weights, for parity tests. A bidirectional model becomes a
LLaDA folder, a block-causal one (--block N) an SDAR folder.
"""

import argparse
import json
import os
import random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import trainer
from network import EPSILON, THETA
from rows import EOS, MASK, UNSEEN

CONTEXT = 128
LLADA = {
    "embedding.weight": "model.transformer.wte.weight", "norm.weight": "model.transformer.ln_f.weight",
    "query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "attn_out", "gate": "ff_proj",
    "up": "up_proj", "down": "ff_out", "attention_norm": "attn_norm", "ffn_norm": "ff_norm",
    "block": "model.transformer.blocks.{}.{}.weight",
}
SDAR = {
    "embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight",
    "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
    "output": "self_attn.o_proj", "query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "block": "model.layers.{}.{}.weight",
}


def published_name(name, names):
    if name in names:
        return names[name]
    _, layer, part, _ = name.split(".")
    return names["block"].format(layer, names[part])


def llada_config(c):
    return dict(
        architectures=["LLaDAModelLM"], model_type="llada", block_type="llama",
        activation_type="silu", layer_norm_type="rms", d_model=c["d"], n_heads=c["heads"],
        n_kv_heads=c["kv_heads"], n_layers=c["layers"], mlp_hidden_size=c["ffn"],
        vocab_size=c["vocabulary"], embedding_size=c["vocabulary"], weight_tying=True, rope=True,
        rope_theta=THETA, rms_norm_eps=EPSILON, max_sequence_length=CONTEXT, include_bias=False,
        mask_token_id=MASK, eos_token_id=EOS, pad_token_id=EOS, torch_dtype="bfloat16",
    )


def sdar_config(c, block):
    return dict(
        architectures=["SDARForCausalLM"], model_type="sdar", block_size=block, hidden_act="silu",
        hidden_size=c["d"], num_attention_heads=c["heads"], num_key_value_heads=c["kv_heads"],
        head_dim=c["d"] // c["heads"], num_hidden_layers=c["layers"], intermediate_size=c["ffn"],
        vocab_size=c["vocabulary"], tie_word_embeddings=True, attention_bias=False,
        rope_theta=THETA, rms_norm_eps=EPSILON, max_position_embeddings=CONTEXT,
        mask_token_id=MASK, eos_token_id=EOS, pad_token_id=EOS, torch_dtype="bfloat16",
    )


def texts(task, tokenizer):
    """Six texts as ids, and where the part that is masked whole begins."""
    rng = random.Random(7)
    if task == "bard":
        import bard

        ids = tokenizer.encode(bard.text("train.txt")[:100_000]).ids
        starts = [rng.randrange(len(ids) - 64) for _ in range(6)]
        return [(ids[at : at + 64], 48) for at in starts]
    if task == "lists":
        import lists

        pairs = [lists.Lists(tokenizer).draw(rng) for _ in range(6)]
    else:
        import intents
        import snips

        examples = intents.Examples(tokenizer, snips.load("valid"))
        pairs = [examples.row(example) for example in examples.examples[:6]]
    return [(prompt + answer + [EOS] * (48 - len(answer)), len(prompt)) for prompt, answer, _ in pairs]


@torch.no_grad()
def golden(net, task, tokenizer, block):
    """Even cases have the end of the text masked, odd ones half of everything."""
    cases, noise = {}, torch.Generator().manual_seed(7)
    for n, (ids, start) in enumerate(texts(task, tokenizer)):
        ids = torch.tensor(ids)
        if n % 2 == 0:
            ids[start:] = MASK
        else:
            ids[torch.rand(len(ids), generator=noise) < 0.5] = MASK
        bias = None
        if block:
            of = torch.arange(len(ids)) // block
            bias = torch.zeros(len(ids), len(ids)).masked_fill(of[:, None] < of[None, :], UNSEEN)
            bias = bias[None, None]
        cases[f"case{n}.ids"] = ids.int()
        cases[f"case{n}.logits"] = net(ids[None], bias)[0].contiguous()
    return cases


def main():
    p = argparse.ArgumentParser(description="Writes a Hugging Face folder from a checkpoint.")
    p.add_argument("task", choices=["intents", "lists", "bard"])
    p.add_argument("checkpoint")
    p.add_argument("tokenizer")
    p.add_argument("out")
    p.add_argument("--block", type=int, default=0, help="block length of a block-causal model")
    args = p.parse_args()
    net = trainer.restore(args.checkpoint)
    net.tagger = None  # it helped training
    weights = {name: w.bfloat16() for name, w in net.state_dict().items()}
    net.load_state_dict({name: w.float() for name, w in weights.items()})
    names, config = (SDAR, sdar_config(net.c, args.block)) if args.block else (LLADA, llada_config(net.c))
    tokenizer = Tokenizer.from_file(args.tokenizer)
    os.makedirs(args.out, exist_ok=True)
    tensors = {published_name(name, names): w.contiguous() for name, w in weights.items()}
    save_file(tensors, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(args.out, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    save_file(golden(net, args.task, tokenizer, args.block), os.path.join(args.out, "golden.safetensors"))


if __name__ == "__main__":
    main()
