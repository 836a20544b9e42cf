"""Sentences, read by CLIP's text tower."""

import copy
from collections.abc import Sequence
from functools import cache

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor


@cache
def _vocabulary() -> SimpleTokenizer:
    """Read once, as it takes longer than anything that is done with it."""
    return SimpleTokenizer()


def tokenizer() -> SimpleTokenizer:
    """CLIP's tokenizer. It remembers every word that it reads, so each has its own memory: none grows for ever."""
    fresh = copy.copy(_vocabulary())
    fresh.cache = dict(fresh.cache)
    return fresh


def tokenized(sentences: Sequence[str], context_length: int) -> Tensor:
    """Tokens of sentences: (B, L), L that of the longest; sentences over CLIP's ``context_length`` are truncated."""
    tokens: Tensor = tokenizer()(list(sentences), context_length)
    return tokens[:, : int(tokens.argmax(1).max()) + 1]  # the end-of-text token has the highest number


def encode_sentences(clip: CLIP, tokens: Tensor) -> Tensor:
    """Text features of tokenised sentences.

    Attention is causal: positions after the longest sentence's end change nothing and are left out.

    Args:
        tokens: (B, L) int64, from `tokenized`.

    Returns:
        (B, E) in the space of the images, not normalised.
    """
    length = tokens.shape[1]
    hidden = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    causal = torch.full((length, length), -torch.inf, device=tokens.device).triu(1)
    hidden = clip.transformer(hidden, attn_mask=causal)
    ends = clip.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)])
    features: Tensor = ends @ clip.text_projection
    return features
