"""Sentences are encoded as open_clip encodes them."""

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from ccafl.model.clip import load_clip
from ccafl.model.text import encode_sentences, tokenized

SENTENCES = ["a man", "a woman in a red skirt and a black jacket with a backpack, seen from behind", "", "ball " * 200]


def clip() -> CLIP:
    torch.manual_seed(0)
    return load_clip("clip-synth", None).eval()


def test_features_are_those_of_open_clip() -> None:
    model = clip()
    whole = SimpleTokenizer(context_length=model.context_length)(SENTENCES)
    ours = encode_sentences(model, tokenized(SENTENCES, model.context_length))
    assert torch.allclose(ours, model.encode_text(whole), atol=1e-5)


def test_tokens_are_padded_only_to_the_longest_sentence() -> None:
    assert tokenized(SENTENCES[:1], 64).shape == (1, 4)
    assert tokenized(SENTENCES, 64).shape == (4, 64)


def test_other_sentences_in_the_batch_change_nothing() -> None:
    model = clip()
    alone = encode_sentences(model, tokenized(SENTENCES[:1], 64))
    together = encode_sentences(model, tokenized(SENTENCES, 64))[:1]
    assert torch.allclose(alone, together, atol=1e-5)
