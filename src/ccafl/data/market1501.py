"""Market-1501: ``0002_c1s1_000451_03.jpg`` is person 2 in camera 1; id -1 is junk, 0000 a distractor.

Exports in its form (CVAT, Datumaro) have ids of any length, and junk whose names lack the sequence.
"""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "market1501"
NAMING = official.Naming(
    KIND, "0002_c1s1_000451_03.jpg", re.compile(r"(-1(?=_c\d+[_.])|(?:-1|\d+)(?=_c\d+s\d+_\d))_c(\d+)")
)


def recognises(path: Path) -> bool:
    """Whether the images there have Market-1501's names."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images with Market-1501's names, by `official.read`."""
    return official.read(root, NAMING)
