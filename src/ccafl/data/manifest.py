"""A table of images, CSV or Parquet: columns image, camera, label, and optionally split, person and time.

Relative paths of images start at the table's folder. ``split`` is train, query or gallery (train if empty or if there
is no such column), ``time`` when the image was taken (ISO 8601; UTC without an offset). All values are text: leading
zeros stay.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ccafl.data.records import Record, Source, parse_time
from ccafl.errors import InputError
from ccafl.files import write_text, written_whole

KIND = "manifest"
NEEDED, OPTIONAL = ("image", "camera", "label"), ("split", "person", "time")
SPLITS = ("train", "query", "gallery")
SUFFIXES = (".csv", ".parquet")

Row = dict[str, str]


def recognises(path: Path) -> bool:
    """Whether ``path`` is a table, or a folder with a ``manifest.csv`` or ``manifest.parquet``."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else bool(_tables_in(path))


def read(path: Path) -> Source:
    """Read the table, or the one in the folder ``path``.

    Raises:
        InputError: there is no table, it cannot be read, a column is missing, or a line has an empty value, an unknown
            split, an invalid time, an image that was there before, or a second person for a camera's label.
    """
    table = _table(path)
    lists: dict[str, list[Record]] = {name: [] for name in SPLITS}
    places: dict[str, str] = {}
    persons: dict[tuple[str, str], str | None] = {}
    for place, row in rows_of_csv(table) if table.suffix.lower() == ".csv" else _rows_of_parquet(table):
        where = f"{table}, {place}"
        split, record = _record(table.parent, where, row)
        _refuse_again(record.path, places, place, where)
        if split == "train":
            person = persons.setdefault((record.camera, record.label), record.person)
            if person != record.person:
                raise InputError(
                    f"{where}: label {record.label} of camera {record.camera} is person {record.person or '?'} here "
                    f"and {person or '?'} before; give a label one person"
                )
        lists[split].append(record)
    return Source(KIND, **lists)


def write(path: Path, source: Source) -> None:
    """Write ``source`` for `read`, whole or not at all: as Parquet if ``path`` ends in .parquet, else as CSV.

    Images below the table's folder are written relative to it, the others absolute.

    Raises:
        InputError: a name is not UTF-8, or the file cannot be written.
    """
    rows = list(_rows_of(source, Path(os.path.abspath(path.parent))))  # noqa: PTH100 (resolve would follow links)
    columns = [*NEEDED, *OPTIONAL]
    if not any(time for *_, time in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    try:
        if path.suffix.lower() == ".parquet":
            _write_parquet(path, columns, rows)
        else:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([columns, *rows])
            write_text(path, text.getvalue())
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the name {error.object!r} is not UTF-8; rename it") from error


def _tables_in(folder: Path) -> list[Path]:
    return [folder / f"manifest{suffix}" for suffix in SUFFIXES if (folder / f"manifest{suffix}").is_file()]


def _table(path: Path) -> Path:
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: is not named like a manifest; give a .csv or .parquet file")
        return path
    found = _tables_in(path)
    if len(found) != 1:
        held = "both manifest.csv and" if found else "neither manifest.csv nor"
        raise InputError(f"{path}: holds {held} manifest.parquet; give the path of one manifest")
    return found[0]


def _record(folder: Path, where: str, row: Row) -> tuple[str, Record]:
    """The row's split and record."""
    for column in NEEDED:
        if not row[column].strip():
            raise InputError(f"{where}: {column} is empty; fill it in or remove the line")
    split = row.get("split") or "train"
    if split not in SPLITS:
        raise InputError(f"{where}: unknown split {split!r}; use {', '.join(SPLITS)}")
    time = _time(row["time"], where) if row.get("time") else None
    return split, Record(folder / row["image"], row["camera"], row["label"], row.get("person") or None, time)


def _time(text: str, where: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a time; write it like 2026-05-01T14:03:00Z") from error


def _refuse_again(image: Path, places: dict[str, str], place: str, where: str) -> None:
    resolved = os.path.realpath(image)
    if resolved in places:
        raise InputError(f"{where}: image {image} is in {places[resolved]} already; remove one")
    places[resolved] = place


def _check_columns(path: Path, columns: list[str], needed: Sequence[str], optional: Sequence[str]) -> None:
    missing = [column for column in needed if column not in columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)} among {', '.join(columns) or 'none'}; add it")
    twice = [column for column in (*needed, *optional) if columns.count(column) > 1]
    if twice:
        raise InputError(f"{path}: column {', '.join(twice)} appears twice; remove one")


def rows_of_csv(
    path: Path, needed: Sequence[str] = NEEDED, optional: Sequence[str] = OPTIONAL
) -> Iterator[tuple[str, Row]]:
    """Every row and the line where it ends, as ``line 2``; blank lines are skipped.

    Raises:
        InputError: the table cannot be read, a needed column is missing, a known one appears twice, or a row is too
            long or too short.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            columns = next(rows, [])
            _check_columns(path, columns, needed, optional)
            for values in filter(None, rows):
                place = f"line {rows.line_num}"
                if len(values) != len(columns):
                    raise InputError(
                        f"{path}, {place}: {len(values)} values for {len(columns)} columns; correct it (quote commas)"
                    )
                yield place, dict(zip(columns, values, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV in UTF-8 ({error}); correct it") from error


def _rows_of_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    """Every row and its number, from 1; nulls are empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names, NEEDED, OPTIONAL)
            columns = [name for name in (*NEEDED, *OPTIONAL) if name in names]
            table = file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())}); replace it") from error
    values = [_texts(path, column, table[column]) for column in columns]
    for number, row in enumerate(zip(*values, strict=True), start=1):
        yield f"row {number}", dict(zip(columns, row, strict=True))


def _texts(path: Path, name: str, column: Any) -> list[str]:
    """A Parquet column as text; whole numbers are written out."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"{path}: column {name} is of type {kind}; store it as text")
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _rows_of(source: Source, folder: Path) -> Iterator[tuple[str, ...]]:
    for split, records in zip(SPLITS, (source.train, source.query, source.gallery), strict=True):
        for record in records:
            image = Path(os.path.abspath(record.path))  # noqa: PTH100
            if image.is_relative_to(folder):
                image = image.relative_to(folder)
            time = record.time.isoformat() if record.time else ""
            yield image.as_posix(), record.camera, record.label, split, record.person or "", time


def _write_parquet(path: Path, names: list[str], rows: list[tuple[str, ...]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    with written_whole(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
