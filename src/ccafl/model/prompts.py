"""Learnable prompts, one per accumulated identity, and the frozen text encoder that reads them."""

import copy
from collections.abc import Callable

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from ccafl.errors import InputError
from ccafl.model.text import tokenizer


class PromptLearner(nn.Module):
    """The sentence "A photo of a [X]1 [X]2 [X]3 [X]4 person.", with its own learned X for every accumulated identity.

    Attributes:
        tokens: (N, T, W) parameter, the learnable tokens.

    Source: paper, section III (prompt learning); CLIP-ReID (arXiv 2211.13977).
    """

    prefix: Tensor
    suffix: Tensor

    def __init__(self, clip: CLIP, identities: int, template: str = "A photo of a {} person.", tokens: int = 4) -> None:
        """Draw the tokens (normal, standard deviation 0.02) and fix the words around them.

        Args:
            clip: provides the word embeddings; it is not kept.
            identities: N, the accumulated identities.
            template: the sentence, with {} where the tokens go. The authors' code reads "A photo of a X {} .".
            tokens: T, the number of learnable tokens per identity.

        Raises:
            InputError: the template does not have exactly one {}, has it inside a word, or is too long.
        """
        super().__init__()
        before, after = _split_template(template, tokens, clip.context_length)
        embedding = clip.token_embedding.weight.detach()
        self.register_buffer("prefix", embedding[before].clone())
        self.register_buffer("suffix", embedding[after].clone())
        self.tokens = nn.Parameter(torch.empty(identities, tokens, embedding.shape[1]).normal_(std=0.02))

    def forward(self, identities: Tensor) -> tuple[Tensor, int]:
        """The sentences of accumulated identities.

        Args:
            identities: (B,) int64 in 0..N-1.

        Returns:
            (embeddings (B, L, W) from the start-of-text to the end-of-text token, position L - 1 of the latter).
        """
        tokens = self.tokens[identities]
        prefix, suffix = (words.expand(len(tokens), -1, -1) for words in (self.prefix, self.suffix))
        embeddings = torch.cat([prefix, tokens, suffix], 1)
        return embeddings, embeddings.shape[1] - 1


def _split_template(template: str, tokens: int, context_length: int) -> tuple[list[int], list[int]]:
    """Token numbers before the slot (from the start of text) and after it (to the end of text)."""
    if template.count("{}") != 1:
        raise InputError(f"template {template!r}: needs exactly one {{}}; put it where the learned tokens go")
    words = tokenizer()
    encode: Callable[[str], list[int]] = words.encode
    before, after = (encode(part) for part in template.split("{}"))
    placeholder = " ".join("X" * tokens)
    if encode(template.replace("{}", placeholder)) != before + encode(placeholder) + after:
        raise InputError(f"template {template!r}: {{}} is part of a word; put spaces around it")
    length = len(before) + tokens + len(after) + 2
    if length > context_length:
        raise InputError(f"template {template!r}: {length} tokens, CLIP reads {context_length}; shorten it")
    return [words.sot_token_id, *before], [*after, words.eot_token_id]


class TextEncoder(nn.Module):
    """CLIP's text tower, frozen, reading embeddings instead of words.

    The tower is copied; the CLIP model it comes from is left as it was. Gradients pass through it to the prompts.
    """

    positions: Tensor
    mask: Tensor
    projection: Tensor

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.transformer: nn.Module = copy.deepcopy(clip.transformer)
        self.norm: nn.Module = copy.deepcopy(clip.ln_final)
        self.register_buffer("positions", clip.positional_embedding.detach().clone())
        self.register_buffer("projection", clip.text_projection.detach().clone())
        places = len(self.positions)
        self.register_buffer("mask", torch.full((places, places), -torch.inf).triu(1), persistent=False)
        self.requires_grad_(False)

    def forward(self, embeddings: Tensor, eot: int) -> Tensor:
        """Text features of sentences.

        Attention is causal, so nothing after the end of text can change its feature: the sentence is cut there,
        which is exact and, for a short sentence among CLIP's 77 positions, several times cheaper.

        Args:
            embeddings: (B, L, W), the sentences' tokens.
            eot: position of the end-of-text token, the same in every sentence.

        Returns:
            (B, E): the end-of-text feature in the space of the images, not normalised.
        """
        length = eot + 1
        hidden = embeddings[:, :length] + self.positions[:length]
        hidden = self.transformer(hidden, attn_mask=self.mask[:length, :length])
        features: Tensor = self.norm(hidden[:, eot]) @ self.projection
        return features
