"""Names and times as a gallery stores them and queries Milvus for them. Does not need NumPy."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from ccafl.errors import InputError

LONGEST_NAME = 1_024  # bytes of UTF-8
UNKNOWN_TIME = -(1 << 60)
"""The time of a picture without one on a Milvus server: older servers have no missing values."""

_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # milliseconds of the years 1 to 9999


def check_name(name: str) -> str:
    """The name, if it can be stored and searched for.

    Raises:
        InputError: it has control characters, is not UTF-8 or is too long.
    """
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise InputError(f"{name!r}: has characters that are not allowed in a gallery's names; rename it")
    if len(name.encode()) > LONGEST_NAME:
        raise InputError(f"{name[:40]}…: is longer than {LONGEST_NAME} bytes; give a shorter name")
    return name


def quoted(names: Sequence[str]) -> str:
    """A list of names in a Milvus expression, quoted so that input from outside is nothing but a name."""
    return json.dumps([check_name(name) for name in names], ensure_ascii=False)


def milliseconds(time: datetime) -> int:
    """Since 1970, UTC."""
    return round(time.timestamp() * 1000)


def time_of(stored: int | None) -> datetime | None:
    """The inverse of `milliseconds`."""
    return None if stored is None else datetime.fromtimestamp(stored / 1000, UTC)


def is_time(stored: object) -> bool:
    """Whether `time_of` takes it."""
    return stored is None or (isinstance(stored, int) and _FIRST <= stored <= _LAST)
