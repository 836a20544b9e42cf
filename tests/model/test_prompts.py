"""Prompts and the text encoder."""

import open_clip
import pytest
import torch
from open_clip.model import CLIP

from ccafl.errors import InputError
from ccafl.model.prompts import PromptLearner, TextEncoder

WORDS = "tall man with umbrella"  # four words, one token each


def set_words(prompts: PromptLearner, clip: CLIP) -> None:
    tokens = open_clip.tokenize(WORDS)[0, 1:5]
    with torch.no_grad():
        prompts.tokens.copy_(clip.token_embedding(tokens).expand_as(prompts.tokens))


@pytest.mark.parametrize("template", ["A photo of a {} person.", "A photo of a X {} .", "{}", "{}, seen from behind"])
@pytest.mark.parametrize("model", ["tiny", "small_vit"])
@torch.no_grad()
def test_real_words_in_the_slot_give_clips_text_features(
    request: pytest.FixtureRequest, template: str, model: str
) -> None:
    clip = request.getfixturevalue(model)
    prompts = PromptLearner(clip, 2, template)
    set_words(prompts, clip)
    features = TextEncoder(clip).eval()(*prompts(torch.tensor([0, 1])))
    expected = clip.encode_text(open_clip.tokenize(template.replace("{}", WORDS)))
    torch.testing.assert_close(features, expected.expand(2, -1), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cutting_off_after_the_end_of_text_is_exact(tiny: CLIP) -> None:
    encoder = TextEncoder(tiny).eval()
    embeddings, eot = PromptLearner(tiny, 3)(torch.arange(3))
    assert embeddings.shape == (3, eot + 1, 128)
    padded = torch.cat([embeddings, torch.randn(3, 77 - eot - 1, 128)], 1)
    torch.testing.assert_close(encoder(padded, eot), encoder(embeddings, eot), rtol=0, atol=0)


def test_the_tokens_stand_where_the_template_has_its_slot(tiny: CLIP) -> None:
    prompts = PromptLearner(tiny, 2)
    embeddings, eot = prompts(torch.tensor([1]))
    words = open_clip.tokenize("A photo of a X X X X person.")[0]
    expected = tiny.token_embedding(words[: eot + 1]).detach()
    expected[5:9] = prompts.tokens[1].detach()
    assert words[eot] == words.max()
    assert torch.equal(embeddings[0], expected)


def test_tokens_start_with_small_values(tiny: CLIP) -> None:
    torch.manual_seed(0)
    tokens = PromptLearner(tiny, 200, tokens=6).tokens
    assert tokens.shape == (200, 6, 128)
    assert tokens.std().item() == pytest.approx(0.02, rel=0.02)


def test_only_the_tokens_in_the_batch_learn(tiny: CLIP) -> None:
    prompts, encoder = PromptLearner(tiny, 4), TextEncoder(tiny)
    encoder(*prompts(torch.tensor([0, 2, 2]))).square().sum().backward()
    assert [name for name, weight in prompts.named_parameters() if weight.requires_grad] == ["tokens"]
    assert prompts.tokens.grad.abs().sum((1, 2)).gt(0).tolist() == [True, False, True, False]
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert all(weight.requires_grad for weight in tiny.transformer.parameters())


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("A photo of a person.", "exactly one"),
        ("A {} of a {}.", "exactly one"),
        ("A photo of a{}person.", "part of a word"),
        ("word " * 80 + "{}", "CLIP reads 77"),
    ],
)
def test_refuses_an_invalid_template(tiny: CLIP, template: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        PromptLearner(tiny, 2, template)


def test_mixed_precision(tiny: CLIP) -> None:
    prompts, encoder = PromptLearner(tiny, 2), TextEncoder(tiny)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(*prompts(torch.arange(2)))
    features.float().sum().backward()
    assert prompts.tokens.grad.isfinite().all()
