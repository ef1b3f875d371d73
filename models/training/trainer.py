"""The training loop that all models share: optimizers, schedule, moving average, checkpoints.

A task gives batches; a batch is a list of parts that are computed one after another, each with

    noisy   [rows, length] ids with masks
    clean   [rows, length] the ids behind them
    weight  [rows, length] what a position counts in the loss, 0 where it is not masked
    bias    [rows or 1, 1, length, length] or None, added to the attention scores
    copies  2 where a masked copy stands before a clean one (block-causal training), otherwise 1
    tags    [rows, length] kind of each word for the tagger, -1 for none; only if the network has one

Matrices are trained with Muon, the rest with AdamW. The rate rises for 100 steps, stays, and falls to
zero over the last part of the run; so a run that stopped goes on from its checkpoint with more steps.
"""

import copy
import json
import os
import time

import torch
import torch.nn.functional as F

from network import MaskedDiffusion

TAGGER = 0.3  # what the tagger's loss counts


def add_arguments(p):
    """The options that every task has."""
    p.add_argument("--d", type=int, default=128, help="model width")
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, default=2)
    p.add_argument("--ffn", type=int, default=384)
    p.add_argument("--batch", type=int, default=128, help="rows per step")
    p.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    p.add_argument("--dropout", type=float, default=0.0, help="of what the blocks add to the rows")
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--steps", type=int, default=8000)
    p.add_argument("--fall", type=float, default=0.3, help="share of the steps in which the rate falls")
    p.add_argument("--average", type=float, default=0.998, help="decay of the average of the weights")
    p.add_argument("--teacher", nargs="+", help="checkpoints of models to learn from as well")
    p.add_argument("--every", type=int, default=500, help="steps between evaluations and checkpoints")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", default="model.pt", help="checkpoint; a run goes on from it")


def network(args, vocabulary, **more):
    net = MaskedDiffusion(dict(
        vocabulary=vocabulary, d=args.d, layers=args.layers, heads=args.heads,
        kv_heads=args.kv_heads, ffn=args.ffn, dropout=args.dropout, **more,
    ))
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    return net


def restore(path):
    """The averaged network of a checkpoint."""
    saved = torch.load(path, weights_only=True)
    net = MaskedDiffusion(saved["config"])
    net.load_state_dict(saved["average"])
    return net.eval()


def is_outer(name):
    """Whether a matrix turns ids into rows, or rows into classes."""
    return "embedding" in name or "tagger" in name


def optimizers(net, args):
    inner = [p for name, p in net.named_parameters() if p.dim() == 2 and not is_outer(name)]
    outer = [p for name, p in net.named_parameters() if p.dim() == 2 and is_outer(name)]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    muon = torch.optim.Muon(
        inner, lr=args.rate, weight_decay=args.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(
        [dict(params=outer, weight_decay=args.weight_decay), dict(params=vectors, weight_decay=0.0)],
        lr=args.rate, betas=(0.9, 0.98), fused=True,
    )
    return muon, adam


def share_of_rate(step, args):
    """The learning rate of a step, as a part of the peak."""
    falls = max(1, int(args.fall * args.steps))
    return min((step + 1) / 100, 1.0, max(0.0, (args.steps - step) / falls))


class Teacher:
    """What other networks say of masked tokens, on average; whatever their ids for them."""

    def __init__(self, checkpoints, ids):
        self.nets = [compiled(restore(checkpoint)) for checkpoint in checkpoints]
        self.ids = None if ids is None else torch.tensor(ids)

    @torch.no_grad()
    def __call__(self, inputs, masked):
        return sum(self.probabilities(net, *inputs, masked) for net in self.nets) / len(self.nets)

    def probabilities(self, net, noisy, bias, copies, masked):
        if self.ids is not None:
            noisy = self.ids[noisy]
        with torch.autocast("cpu", torch.bfloat16):
            logits = net.head(net.trunk(noisy, bias, copies)[masked]).float()
        return F.softmax(logits if self.ids is None else logits[:, self.ids], -1)


def loss_of(net, part, teacher=None):
    masked = part["weight"] > 0
    weight, target = part["weight"][masked], part["clean"][masked]
    inputs = part["noisy"], part["bias"], part["copies"]
    with torch.autocast("cpu", torch.bfloat16):
        middle, last = net.hidden(*inputs)
        logits = net.head(last[masked]).float()
    losses = F.cross_entropy(logits, target, reduction="none")
    if teacher is not None:
        taught = teacher(inputs, masked)
        losses = 0.5 * losses + 0.5 * -(taught * F.log_softmax(logits, -1)).sum(-1)
    loss = (losses * weight).sum()
    if "tags" in part:
        loss = loss + TAGGER * tagging(net, middle, part["tags"]) * len(middle) / part["batch"]
    return loss


def tagging(net, middle, tags):
    """What the tagger has to learn: the mean over the rows' words."""
    words = tags >= 0
    with torch.autocast("cpu", torch.bfloat16):
        scores = net.tagger(middle[words]).float()
    return F.cross_entropy(scores, tags[words])


def train(args, net, batch, evaluate, teacher_ids=None):
    """batch(step) gives the parts of a step; evaluate(net) gives a dict to print; teacher_ids are the
    teacher's ids of the tokens, None if they are the same."""
    torch.set_num_threads(args.threads)
    average = copy.deepcopy(net)
    muon, adam = optimizers(net, args)
    first = 0
    if os.path.exists(args.out):
        saved = torch.load(args.out, weights_only=True)
        net.load_state_dict(saved["weights"])
        average.load_state_dict(saved["average"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        first = saved["step"]
        print(f"goes on from step {first} of {args.out}", flush=True)
    trained = compiled(net)
    teacher = Teacher(args.teacher, teacher_ids) if args.teacher else None
    smooth, started = None, time.time()
    for step in range(first, args.steps):
        for group in muon.param_groups + adam.param_groups:
            group["lr"] = args.rate * share_of_rate(step, args)
        total = 0.0
        for part in batch(step):
            loss = loss_of(trained, part, teacher)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        smooth = total if smooth is None else 0.98 * smooth + 0.02 * total
        keep = min(args.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, p in zip(average.parameters(), net.parameters()):
                mean.lerp_(p, 1 - keep)
        if (step + 1) % 50 == 0:
            pace = (time.time() - started) / (step + 1 - first)
            print(f"step {step + 1}  loss {smooth:.4f}  {pace:.3f} s per step", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            save(args.out, net, average, muon, adam, step + 1)
            print(json.dumps(dict(step=step + 1, **evaluate(average.eval()))), flush=True)
    return average


def compiled(net):
    """The same network with fused blocks, one compilation for each shape of batch."""
    for block in net.blocks:
        block.forward = torch.compile(block.forward, dynamic=False)
    return net


def save(path, net, average, muon, adam, step):
    state = dict(
        config=net.c, weights=net.state_dict(), average=average.state_dict(),
        muon=muon.state_dict(), adam=adam.state_dict(), step=step,
    )
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)
