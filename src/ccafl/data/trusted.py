"""Manifests that this user's ccafl has written: only these may name pictures outside of their folder unasked.

A manifest from somewhere else could name any picture that its reader can open. What is trusted is the content: SHA-256
of each table written, one a line, in a file below the user's home that nobody else can write.
"""

import os
from contextlib import suppress
from pathlib import Path

from ccafl.files import digest_of

_FILE = "ccafl/manifests"


def trust(table: Path) -> None:
    """Record a table as written by this user. If it cannot be recorded, it has to be allowed each time."""
    with suppress(OSError):
        record = _record()
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(digest_of(table) + "\n")


def trusted(table: Path) -> bool:
    """Whether `trust` has recorded a table of this content."""
    try:
        return digest_of(table) in _record().read_text("ascii").split()
    except (OSError, UnicodeDecodeError):
        return False


def _record() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / _FILE
