"""Pretraining: it learns, resumes to the same weights, and saves a CLIP that loads like any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning_fabric import Fabric

from ccafl.data.transforms import normalise
from ccafl.errors import InputError
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.text import encode_sentences, tokenized
from ccafl.pretraining import contrast
from ccafl.pretraining.contrast import (
    Pretraining,
    Towers,
    pretrain,
    save_clip,
    whitened_within_persons,
    with_scale_in_norms,
)
from ccafl.synthetic.captioned import CaptionedWorld
from ccafl.synthetic.world import PRETRAINING_SEED, World

SETTINGS = Pretraining(epochs=2, batch_size=8, images_per_person=2, learning_rate=1e-3, warmup_epochs=0)
CAPTIONED = CaptionedWorld(World(PRETRAINING_SEED, 8, 4), 2, (64, 32))


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    drawn = np.zeros((len(CAPTIONED.pictures), 3, 64, 32), np.uint8)
    CAPTIONED.draw(drawn)
    return drawn


def run(images: npt.NDArray[np.uint8], out: Path, settings: Pretraining = SETTINGS) -> dict[str, torch.Tensor]:
    out.mkdir(exist_ok=True)
    state: dict[str, torch.Tensor] = pretrain(CAPTIONED, images, out, Fabric(accelerator="cpu"), settings).state_dict()
    return state


def test_pictures_match_their_rows_whichever_process_draws_them(images: npt.NDArray[np.uint8]) -> None:
    person, camera, moment = CAPTIONED.pictures[5].tolist()
    expected = CAPTIONED.world.picture(person, camera, moment, (64, 32))
    assert np.array_equal(images[5].transpose(1, 2, 0), np.asarray(expected))
    shared = np.zeros_like(images)
    CAPTIONED.draw(shared, processes=2)
    assert np.array_equal(shared, images)
    counts = np.unique(CAPTIONED.pictures[:, :2], axis=0)
    assert len(counts) == len(images)  # no person appears twice in a camera


def test_the_losses_fall(images: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "degraded", lambda pictures, seed: pictures)  # easier, so that few steps will do
    run(images, tmp_path / "run", replace(SETTINGS, epochs=16, batch_size=16, learning_rate=1e-3))
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events] == list(range(16))
    for name in contrast.LOSSES:
        assert events[-1][name] < 0.8 * events[0][name], name


def test_resuming_gives_the_weights_of_an_uninterrupted_run(
    images: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = run(images, tmp_path / "uninterrupted")
    save, saved = contrast.save_checkpoint, []

    def stop(path: Path, content: dict[str, object]) -> None:
        save(path, content)
        saved.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(contrast, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            run(images, tmp_path / "stopped")
    resumed = run(images, tmp_path / "stopped")
    assert len(saved) == 1
    assert all(torch.equal(value, resumed[name]) for name, value in uninterrupted.items())
    assert len((tmp_path / "stopped" / "events.jsonl").read_text().splitlines()) == 2


def test_resuming_with_other_settings_is_refused(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    run(images, tmp_path / "run", replace(SETTINGS, epochs=1))
    with pytest.raises(InputError, match="other settings"):
        run(images, tmp_path / "run")


def test_learning_can_begin_with_given_weights(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    given = load_clip("clip-synth", "shipped").state_dict()
    still = run(images, tmp_path / "run", replace(SETTINGS, epochs=1, start="shipped", learning_rate=0.0))
    learned, kept = (
        run(images, tmp_path / str(share), replace(SETTINGS, epochs=1, start="shipped", kept=share))
        for share in (0.0, 0.25)
    )
    for name in ("visual.layer3.0.conv2.weight", "token_embedding.weight", "visual.bn1.running_mean"):
        assert "running" in name or torch.equal(still[name], given[name])
        assert not torch.equal(learned[name], given[name])
        torch.testing.assert_close(kept[name], 0.25 * given[name] + 0.75 * learned[name])


def test_the_saved_clip_reads_images_and_sentences_as_the_towers_did(
    images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    towers = Towers(load_clip("clip-synth", None), (64, 32)).eval()
    with torch.no_grad():
        towers.encoder.tower.resnet.attnpool.parametrizations.positional_embedding.original.add_(0.1)
    save_clip(tmp_path / "clip.safetensors", towers.finished())
    loaded = load_clip("clip-synth", str(tmp_path / "clip.safetensors")).eval()
    pixels = normalise(torch.from_numpy(images))
    tokens = tokenized([CAPTIONED.caption(picture) for picture in range(len(images))], loaded.context_length)
    with torch.no_grad():
        _, by_towers, text_by_towers, _ = towers(pixels, tokens)
        by_loaded = ImageEncoder(clip_tower(loaded.visual, (64, 32))).eval()(pixels)[1]
        text_by_loaded = encode_sentences(loaded, tokens)
    assert by_loaded is not None
    for one, other in ((by_towers, by_loaded), (text_by_towers, text_by_loaded)):
        assert torch.cosine_similarity(one, other).min() > 0.9999  # float16 rounds


def test_every_weight_of_the_clip_learns(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(SETTINGS.seed)
    before = load_clip("clip-synth", None).state_dict()
    after = run(images, tmp_path / "run", replace(SETTINGS, epochs=1))
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    unchanged = {name for name in same if "running" not in name and "batches" not in name}
    assert unchanged == set(), unchanged


def test_whitening_makes_persons_spread_alike_and_changes_no_product(images: npt.NDArray[np.uint8]) -> None:
    clip = load_clip("clip-synth", "shipped").eval()
    persons = torch.from_numpy(CAPTIONED.pictures[:, 0])
    pixels = normalise(torch.from_numpy(images))
    tokens = tokenized([CAPTIONED.caption(picture) for picture in range(len(images))], clip.context_length)

    def features() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return ImageEncoder(clip_tower(clip.visual, (64, 32))).eval()(pixels)[1], encode_sentences(clip, tokens)

    before = features()
    whitened_within_persons(clip, images, persons)
    after = features()
    torch.testing.assert_close(after[0] @ after[1].T, before[0] @ before[1].T, rtol=1e-3, atol=1e-2)
    lengths = before[0].norm(dim=1, keepdim=True)
    spreads = []
    for visual in (before[0], after[0]):
        normalised = visual / lengths
        means = torch.stack([normalised[persons == person].mean(0) for person in range(8)])
        spreads.append(torch.linalg.svdvals(normalised - means[persons])[:8])  # two pictures of 8 persons: rank 8
    assert spreads[0][0] / spreads[0][-1] > 2.5
    assert spreads[1][0] / spreads[1][-1] < 1.5


def test_plain_products_of_features_are_the_logits_and_cosines_are_unchanged(images: npt.NDArray[np.uint8]) -> None:
    torch.manual_seed(0)
    clip = load_clip("clip-synth", None).eval()
    pixels = normalise(torch.from_numpy(images))
    tokens = tokenized([CAPTIONED.caption(picture) for picture in range(len(images))], clip.context_length)

    def features() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            image_text = ImageEncoder(clip_tower(clip.visual, (64, 32))).eval()(pixels)[1]
            assert image_text is not None
            return image_text, encode_sentences(clip, tokens)

    before = features()
    with_scale_in_norms(clip, pixels, tokens)
    after = features()
    for one, other in zip(before, after, strict=True):
        assert torch.cosine_similarity(one, other).min() > 0.99999
    product = after[0].norm(dim=1).mean() * after[1].norm(dim=1).mean()
    assert float(product) == pytest.approx(clip.logit_scale.exp().item(), rel=1e-4)
