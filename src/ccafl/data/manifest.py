"""A table of images, CSV or Parquet: columns image, camera, label, and optionally split, person, time, begin and end.

Relative paths of images start at the table's folder. ``split`` is train, query or gallery (train if empty or if there
is no such column), ``time`` when the image was taken (ISO 8601; UTC without an offset). ``begin`` and ``end`` say that
the label is a track, and from when to when it was followed. All values are text: leading zeros stay. CSV may have any
usual separator (`ccafl.data.tables`), and what else ``ccafl ingest`` adds.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PureWindowsPath

from ccafl.data.records import Origin, Record, Source, parse_time_at
from ccafl.data.tables import Row, rows_of_csv, rows_of_parquet, table_text
from ccafl.errors import InputError
from ccafl.files import write_text, written_whole

KIND = "manifest"
NEEDED, OPTIONAL = ("image", "camera", "label"), ("split", "person", "time", "begin", "end")
SPLITS = ("train", "query", "gallery")
SUFFIXES = (".csv", ".parquet")
_FRAME, _BOX = re.compile(r"[1-9]\d{0,9}"), re.compile(r"\d{1,5},\d{1,5},[1-9]\d{0,4},[1-9]\d{0,4}")


def recognises(path: Path) -> bool:
    """Whether ``path`` is a table, or a folder with a ``manifest.csv`` or ``manifest.parquet``."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else bool(_tables_in(path))


def read(path: Path) -> Source:
    """Read the table, or the one in the folder ``path``.

    Raises:
        InputError: there is no table, it cannot be read, a column is missing, or a line has an empty value, an unknown
            split, an invalid time, an image that was there before, or a second person or track for a camera's label.
    """
    table = table_of(path)
    lists: dict[str, list[Record]] = {name: [] for name in SPLITS}
    places: dict[str, str] = {}
    labels: dict[tuple[str, str], Record] = {}
    rows = rows_of_csv if table.suffix.lower() == ".csv" else rows_of_parquet
    for place, row in rows(table, NEEDED, OPTIONAL):
        where = f"{table}, {place}"
        split, record = _record(table.parent, where, row)
        _refuse_again(record.path, places, place, where)
        if split == "train":
            before = labels.setdefault((record.camera, record.label), record)
            if before.person != record.person:
                raise InputError(
                    f"{where}: label {record.label} of camera {record.camera} is person {record.person or '?'} here "
                    f"and {before.person or '?'} before; give a label one person"
                )
            if before.track != record.track:
                raise InputError(
                    f"{where}: label {record.label} of camera {record.camera} has another begin or end than before; "
                    "give a label one track"
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
    unused = {place for place in range(-3, 0) if not any(row[place] for row in rows)}  # times that nothing has
    kept = [place for place in range(len(columns)) if place - len(columns) not in unused]
    columns, rows = [columns[place] for place in kept], [tuple(row[place] for place in kept) for row in rows]
    try:
        if path.suffix.lower() == ".parquet":
            _write_parquet(path, columns, rows)
        else:
            write_text(path, table_text(columns, rows))
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the name {error.object!r} is not UTF-8; rename it") from error


def _tables_in(folder: Path) -> list[Path]:
    return [folder / f"manifest{suffix}" for suffix in SUFFIXES if (folder / f"manifest{suffix}").is_file()]


def table_of(path: Path) -> Path:
    """The table at ``path``, or the one in that folder.

    Raises:
        InputError: there is none, or there are two.
    """
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
        if not row[column]:
            raise InputError(f"{where}: {column} is empty; fill it in or remove the line")
    split = row.get("split") or "train"
    if split not in SPLITS:
        raise InputError(f"{where}: unknown split {split!r}; use {', '.join(SPLITS)}")
    time = parse_time_at(row["time"], where) if row.get("time") else None
    image = _image(folder, where, row["image"])
    person, track, origin = row.get("person") or None, _track(where, row), _origin(folder, row)
    return split, Record(image, row["camera"], row["label"], person, time, track, origin)


def _track(where: str, row: Row) -> tuple[datetime, datetime] | None:
    if not row.get("begin") and not row.get("end"):
        return None
    if not row.get("begin") or not row.get("end"):
        raise InputError(f"{where}: has only one of begin and end; give both for a track, or none")
    begin, end = parse_time_at(row["begin"], where), parse_time_at(row["end"], where)
    if begin > end:
        raise InputError(f"{where}: begin {row['begin']} is after end {row['end']}; correct one")
    return begin, end


def _origin(folder: Path, row: Row) -> Origin | None:
    """Where the image was cut out, if the row says it as ``ccafl ingest`` does; elsewhere the columns may mean more."""
    footage, frame, box = (row.get(name, "") for name in ("source", "frame", "box"))
    if not (footage and _FRAME.fullmatch(frame) and _BOX.fullmatch(box)):
        return None
    x, y, width, height = map(int, box.split(","))
    return Origin(os.path.abspath(folder / footage), int(frame), (x, y, width, height))  # noqa: PTH100


def _image(folder: Path, where: str, written: str) -> Path:
    r"""The image's path; ``x\1.jpg``, as written on Windows, is ``x/1.jpg`` elsewhere, unless a file is named so."""
    image = folder / written
    if "\\" not in written or os.sep == "\\" or image.exists():
        return image
    windows = PureWindowsPath(written)
    if windows.drive:
        raise InputError(
            f"{where}: {written} is a path on a Windows drive; write it relative to the table, with / between folders"
        )
    return folder / windows.as_posix()


def _refuse_again(image: Path, places: dict[str, str], place: str, where: str) -> None:
    resolved = os.path.realpath(image)
    if resolved in places:
        raise InputError(f"{where}: image {image} is in {places[resolved]} already; remove one")
    places[resolved] = place


def _rows_of(source: Source, folder: Path) -> Iterator[tuple[str, ...]]:
    for split, records in zip(SPLITS, (source.train, source.query, source.gallery), strict=True):
        for record in records:
            image = Path(os.path.abspath(record.path))  # noqa: PTH100
            if image.is_relative_to(folder):
                image = image.relative_to(folder)
            times = (time.isoformat() if time else "" for time in (record.time, *(record.track or (None, None))))
            yield image.as_posix(), record.camera, record.label, split, record.person or "", *times


def _write_parquet(path: Path, names: list[str], rows: list[tuple[str, ...]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    with written_whole(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
