"""Reading a data set of any kind, recognised by its files."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ccafl.data import dukemtmc, folder, manifest, market1501, mars, msmt17, veri
from ccafl.data.left_out import left_out, sentences
from ccafl.data.records import Record, Source
from ccafl.data.trusted import trusted
from ccafl.errors import InputError


class Reader(Protocol):
    """What a module that reads one kind of data set offers."""

    KIND: str

    def recognises(self, path: Path, /) -> bool:
        """Whether ``path`` holds such data; cheap, because every kind is tried."""

    def read(self, path: Path, /) -> Source:
        """The images at ``path``; InputError for what cannot be used."""


DATA_SETS: tuple[Reader, ...] = (market1501, dukemtmc, msmt17, mars, veri)  # a new data set's module is added here

# In order: a manifest takes precedence over the files beside it, and any folder could be <camera>/<label>/.
_READERS: tuple[tuple[Reader, ...], ...] = ((manifest,), DATA_SETS, (folder,))
_READER_OF = {reader.KIND: reader for readers in _READERS for reader in readers}
KINDS = tuple(_READER_OF)


def read_source(path: Path, kind: str | None = None, *, outside: bool = False) -> Source:
    """Read the images of ``path``: an official data set, ``<camera>/<label>/`` folders, or a manifest.

    There may be no training images: what needs them says so.

    Args:
        path: folder or table.
        kind: one of `KINDS`; recognised if not given.
        outside: let a manifest name images outside of its folder. One that this user's ccafl has written always may.

    Returns:
        its records, sorted by path.

    Raises:
        InputError: ``path`` is missing or empty, the kind is unknown or not recognised, there are no images, an image
            appears twice, lies outside of the manifest's folder or has a name that is not UTF-8, or the kind's reader
            refuses something.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"{kind}: no such kind of source; choose one of {', '.join(KINDS)}")
    try:
        _check_there(path)
        reader = _recognised(path) if kind is None else _READER_OF[kind]
        source = reader.read(path)
        if reader is manifest and not outside:
            _refuse_outside(manifest.table_of(path), source)
    except ValueError as error:  # a null byte in a name
        raise InputError(f"{path}: names a file that cannot be ({error}); correct it") from error
    except OSError as error:
        if kind is not None and isinstance(error, NotADirectoryError) and path.is_file():
            raise InputError(f"{path}: is a file, but a source of kind {kind} is a folder; give the folder") from error
        where, reason = error.filename or path, error.strerror or error
        raise InputError(f"{where}: cannot be read ({reason}); check the path and its permissions") from error
    train, query, gallery = (_in_order(records) for records in (source.train, source.query, source.gallery))
    source = replace(source, train=train, query=query, gallery=gallery)
    if not source.records:
        aside = "; ".join(sentences(left_out(path, source))) or "see the README for layouts"
        raise InputError(f"{path}: holds no images of kind {reader.KIND}; {aside}")
    _refuse_names(source.records)
    _refuse_again(source.records)
    return source


def _check_there(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; correct the path")
    if path.is_dir() and not any(path.iterdir()):
        raise InputError(f"{path}: is empty; put the images there or give another folder")


def _recognised(path: Path) -> Reader:
    for readers in _READERS:
        found = [reader for reader in readers if reader.recognises(path)]
        if len(found) > 1:
            kinds = " or ".join(reader.KIND for reader in found)
            raise InputError(f"{path}: may be {kinds}; name the kind with --source, or give the path of one")
        if found:
            return found[0]
    raise InputError(f"{path}: no images or manifest there; give a folder of images or a .csv or .parquet table")


def _refuse_outside(table: Path, source: Source) -> None:
    folder = os.path.join(os.path.realpath(table.parent), "")  # noqa: PTH118 (with a separator at its end)
    far = next((r.path for r in source.records if not os.path.realpath(r.path).startswith(folder)), None)
    if far is not None and not trusted(table):
        raise InputError(
            f"{table}: names {far}, which is not in the table's folder; add --allow-outside if you trust the table"
        )


def _in_order(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: os.fspath(record.path))


def _refuse_names(records: Iterable[Record]) -> None:
    """Refuse names that cannot be written into results, before any work."""
    for record in records:
        try:
            "\n".join((os.fspath(record.path), record.camera, record.label)).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{os.fspath(record.path)!a}: is not named in UTF-8; rename it") from error


def _refuse_again(records: Iterable[Record]) -> None:
    seen: dict[str, Path] = {}
    for record in records:
        resolved = os.path.realpath(record.path)
        if resolved in seen:
            raise InputError(f"{record.path}: is the same image as {seen[resolved]}; remove one of them")
        seen[resolved] = record.path
