import pytest
import torch
from lightning_fabric import Fabric

from ccafl.config import load_config
from ccafl.data.transforms import normalise
from ccafl.model.network import build_encoder
from ccafl.training.features import embed_training_images

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
    [((3, 200, 130), 3 + 200), ((100, 90), 0)],  # a batch of 3 is too few for variances, and 200 are two batches
)
def test_features_by_camera_statistics_cost_one_pass_where_a_camera_fits_in_a_batch(settings, sizes, again):
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
