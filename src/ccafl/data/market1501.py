"""Market-1501: ``0002_c1s1_000451_03.jpg`` is person 2 in camera 1; id -1 is junk, 0000 a distractor."""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "market1501"
NAMING = official.Naming(KIND, "0002_c1s1_000451_03.jpg", re.compile(r"(-1|\d{4})_c(\d+)s\d+_\d"))


def recognises(path: Path) -> bool:
    """Whether the images there are named as Market-1501's."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images named as Market-1501's, as `official.read` does."""
    return official.read(root, NAMING)
