"""timm models as backbones: features, weights, and refused configurations."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from ccafl.config import Config, load_config
from ccafl.data.transforms import MEAN, STD
from ccafl.errors import InputError
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import build_encoder, build_network, check_backbone, resolved
from ccafl.model.timm_tower import TimmTower
from ccafl.model.tower import Tower

SIZE = (64, 32)
NO_TEXT = ["stage2.intra_camera.text=false", "stage2.inter_camera.text_from=null"]


def tower(name: str, weights: str | None = None, last_stride: int = 1, size: tuple[int, int] = SIZE) -> TimmTower:
    torch.manual_seed(0)
    return TimmTower(f"timm/{name}", weights, size, last_stride).eval()


def refusal(name: str, weights: str | Path | None = None, **options: object) -> str:
    """The error message for a refused model."""
    with pytest.raises(InputError) as caught:
        tower(name, None if weights is None else str(weights), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert ": " in message
    assert "; " in message
    return message


def settings(*sets: str) -> Config:
    return load_config("market-split", [f"model.image_size={list(SIZE)}", "model.weights=null", *sets])


def seen_by_timm(images: torch.Tensor, name: str) -> torch.Tensor:
    """Images renormalised from our mean and standard deviation to those the model was made for."""
    own = timm.get_pretrained_cfg(name)
    ours, theirs = ([torch.tensor(c)[:, None, None] for c in pair] for pair in ((MEAN, STD), (own.mean, own.std)))
    return (images * ours[1] + ours[0] - theirs[0]) / theirs[1]


@pytest.mark.parametrize(("last_stride", "map_size"), [(1, (4, 2)), (2, (2, 1))])
@torch.no_grad()
def test_a_feature_map_is_timms_and_pooled_by_gem(last_stride: int, map_size: tuple[int, int]) -> None:
    built = tower("test_resnet", last_stride=last_stride)
    plain = timm.create_model("test_resnet", num_classes=0, output_stride=16 * last_stride).eval()
    plain.load_state_dict(built.model.state_dict())
    images = torch.randn(2, 3, *SIZE)
    features = built.feature_map(images)
    assert features.shape == (2, built.reid_dim, *map_size)
    torch.testing.assert_close(features, plain.forward_features(seen_by_timm(images, "test_resnet")))
    pooled, image_text = built(images, True)
    torch.testing.assert_close(pooled, features.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))
    assert image_text is None
    assert (built.has_map, built.image_text_dim) == (True, None)


@torch.no_grad()
def test_a_token_model_is_pooled_by_its_class_token() -> None:
    built = tower("vit_tiny_patch16_224")
    images = torch.randn(2, 3, *SIZE)
    tokens = built.model.forward_features(seen_by_timm(images, "vit_tiny_patch16_224"))
    assert tokens.shape == (2, 1 + 4 * 2, 192)
    torch.testing.assert_close(built(images, False)[0], tokens[:, 0])
    assert (built.has_map, built.reid_dim) == (False, 192)
    with pytest.raises(NotImplementedError, match="no feature map"):
        built.feature_map(images)


@torch.no_grad()
def test_a_channels_last_feature_map_is_permuted() -> None:
    built = tower("swin_tiny_patch4_window7_224", last_stride=2)
    images = torch.randn(2, 3, *SIZE)
    assert built.feature_map(images).shape == (2, 768, 2, 1)
    assert built(images, False)[0].shape == (2, built.reid_dim) == (2, 768)


@torch.no_grad()
def test_norms_split_from_their_activation_compute_the_same() -> None:
    built = tower("test_efficientnet")
    plain = timm.create_model("test_efficientnet", num_classes=0, output_stride=16).eval()
    for ours, theirs in zip(built.model.parameters(), plain.parameters(), strict=True):
        theirs.copy_(ours)
    images = torch.randn(2, 3, *SIZE)
    expected = plain.forward_features(seen_by_timm(images, "test_efficientnet"))
    torch.testing.assert_close(built.feature_map(images), expected)
    norms = [module for module in built.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {type(norm) for norm in norms} == {nn.BatchNorm2d}


def test_camera_norms_keep_the_activations() -> None:
    """With all images from one camera, camera norms must give the same features as plain ones."""
    images = torch.randn(4, 3, *SIZE)
    plain = ImageEncoder(tower("test_efficientnet")).train()
    normed = ImageEncoder(tower("test_efficientnet"), norm_cameras=2).train()
    torch.testing.assert_close(normed(images, cameras=torch.ones(4, dtype=torch.int64))[0], plain(images)[0])


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_efficientnet"])
def test_gradients_reach_every_trained_weight(name: str) -> None:
    encoder = ImageEncoder(tower(name)).train()
    encoder(torch.randn(4, 3, *SIZE))[0].pow(3).sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_weights_are_read_from_a_file_that_includes_a_classifier(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = timm.create_model(name, num_classes=5).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    for file in tmp_path.iterdir():
        filled = tower(name, str(file)).model.state_dict()
        assert len(filled) == len(state) - 2
        assert all(torch.equal(value, state[key]) for key, value in filled.items() if key != "pos_embed")
    if name == "test_vit":  # position embeddings are resized to the images' grid
        assert filled["pos_embed"].shape[1] < state["pos_embed"].shape[1]


def test_a_tag_is_passed_on_to_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []
    create = timm.create_model

    def recorded(name: str, *, pretrained: bool = False, **options: object) -> nn.Module:
        requests.append((name, pretrained))
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", recorded)
    tower("resnet18", "pretrained")
    tower("resnet18", "tv_in1k")
    tower("resnet18.a1_in1k", "pretrained")
    names = [name for name, pretrained in requests if pretrained]
    assert names == ["resnet18", "resnet18.tv_in1k", "resnet18.a1_in1k"]


@pytest.mark.usefixtures("offline")
def test_reports_weights_that_cannot_be_downloaded() -> None:
    message = refusal("test_resnet", "pretrained")
    assert message.startswith("test_resnet: the weights of timm/test_resnet could not be downloaded (")


def test_refuses_unknown_names_tags_and_files(tmp_path: Path) -> None:
    assert "timm/resnet18" in refusal("resnet19")
    assert "timm/resnet50" in refusal("?")
    assert "a1_in1k" in refusal("resnet18.a7_in1k")
    assert "pretrained tag of timm/resnet18; give a file, or choose pretrained or one of" in refusal("resnet18", "x.pt")
    assert "is a folder" in refusal("resnet18", tmp_path)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "other.pt")
    assert "not weights of timm/resnet18: conv1.weight is" in refusal("resnet18", tmp_path / "other.pt")
    (tmp_path / "damaged.pt").write_bytes(b"nothing")
    assert "unreadable" in refusal("resnet18", tmp_path / "damaged.pt")


def test_refuses_image_sizes_and_strides_that_a_model_does_not_support() -> None:
    assert "gives no features of 64x32 images (" in refusal("mixer_s16_224")
    assert "set model.last_stride=2" in refusal("swin_tiny_patch4_window7_224")
    assert "set model.last_stride=2" in refusal("vgg11")


def test_says_how_to_install_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert 'pip install "ccafl[timm]"' in refusal("resnet18")


def test_a_network_without_text_has_no_text_parts() -> None:
    network = build_network(settings("model.architecture=timm/test_resnet").model, identities=5, cameras=2, seed=0)
    assert network.prompts is None
    assert network.text_encoder is None
    assert network.text_features(torch.arange(3)).shape == (3, 0)
    assert network.classifier.weight.shape == (5, network.encoder.reid_dim)


def test_an_encoder_is_rebuilt_without_its_weights_file(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pt")
    model = settings("model.architecture=timm/test_vit", f"model.weights={tmp_path / 'weights.pt'}").model
    encoder = build_network(resolved(model), 5, 2, seed=0).encoder.eval()
    (tmp_path / "weights.pt").unlink()
    again = build_encoder(model, 2).eval()
    again.load_state_dict(encoder.state_dict())
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(again.embed(images), encoder.embed(images))
    assert resolved(model).quick_gelu is None


@pytest.mark.parametrize("setting", ["stage2.intra_camera.text=true", "stage2.inter_camera.text_from=3"])
def test_text_losses_without_a_text_tower_are_refused(setting: str) -> None:
    check_backbone(settings("model.architecture=timm/resnet18", *NO_TEXT))
    check_backbone(settings(setting))
    with pytest.raises(InputError) as caught:
        check_backbone(settings("model.architecture=timm/resnet18", *NO_TEXT, setting))
    assert str(caught.value) == (
        "model.architecture timm/resnet18: has no text tower; "
        "set stage2.intra_camera.text=false and stage2.inter_camera.text_from=null"
    )


@pytest.mark.parametrize("architecture", ["timm/test_vit", "ViT-B-32"])
def test_camera_norms_without_batch_norms_are_refused(architecture: str) -> None:
    check_backbone(settings("model.architecture=timm/test_resnet", "model.camera_norm=true", *NO_TEXT))
    with pytest.raises(InputError, match=r"no batch norms; set model\.camera_norm=false"):
        check_backbone(settings(f"model.architecture={architecture}", "model.camera_norm=true", *NO_TEXT))


def test_a_tower_needs_only_a_forward_method() -> None:
    class Mean(Tower):
        image_size, reid_dim = (2, 1), 3

        def forward(self, images: torch.Tensor, image_text: bool) -> tuple[torch.Tensor, None]:
            return images.mean((2, 3)), None

    encoder = ImageEncoder(Mean())
    assert encoder(torch.randn(4, 3, 2, 1))[0].shape == (4, 3)
    assert (encoder.image_text_dim, encoder.tower.has_map) == (None, False)
