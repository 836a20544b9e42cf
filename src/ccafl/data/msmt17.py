"""MSMT17: in its official form with lists, without the lists, and renamed in Market-1501's layout.

Its ids begin at 0 and it has no distractors: persons are the ids + 1, so that no person is taken for a distractor. A
test id and the same training id are different persons. Without the lists, the pictures in ``test`` are a gallery
without queries.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ccafl.data import official
from ccafl.data.records import Record, Source
from ccafl.errors import InputError

KIND = "msmt17"
RENAMED = official.Naming(KIND, "0000_c1_0000.jpg", re.compile(r"(\d{4})_c(\d{1,2})_\d"), first_id=0)
UNLISTED = official.Naming(
    KIND, "0000_000_01_0303morning_0008_0.jpg", re.compile(r"(\d{4})_\d{3}_(\d{2})_\d{4}[a-z]+_\d"), first_id=0
)
LINE = re.compile(r"(?P<image>(?:.*/)?\d+_\d+_(?P<camera>\d+)_[^/]*)\s+(?P<id>\d+)")
TRAIN_FOLDERS, TEST_FOLDERS = ("train", "mask_train_v2"), ("test", "mask_test_v2")


def recognises(path: Path) -> bool:
    """Whether the official lists are there, or images named as in the official or the renamed form."""
    if not path.is_dir():
        return False
    listed = official.home_of(path, _has_lists) is not None
    return listed or any(official.recognises(path, naming) for naming in (UNLISTED, RENAMED))


def read(root: Path) -> Source:
    """Read by the lists, or without them as `official.read` does.

    Raises:
        InputError: a list or an image folder is missing, a line of a list is malformed, or as for `official.read`.
    """
    home = official.home_of(root, _has_lists)
    if home is None:
        return official.read(root, UNLISTED if official.recognises(root, UNLISTED) else RENAMED)
    train, test = _first_folder(home, TRAIN_FOLDERS), _first_folder(home, TEST_FOLDERS)
    return Source(
        KIND,
        train=[*_listed(home / "list_train.txt", train), *_listed(home / "list_val.txt", train)],
        query=list(_listed(home / "list_query.txt", test)),
        gallery=list(_listed(home / "list_gallery.txt", test)),
    )


def _has_lists(folder: Path) -> bool:
    return (folder / "list_train.txt").is_file()


def _first_folder(home: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (home / name).is_dir():
            return home / name
    raise InputError(f"{home}: has MSMT17's lists but no folder {' or '.join(names)}; unpack the images there")


def _listed(path: Path, folder: Path) -> Iterator[Record]:
    """The records of a list whose lines are like ``0000/0000_000_01_0303morning_0008_0.jpg 0``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore MSMT17's list") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(
                f"{path}, line {number}: is not an image with its camera and an id "
                "(0000/0000_000_01_0303morning_0008_0.jpg 0); restore MSMT17's list"
            )
        identity = int(match["id"])
        yield Record(folder / match["image"], f"c{int(match['camera'])}", f"{identity:04d}", str(identity + 1))
