"""VeRi-776, a data set of vehicles: ``0001_c001_00016450_0.jpg`` is vehicle 1 in camera 1."""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "veri"
NAMING = official.Naming(KIND, "0001_c001_00016450_0.jpg", re.compile(r"(\d+)_c(\d{3})_\d{8}"))


def recognises(path: Path) -> bool:
    """Whether the images there have VeRi's names."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images with VeRi's names, by `official.read`."""
    return official.read(root, NAMING)
