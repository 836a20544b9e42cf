"""Whether pictures were drawn by ccafl, and so show nobody."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ccafl.files import read_object

_KEYS = {"seed", "persons", "cameras", "size"}  # of a world.json
_FOLDERS = 4  # from a picture up to its world


def drawn_by_ccafl(data: Path) -> bool:
    """Whether images come from ccafl's synthetic world: they have a ``world.json`` beside them."""
    folder = data if data.is_dir() else data.parent
    return (read_object(folder / "world.json") or {}).keys() >= _KEYS


def all_drawn(files: Iterable[Path]) -> bool:
    """Whether all these pictures or videos lie within synthetic worlds."""

    @cache
    def within(folder: str) -> bool:
        around = [Path(folder), *Path(folder).parents][:_FOLDERS]
        return any(drawn_by_ccafl(place) for place in around if place.is_dir())

    return all(within(os.path.realpath(file.parent)) for file in files)
