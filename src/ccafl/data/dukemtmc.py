"""DukeMTMC-reID: ``0001_c2_f0046182.jpg`` is person 1 in camera 2."""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "dukemtmc"
NAMING = official.Naming(KIND, "0001_c2_f0046182.jpg", re.compile(r"(-1|\d+)_c(\d+)_f\d"))


def recognises(path: Path) -> bool:
    """Whether the images there have DukeMTMC-reID's names."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images with DukeMTMC-reID's names, by `official.read`."""
    return official.read(root, NAMING)
