"""Weights that nothing has trained for re-ID, as an encoder."""

import pytest
import torch
import torch.nn.functional as F

from ccafl.errors import InputError
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.timm_tower import TimmTower
from ccafl.model.untrained import NamedWeights, build_untrained


def encoder_of(name):
    return build_untrained(NamedWeights.parse(name).settings()).eval()


@torch.no_grad()
def test_the_image_text_feature_is_matched():
    encoder = encoder_of("clip-synth")
    images = torch.randn(3, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    pooled, image_text = clip_tower(load_clip("clip-synth", "shipped").visual, (128, 64)).eval()(images, True)
    assert (encoder.reid_dim, encoder.image_text_dim) == (256, 256)
    torch.testing.assert_close(encoder.embed(images), F.normalize(image_text))
    reid, beside = encoder(images)
    torch.testing.assert_close(beside, image_text)
    torch.testing.assert_close(F.normalize(reid), F.normalize(image_text))
    assert encoder(images, image_text=False)[1] is None
    assert encoder.tower.feature_map(images).shape == (3, pooled.shape[1], 8, 4)


@torch.no_grad()
def test_the_pooled_feature_is_matched_where_there_is_no_text(tmp_path):
    torch.manual_seed(0)
    tower = TimmTower("timm/resnet18", None, (256, 128), last_stride=2).eval()
    torch.save(tower.model.state_dict(), tmp_path / "weights.pt")
    encoder = encoder_of(f"timm/resnet18:{tmp_path / 'weights.pt'}")
    images = torch.randn(2, 3, 256, 128)
    assert encoder.image_text_dim is None
    torch.testing.assert_close(encoder.embed(images), F.normalize(tower(images, False)[0]))


def test_names_and_their_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.pt").touch()
    shipped, tagged, own = (NamedWeights.parse(name) for name in ("clip-synth", "RN50:openai", "tiny:file.pt"))
    assert str(shipped) == "clip-synth:shipped"
    assert NamedWeights.parse(str(shipped)) == shipped
    assert str(own) == f"tiny:{tmp_path / 'file.pt'}"  # found from any folder
    assert (shipped.settings().image_size, tagged.settings().image_size) == ((128, 64), (256, 128))
    assert tagged.settings().weights == "openai"
    assert NamedWeights.parse("clip-sinth") is None
    assert NamedWeights.parse("runs/mine") is None


@pytest.mark.parametrize(("name", "words"), [("RN50", "RN50:TAG with a tag of openai"), ("tiny", "give tiny:FILE")])
def test_an_architecture_alone_is_refused(name, words):
    with pytest.raises(InputError, match=f"^{name}: comes without weights; .*{words}"):
        NamedWeights.parse(name)
