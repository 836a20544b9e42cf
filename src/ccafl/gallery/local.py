"""The pictures in the gallery's own file: nobody else can reach them, and each is written and erased as a whole.

Every picture's properties and every vector have a checksum, which is compared whenever they are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ccafl.encoders.encoder import Encoded
from ccafl.gallery.filters import Filters
from ccafl.gallery.ledger import (
    FORGET_STATISTICS,
    Change,
    GalleryError,
    Ledger,
    Tracklet,
    without_picture,
    without_tracklet,
)
from ccafl.gallery.nearest import InMemory, best_of, passing
from ccafl.gallery.values import is_time
from ccafl.gallery.vectors import EVERYTHING, FEATURES, PROPERTIES, Row, page_size

_KEYS = 500  # in one query
_PUT = f"""
    insert into pictures ({", ".join(PROPERTIES)}, checksum) values (?, ?, ?, ?, ?, ?)
    on conflict (key) do update set camera = excluded.camera, time = excluded.time, source = excluded.source,
        label = excluded.label, checksum = excluded.checksum
"""
_PUT_VECTORS = "insert or replace into vectors select id, ?, ?, ?, ? from pictures where key = ?"
_UNPICTURED = "not exists (select * from pictures where camera = ? and label = ?)"


class LocalStore:
    """The pictures in a gallery's SQLite file.

    Args:
        ledger: the file.
        dims: length of each vector, by field.
    """

    local = True

    def __init__(self, ledger: Ledger, dims: Mapping[str, int]) -> None:
        self.where: Path | str = ledger.path
        self._ledger, self._dims = ledger, dims

    def put(self, rows: Sequence[Row], encoded: Encoded, kept: Sequence[Change]) -> None:
        """See `VectorStore`."""
        self._ledger.write([*self._changes(rows, encoded), *kept])

    def count(self) -> int:
        """See `VectorStore`."""
        return int(self._ledger.read("select count(*) from pictures")[0][0])

    def get(self, keys: Sequence[str], vectors: Sequence[str] = ()) -> dict[str, Row]:
        """See `VectorStore`."""
        rows: dict[str, Row] = {}
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            found = self._rows(vectors, f"where key in ({', '.join('?' * len(some))})", *some)
            rows |= {row["key"]: row for _, row in found}
        return rows

    def all(self, filters: Filters = EVERYTHING, vectors: Sequence[str] = ()) -> Iterator[list[Row]]:
        """See `VectorStore`; in the order in which they were first added."""
        size = page_size(sum(self._dims[field] for field in vectors))
        last = 0
        while found := self._rows(vectors, "where id > ? order by id limit ?", last, size):
            last = found[-1][0]
            rows = [row for _, row in found]
            if kept := [row for row, passes in zip(rows, passing(rows, filters), strict=True) if passes]:
                yield kept

    def of_tracklets(self, tracklets: Sequence[Tracklet]) -> list[Row]:
        """See `VectorStore`."""
        return [row for own in tracklets for _, row in self._rows((), "where camera = ? and label = ?", *own)]

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        filters: Sequence[Filters],
        *,
        field: str = FEATURES,
        vectors: bool = False,
    ) -> list[list[Row]]:
        """See `VectorStore`; reads all vectors of the field, a page at a time."""
        needed = dict.fromkeys((field, FEATURES) if vectors else (field,))
        parts = (InMemory.of([rows]) for rows in self.all(vectors=tuple(needed)))
        return best_of(parts, queries, count, filters, field=field, vectors=vectors)

    def erase(self, pictures: Mapping[str, Tracklet]) -> None:
        """See `VectorStore`; in one transaction, which an interruption undoes. Then the file is rewritten."""
        changes: list[Change] = [FORGET_STATISTICS]
        for key in pictures:
            changes += [
                ("delete from vectors where id = (select id from pictures where key = ?)", (key,)),
                ("delete from pictures where key = ?", (key,)),
                *without_picture(key),
            ]
        for tracklet in set(pictures.values()):
            changes += without_tracklet(tracklet, _UNPICTURED, *tracklet)
        self._ledger.erase(changes)

    def close(self) -> None:
        """The ledger is closed by whoever opened it."""

    def _changes(self, rows: Sequence[Row], encoded: Encoded) -> Iterator[Change]:
        yield FORGET_STATISTICS
        for number, row in enumerate(rows):
            yield _PUT, (*(row[name] for name in PROPERTIES), _checksum(row))
            stored: list[bytes | int | None] = []
            for vectors in (encoded.features, encoded.image_text):
                vector = None if vectors is None else vectors[number].astype("<f4").tobytes()
                stored += [vector, None if vector is None else _vector_checksum(row["key"], vector)]
            yield _PUT_VECTORS, (*stored, row["key"])

    def _rows(self, vectors: Sequence[str], condition: str, *values: object) -> list[tuple[int, Row]]:
        """The pictures that meet an SQL condition, each with its number in the file.

        Raises:
            GalleryError: what is stored is not what was written.
        """
        columns = ", ".join(("id", *PROPERTIES, "checksum", *(f"{name}, {name}_checksum" for name in vectors)))
        tables = "pictures left join vectors using (id)" if vectors else "pictures"
        return [
            (stored[0], self._row(stored[1:], vectors))
            for stored in self._ledger.read(f"select {columns} from {tables} {condition}", *values)
        ]

    def _row(self, stored: Sequence[object], vectors: Sequence[str]) -> Row:
        row: Row = dict(zip(PROPERTIES, stored, strict=False))
        if not _sound(row) or _checksum(row) != stored[len(PROPERTIES)]:
            raise GalleryError(
                f"{self.where}: what is stored of the picture {row['source']} is damaged; "
                "restore the file from a copy, or add the pictures to a new gallery"
            )
        for place, field in enumerate(vectors):
            vector, checksum = stored[len(PROPERTIES) + 1 + 2 * place :][:2]
            if (
                not isinstance(vector, bytes)
                or len(vector) != 4 * self._dims[field]
                or _vector_checksum(row["key"], vector) != checksum
            ):
                raise GalleryError(
                    f"{self.where}: the features of the picture {row['source']} are damaged; "
                    "remove it with ccafl gallery remove, and add it again"
                )
            row[field] = np.frombuffer(vector, "<f4")
        return row


def _sound(row: Row) -> bool:
    """Whether the properties are of the right types."""
    return all(isinstance(row[name], str) for name in PROPERTIES if name != "time") and is_time(row["time"])


def _checksum(row: Row) -> int:
    return crc32("\0".join(str(row[name]) for name in PROPERTIES).encode())


def _vector_checksum(key: str, vector: bytes) -> int:
    """Of a picture's vector; with the key, so that another picture's vector does not pass for it."""
    return crc32(vector, crc32(key.encode()))
