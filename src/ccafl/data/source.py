"""Reading a data set of any kind, recognised by what lies there."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ccafl.data import dukemtmc, folder, manifest, market1501, msmt17
from ccafl.data.records import Record, Source
from ccafl.errors import InputError

_READERS: dict[str, Callable[[Path], Source]] = {
    "manifest": manifest.read,
    "market1501": market1501.read,
    "dukemtmc": dukemtmc.read,
    "msmt17": msmt17.read,
    "folder": folder.read,
}
_OFFICIAL = {"market1501": market1501.recognises, "dukemtmc": dukemtmc.recognises, "msmt17": msmt17.recognises}
KINDS = tuple(_READERS)


def read_source(path: Path, kind: str | None = None) -> Source:
    """Read the images of ``path``: an official data set, ``<camera>/<label>/`` folders, or a manifest.

    A set with query and gallery only is fine, for evaluation.

    Args:
        path: folder or table.
        kind: one of `KINDS`; recognised if not given.

    Returns:
        its records, sorted by path.

    Raises:
        InputError: nothing there, an unknown kind, nothing recognised, no images to train or to evaluate on, an image
            twice, or what the kind's reader refuses.
    """
    if kind is not None and kind not in _READERS:
        raise InputError(f"{kind}: no such kind of source; choose one of {', '.join(KINDS)}")
    try:
        _check_there(path)
        kind = kind or _recognised(path)
        if path.is_file() and kind != "manifest":
            raise InputError(f"{path}: is a file, but a source of kind {kind} is a folder; give the folder")
        source = _READERS[kind](path)
    except OSError as error:
        where, reason = error.filename or path, error.strerror or error
        raise InputError(f"{where}: cannot be read ({reason}); check the path and its rights") from error
    train, query, gallery = (_in_order(records) for records in (source.train, source.query, source.gallery))
    if not train and not (query and gallery):
        found = "training images" if query or gallery else f"images of kind {kind}"
        raise InputError(f"{path}: holds no {found} (links and hidden files may not count); see the README for layouts")
    _refuse_again([*train, *query, *gallery])
    return replace(source, train=train, query=query, gallery=gallery)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; mend the path")
    if path.is_dir() and not any(path.iterdir()):
        raise InputError(f"{path}: is empty; put the images there or give another folder")


def _recognised(path: Path) -> str:
    if manifest.recognises(path):
        return "manifest"
    found = [kind for kind, recognises in _OFFICIAL.items() if recognises(path)]
    if len(found) > 1:
        raise InputError(f"{path}: may be {' or '.join(found)}; name the kind with --source, or give the path of one")
    if found:
        return found[0]
    if folder.recognises(path):
        return "folder"
    raise InputError(f"{path}: no images or manifest there; give a folder of images or a .csv or .parquet table")


def _in_order(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: os.fspath(record.path))


def _refuse_again(records: Iterable[Record]) -> None:
    seen: dict[str, Path] = {}
    for record in records:
        resolved = os.path.realpath(record.path)
        if resolved in seen:
            raise InputError(f"{record.path}: is the same image as {seen[resolved]}; remove one of them")
        seen[resolved] = record.path
