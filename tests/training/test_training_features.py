import pytest
import torch
from lightning_fabric import Fabric

from ccafl.config import load_config
from ccafl.data.transforms import normalise
from ccafl.model.network import build_encoder
from ccafl.pipeline import train_run
from ccafl.training.features import FeatureBank, embed_training_images, with_measured
from small_runs import SMALL

SIZES = (3, 200, 130)  # images of the cameras; two of them fit in a batch


class Store:
    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.pixels = torch.randint(256, (count, 3, *size), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, indices):
        return self.pixels[indices]


@pytest.fixture
def settings():
    return load_config("market-split+ccafl-plus", ["data.workers=0", "runtime.extraction_batch=150"])


@pytest.mark.parametrize(
    ("sizes", "again"),
    [
        ((3, 200, 130), 3 + 200),
        ((300, 90), 0),
    ],  # 3 are too few, 200 two batches, half of 300 is one
)
def test_features_by_camera_statistics_cost_one_pass(settings, sizes, again):
    """They are those that its statistics give in evaluation."""
    torch.manual_seed(0)
    encoder = build_encoder(settings.model, len(sizes)).eval()
    cameras = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes))]
    store = Store(len(cameras), settings.model.image_size)
    passed = []
    encoder.tower.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    features = embed_training_images(Fabric(accelerator="cpu", devices=1), encoder, store, cameras, settings)
    assert sum(passed) == sum(sizes) + again
    with torch.no_grad():
        expected = encoder.embed(normalise(store.pixels), cameras)
    assert (features * expected).sum(1).min() > 0.9999
    assert not torch.allclose(expected[0], expected[1], atol=1e-2)


def test_chosen_images_have_the_same_features_as_among_all(settings):
    torch.manual_seed(0)
    encoder = build_encoder(settings.model, len(SIZES)).eval()
    cameras = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    store = Store(len(cameras), settings.model.image_size)
    of_all = cameras, settings
    chosen = with_measured(encoder, torch.tensor([204, 1, 5]), *of_all)
    assert chosen.tolist() == [1, 5, *range(203, 333)]  # all of the last camera, whose images make one batch
    passed = []
    encoder.tower.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    fabric = Fabric(accelerator="cpu", devices=1)
    few = embed_training_images(fabric, encoder, store, *of_all, chosen)
    assert sum(passed) == 3 + 200 + 130 + 2  # statistics, and two images that they do not give features of
    torch.testing.assert_close(few, embed_training_images(fabric, encoder, store, *of_all)[chosen])


def test_a_bank_keeps_the_last_feature_of_an_image_until_it_is_too_old():
    bank = FeatureBank(4, 2, torch.device("cpu"))
    assert bank.outdated(0, 1).tolist() == [0, 1, 2, 3]
    bank.put(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]]), torch.tensor([0, 1, 2, 3]), 0)
    bank.put(torch.tensor([[0.0, 1], [0.6, 0.8], [0.8, 0.6]]), torch.tensor([2, 0, 2]), 1)
    assert bank.features.tolist() == torch.tensor([[0.6, 0.8], [0, 1], [0.8, 0.6], [0, 1]]).tolist()
    assert bank.outdated(1, 1).tolist() == []
    assert bank.outdated(2, 1).tolist() == [1, 3]
    assert bank.outdated(3, 1).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="other images"):
        FeatureBank(5, 2, torch.device("cpu")).load(bank.features, bank.made)


def test_only_images_that_no_step_has_seen_are_encoded_anew(world, tmp_path, monkeypatch):
    """And after the last epoch all of them, for the final association."""
    encoded = []

    def counting(*args):
        features = embed_training_images(*args)
        encoded.append(len(features))
        return features

    monkeypatch.setattr("ccafl.training.run.embed_training_images", counting)
    small = load_config("market-split", [*SMALL, "stage1.epochs=0", "stage2.epochs=4", "stage2.feature_age=1"])
    train_run(small, world, tmp_path / "run")
    everything = encoded[0]
    assert encoded[-1] == everything
    assert all(0 < count < everything for count in encoded[1:-1])
    assert len(encoded) == 4  # none at the second epoch
