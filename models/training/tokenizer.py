"""Trains the byte-level BPE tokenizer of the intents models: python3 tokenizer.py SIZE tokenizer.json

Two things make slot values easy to copy. A space is a token of its own, so a word has the same ids in
the utterance and in the frame; and each piece of JSON between two values is one token, so that a frame
is little more than its values.
"""

import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import snips

SPECIALS = ["<|endoftext|>", "<|mask|>", "<|user|>", "<|json|>"]  # ids 0 to 3


def syntax(examples):
    """What stands between the values of the frames, each piece a token."""
    intents = sorted({intent for intent, _ in examples})
    slots, lists = set(), set()
    for _, segments in examples:
        names = [slot for slot, _ in segments if slot]
        slots.update(names)
        lists.update(name for name in names if names.count(name) > 1)
    pieces = [" ", '"}', '","', '"]', '"]}']
    pieces += [f'{{"intent":"{intent}' for intent in intents]
    pieces += [f'","{slot}":"' for slot in sorted(slots)]
    pieces += [f'","{slot}":["' for slot in sorted(lists)]
    return pieces


def main(size, out):
    examples = snips.load("train")
    words = [word for _, segments in examples for _, value in segments for word in value]
    pieces = syntax(examples)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(pieces),
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    tokenizer.save(out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
