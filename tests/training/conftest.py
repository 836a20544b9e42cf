"""Settings that train in seconds, with every phase and loss."""

import pytest

from ccafl.config import load_config
from small_runs import SMALL

SETTINGS = [
    *SMALL,
    "stage1.epochs=2",
    "stage2.epochs=4",
    "stage2.images=2",
    "stage2.intra_camera.epochs=2",
    "stage2.intra_camera.text=true",
    "stage2.inter_camera.text_from=2",
    "stage2.adversarial.first_epoch=3",
    "stage2.adversarial.last_epoch=4",
    "runtime.evaluate_every=1",
]


@pytest.fixture(scope="session")
def small():
    return load_config("market-split", SETTINGS)
