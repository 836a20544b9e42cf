"""What people know of their cameras, a CSV or YAML table: which pairs share persons, and how long the way is.

Columns camera_a, camera_b, shared (``yes`` or ``never``) and optionally least_seconds and most_seconds from one camera
to the other, in either direction. In YAML: a list of mappings with the same keys. A camera ``*`` stands for all:
``door,*`` for every pair of the door, ``*,*`` for every pair. A line that names more cameras outranks one that names
fewer. Of a pair in no line nothing is known.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
import yaml
from torch import Tensor

from ccafl.data.tables import Row, rows_of_csv
from ccafl.errors import InputError

WORDS = {"yes": 1, "never": -1}
NEEDED, OPTIONAL = ("camera_a", "camera_b", "shared"), ("least_seconds", "most_seconds")
ALL = "*"
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """What is known of each pair of C cameras; all symmetric.

    Attributes:
        shared: (C, C) int8: 1 if they share persons, -1 if never, 0 if unknown.
        least_seconds: (C, C) float64, from one to the other; 0 if not said.
        most_seconds: (C, C) float64, likewise; inf if not said.
    """

    shared: Tensor
    least_seconds: Tensor
    most_seconds: Tensor

    @property
    def timed(self) -> bool:
        """Whether seconds are given for any pair."""
        return bool((self.least_seconds > 0).any() or (self.most_seconds < math.inf).any())


@dataclass(frozen=True, slots=True)
class _Line:
    cameras: tuple[str, str]
    values: tuple[int, float, float]  # shared, least, most
    place: str

    @property
    def generality(self) -> int:
        """How many of the cameras are `ALL`."""
        return self.cameras.count(ALL)


def read_topology(path: Path, camera_names: Sequence[str]) -> Topology:
    """Read a table of the cameras ``camera_names``, and number them by their place there.

    Raises:
        InputError: it is not such a table, or a line has an empty value, an unknown word or camera, a camera with
            itself, impossible seconds, or contradicts another.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a table of cameras")
    rows = _rows_of_yaml(path) if path.suffix.lower() in YAML_SUFFIXES else rows_of_csv(path, NEEDED, OPTIONAL)
    lines = [_line(f"{path}, {place}", place, row, camera_names) for place, row in rows]
    said: dict[tuple[str, str], _Line] = {}
    for line in sorted(lines, key=lambda line: line.generality):
        for pair in _pairs(line.cameras, camera_names):
            earlier = said.setdefault(pair, line)
            if earlier.generality == line.generality and earlier.values != line.values:
                advice = "name them in a line of their own" if line.generality else "remove one"
                raise InputError(
                    f"{path}, {line.place}: contradicts {earlier.place} on cameras {' and '.join(pair)}; {advice}"
                )
    number = {name: index for index, name in enumerate(camera_names)}
    count = len(camera_names)
    shared = torch.zeros(count, count, dtype=torch.int8)
    least = torch.zeros(count, count, dtype=torch.float64)
    most = torch.full_like(least, math.inf)
    for (one, other), line in said.items():
        for place in ((number[one], number[other]), (number[other], number[one])):
            shared[place], least[place], most[place] = line.values
    return Topology(shared, least, most)


def _line(where: str, place: str, row: Row, camera_names: Sequence[str]) -> _Line:
    row = {column: value.strip() for column, value in row.items()}
    unknown = [column for column in row if column not in (*NEEDED, *OPTIONAL)]
    if unknown:
        raise InputError(f"{where}: unknown column {unknown[0]!r}; use {', '.join((*NEEDED, *OPTIONAL))}")
    empty = [column for column in NEEDED if not row.get(column)]
    if empty:
        raise InputError(f"{where}: {empty[0]} is empty; fill it in or remove the line")
    one, other = (_known(where, row[column], camera_names) for column in ("camera_a", "camera_b"))
    if one == other != ALL:
        raise InputError(f"{where}: pairs camera {one} with itself; name two cameras or remove the line")
    if row["shared"] not in WORDS:
        raise InputError(f"{where}: shared is {row['shared']!r}; write {' or '.join(WORDS)}")
    shared = WORDS[row["shared"]]
    least, most = _seconds(where, row, "least_seconds", 0.0), _seconds(where, row, "most_seconds", math.inf)
    if shared < 0 and (least, most) != (0.0, math.inf):
        raise InputError(f"{where}: has seconds for cameras that never share a person; leave them empty or write yes")
    if least > most:
        raise InputError(f"{where}: least_seconds {least:g} is above most_seconds {most:g}; correct one")
    return _Line((one, other), (shared, least, most), place)


def _known(where: str, name: str, camera_names: Sequence[str]) -> str:
    if name != ALL and name not in camera_names:
        near = difflib.get_close_matches(name, camera_names) or camera_names
        raise InputError(
            f"{where}: the images have no camera {name}; correct it ({', '.join(near)}) or remove the line"
        )
    return name


def _seconds(where: str, row: Row, column: str, unsaid: float) -> float:
    text = row.get(column)
    if not text:
        return unsaid
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{where}: {column} is {text!r}; write a number of seconds, such as 30, or leave it empty")
    return seconds


def _pairs(cameras: tuple[str, str], camera_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The pairs of cameras that a line is about, each in the order of its names."""
    named = [camera for camera in cameras if camera != ALL]
    if len(named) == 1:
        others = (camera for camera in camera_names if camera != named[0])
        return ((min(named[0], other), max(named[0], other)) for other in others)
    return combinations(sorted(named or camera_names), 2)


def _rows_of_yaml(path: Path) -> Iterator[tuple[str, Row]]:
    """Every mapping of the list and the line where it begins; values as they are written, so that ``007`` stays."""
    try:
        table = yaml.compose(path.read_text("utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}); correct it") from error
    entries = table.value if isinstance(table, yaml.SequenceNode) else [] if table is None else [table]
    for entry in entries:
        place = f"line {entry.start_mark.line + 1}"
        texts = entry.value if entry is not table and isinstance(entry, yaml.MappingNode) else []
        row = {
            key.value: "" if text.tag == "tag:yaml.org,2002:null" else text.value
            for key, text in texts
            if isinstance(key, yaml.ScalarNode) and isinstance(text, yaml.ScalarNode)
        }
        if not row or len(row) < len(texts):
            raise InputError(
                f"{path}, {place}: is not an entry of the list; write it like "
                "- {camera_a: door, camera_b: hall, shared: yes}"
            )
        yield place, row
