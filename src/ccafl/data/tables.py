"""Tables as people have them, read as text: CSV of any usual separator, and Parquet.

Blanks around a value and the case of column names do not matter; leading zeros stay.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ccafl.errors import InputError

SEPARATORS = ",;\t|"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # what spreadsheets call "Unicode text"

_FORMULA = re.compile(r"'*[=+\-@\t\r](?!\d+([.,]\d+)?$)")  # a number with a sign is none

Row = dict[str, str]


def rows_of_csv(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """Every row and the line where it ends, as ``line 2``; empty lines are skipped, and values read by `text_of`.

    The separator is that of a first line ``sep=;``, or else the one that makes the most of the column names.

    Args:
        path: of the table, in UTF-8 or UTF-16.
        needed: names of columns that it must have.
        optional: names of others that are known.

    Raises:
        InputError: the table cannot be read, a needed column is missing, a known one appears twice, or a row is too
            long or too short.
    """
    text = _text(path)
    first, *_ = text.splitlines() or [""]
    said = first.strip().lower().startswith("sep=")
    if said and len(first.strip()) <= 5:
        separator = first.strip()[4:] or "\t"  # a tab is lost with the blanks around it
    else:
        separator = max(SEPARATORS, key=lambda mark: len({*_header(first, mark)} & {*needed, *optional}))
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        if said:
            next(rows)
        columns = _names(next(rows, []))
        _check_columns(path, columns, needed, optional)
        for values in rows:
            place = f"line {rows.line_num}"
            values = [value.strip() for value in values]
            if not any(values):
                continue
            while len(values) > len(columns) and not values[-1]:
                values.pop()
            if len(values) != len(columns):
                raise InputError(
                    f"{path}, {place}: {len(values)} values for {len(columns)} columns; correct it (quote values that "
                    f"contain {_word(separator)})"
                )
            yield place, dict(zip(columns, map(text_of, values), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); correct it") from error


def rows_of_parquet(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """Every row and its number, as ``row 1``; nulls are empty, other columns than those named are left out.

    Raises:
        InputError: the table cannot be read, a needed column is missing, a known one appears twice, or a column is of
            a type that is no text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            written = file.schema_arrow.names
            names = _names(written)
            _check_columns(path, names, needed, optional)
            columns = [name for name in (*needed, *optional) if name in names]
            table = file.read(columns=[written[names.index(name)] for name in columns])
        values = [_texts(path, name, table[written[names.index(name)]]) for name in columns]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())}); replace it") from error
    for number, row in enumerate(zip(*values, strict=True), start=1):
        yield f"row {number}", dict(zip(columns, row, strict=True))


def table_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, for `rows_of_csv` and for spreadsheets: every value a `cell`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([cell(str(value)) for value in row] for row in rows)
    return text.getvalue()


def cell(text: str) -> str:
    """The text as a cell of a table that people open in a spreadsheet: never a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """The inverse of `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode(_MARKS.get(content[:2], "utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error


def _header(line: str, separator: str) -> list[str]:
    try:
        return _names(next(csv.reader([line], delimiter=separator), []))
    except csv.Error:
        return []


def _names(written: Sequence[str]) -> list[str]:
    """Names of columns in lower case; empty ones at the end are cells of a spreadsheet that nobody filled."""
    names = [name.strip().lower() for name in written]
    while names and not names[-1]:
        names.pop()
    return names


def _check_columns(path: Path, columns: list[str], needed: Sequence[str], optional: Sequence[str]) -> None:
    missing = [column for column in needed if column not in columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)} among {', '.join(columns) or 'none'}; add it")
    twice = [column for column in (*needed, *optional) if columns.count(column) > 1]
    if twice:
        raise InputError(f"{path}: column {', '.join(twice)} appears twice; remove one")


def _word(separator: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, separator)


def _texts(path: Path, name: str, column: Any) -> list[str]:
    """A column of Parquet as text: whole numbers are written out, dates and times in ISO 8601."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    values = column.to_pylist()
    if pa.types.is_floating(kind) and all(value is None or float(value).is_integer() for value in values):
        values = [None if value is None else int(value) for value in values]  # whole numbers beside missing ones
    known = (str, int, datetime, date)
    strange = next((value for value in values if value is not None and not isinstance(value, known)), None)
    if strange is not None or pa.types.is_boolean(kind):
        raise InputError(f"{path}: column {name} is of type {kind}; store it as text")
    return ["" if v is None else v.isoformat() if isinstance(v, date) else str(v).strip() for v in values]
