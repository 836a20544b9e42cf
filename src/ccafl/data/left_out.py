"""What lies in a data set's folder and is not read: counted and named, because nobody looks for what is not there."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccafl.data.listing import IMAGE_SUFFIXES
from ccafl.data.records import Source
from ccafl.words import counted

HIDDEN, LINK, UNUSED = "hidden", "links", "pictures neither for training nor for testing"
_NO_PICTURES = (".txt", ".md", ".csv", ".json", ".yaml", ".yml", ".xml", ".mat", ".pdf", ".db", ".py", ".ini")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that are left out for one reason.

    Attributes:
        reason: hidden, a link, an unused picture, or the suffix that is not read.
        count: how many.
        example: one of them.
        pictures: whether they may be pictures that somebody expects to be read.
    """

    reason: str
    count: int
    example: Path
    pictures: bool

    def __str__(self) -> str:
        """For display: ``3 files ending in .heic (such as door/1/a.heic)``."""
        noun, blank, rest = self.reason.partition(" ")
        one = noun.removesuffix("s") + blank + rest
        return f"{counted(self.count, one, self.reason)} (such as {self.example})"


def left_out(root: Path, source: Source) -> list[LeftOut]:
    """The files below the folder ``root`` that ``source`` does not have, by reason, the most frequent first.

    None for a manifest, which lists what it wants, and for the tables and notes that lie beside pictures only if they
    are hidden or links.
    """
    if not root.is_dir() or source.kind == "manifest":
        return []
    used = {os.fspath(record.path) for record in source.records}
    found: dict[str, list[str]] = {}
    for path, reason in _others(os.fspath(root), used):
        found.setdefault(reason, []).append(path)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        LeftOut(reason, len(paths), Path(min(paths)).relative_to(root), _pictures(reason)) for reason, paths in ordered
    ]


def sentences(parts: Sequence[LeftOut]) -> list[str]:
    """One line for each reason."""
    return [f"left out: {part}" for part in parts]


def _pictures(reason: str) -> bool:
    return reason not in (HIDDEN, UNUSED) and not reason.endswith(_NO_PICTURES)


def _others(root: str, used: set[str]) -> Iterator[tuple[str, str]]:
    """Every file below ``root`` that is not used, and the reason; a hidden or linked folder counts once."""
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path in used:
                    continue
                if entry.name.startswith("."):
                    yield entry.path, HIDDEN
                elif entry.is_symlink():
                    yield entry.path, LINK
                elif entry.is_dir():
                    waiting.append(entry.path)
                else:
                    suffix = Path(entry.name).suffix.lower()
                    yield entry.path, UNUSED if suffix in IMAGE_SUFFIXES else f"files ending in {suffix or 'nothing'}"
