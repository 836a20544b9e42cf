"""MARS: ``0001C1T0001F001.jpg`` is person 1 in camera 1, frame 1 of tracklet 1; id 00-1 is junk, 0000 a distractor.

Its queries are tracklets, listed apart: the pictures in ``bbox_test`` are read as a gallery without queries.
"""

import re
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Source

KIND = "mars"
NAMING = official.Naming(KIND, "0001C1T0001F001.jpg", re.compile(r"(\d{4}|00-1)C(\d+)T\d+F\d"))


def recognises(path: Path) -> bool:
    """Whether the images there have MARS' names."""
    return official.recognises(path, NAMING)


def read(root: Path) -> Source:
    """Read the official folders, or any folder of images with MARS' names, by `official.read`."""
    return official.read(root, NAMING)
