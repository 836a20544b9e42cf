"""DukeMTMC-reID: ``0001_c2_f0046182.jpg`` is person 1 in camera 2."""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "dukemtmc"
NAMING = official.Naming(KIND, "0001_c2_f0046182.jpg", re.compile(r"(-1|\d{4})_c(\d+)_f\d"))


def recognises(path: Path) -> bool:
    """Whether the images there are named as DukeMTMC-reID's."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images named as DukeMTMC-reID's, as `official.read` does."""
    return official.read(root, NAMING)
