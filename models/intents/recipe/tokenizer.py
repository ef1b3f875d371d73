"""Trains the byte-level BPE tokenizer on utterances and frames: python3 tokenizer.py tokenizer.json"""

import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import data

VOCABULARY = 1024
SPECIALS = ["<|endoftext|>", "<|mask|>", "<|user|>", "<|json|>"]  # ids 0 to 3


def main(out):
    lines = []
    for example in data.load("train"):
        utterance, frame = data.render(*example)
        lines += [" " + utterance, frame]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
