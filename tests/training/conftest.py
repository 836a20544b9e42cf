"""A small world on disk and settings that train in seconds."""

import pytest

from ccafl.config import load_config
from ccafl.synthetic.write import synthesize

SMALL = [
    "model.image_size=[32, 16]",
    "stage1.epochs=2",
    "stage2.epochs=4",
    "stage2.steps_per_epoch=2",
    "stage2.identities=4",
    "stage2.images=2",
    "stage2.intra_camera.epochs=2",
    "stage2.intra_camera.text=true",
    "stage2.inter_camera.text_from=2",
    "stage2.adversarial.first_epoch=3",
    "stage2.adversarial.last_epoch=4",
    "runtime.evaluate_every=1",
]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return synthesize(
        tmp_path_factory.mktemp("data") / "world", seed=3, persons=12, cameras=3, images=3, size=(32, 16)
    ).parent


@pytest.fixture(scope="session")
def small():
    return load_config("market-split", SMALL)
