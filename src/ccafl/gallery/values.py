"""Names and times as a gallery stores them and queries Milvus for them. Does not need NumPy."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from ccafl.errors import InputError

LONGEST_NAME = 1_024  # bytes of UTF-8


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
