"""What a gallery stores besides the vectors, in one SQLite file: its model, thumbnails, identities and corrections.

Every change is one transaction; deleted data are overwritten on the disk.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from ccafl.errors import InputError

Tracklet = tuple[str, str]
"""A camera and a label within it: the pictures of one person in one camera."""

_TABLES = """
create table if not exists facts (name text primary key, value text);
create table if not exists thumbnails (key text primary key, jpeg blob not null);
create table if not exists identities (camera text, label text, identity text not null, primary key (camera, label));
create index if not exists by_identity on identities (identity);
create table if not exists corrections (
    kind text not null, camera_a text, label_a text, camera_b text, label_b text,
    primary key (camera_a, label_a, camera_b, label_b)
);
create table if not exists erasing (key text primary key, camera text not null, label text not null);
create table if not exists statistics (camera text primary key, pictures real not null, sums blob, squares blob);
"""
_JOIN = "insert or replace into identities values (?, ?, ?)"

_Change = tuple[str, Sequence[Any]]


class Ledger:
    """The SQLite file at ``path``, created if missing; thread-safe.

    Raises:
        InputError: it is not such a file, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        try:
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._file.execute("pragma secure_delete = on")
            self._file.executescript(_TABLES)
        except sqlite3.Error as error:
            raise InputError(f"{path}: cannot be used as a gallery's file ({error}); give another folder") from error

    def facts(self) -> dict[str, str]:
        """Facts about the gallery: its model's fingerprint, dimensions and so on."""
        return dict(self._read("select name, value from facts"))

    def write_facts(self, facts: Mapping[str, str]) -> None:
        """Write facts, replacing those with the same names."""
        self._write([("insert or replace into facts values (?, ?)", fact) for fact in facts.items()])

    def keep_thumbnails(self, jpegs: Mapping[str, bytes]) -> None:
        """Write thumbnails by key."""
        self._write([("insert or replace into thumbnails values (?, ?)", item) for item in jpegs.items()])

    def thumbnail(self, key: str) -> bytes | None:
        """The thumbnail's JPEG."""
        found = self._read("select jpeg from thumbnails where key = ?", key)
        return found[0][0] if found else None

    def thumbnail_keys(self) -> set[str]:
        """Keys of all thumbnails."""
        return {key for (key,) in self._read("select key from thumbnails")}

    def join(self, identities: Mapping[Tracklet, str]) -> None:
        """Replace all identities."""
        self._write([("delete from identities", ()), *((_JOIN, (*t, i)) for t, i in identities.items())])

    def identities(self, tracklets: Iterable[Tracklet] | None = None) -> dict[Tracklet, str]:
        """The identities of these tracklets, or of all; those without one are left out."""
        if tracklets is None:
            return {(camera, label): identity for camera, label, identity in self._read("select * from identities")}
        query = "select identity from identities where camera = ? and label = ?"
        found = {tracklet: self._read(query, *tracklet) for tracklet in set(tracklets)}
        return {tracklet: rows[0][0] for tracklet, rows in found.items() if rows}

    def tracklets_of(self, identity: str) -> list[Tracklet]:
        """Tracklets of an identity, sorted by camera and label."""
        return self._read("select camera, label from identities where identity = ? order by camera, label", identity)

    def corrections(self) -> list[tuple[str, str, str, str, str]]:
        """Kind and the two tracklets of every correction, the smaller tracklet first."""
        return self._read("select * from corrections order by camera_a, label_a, camera_b, label_b")

    def correct(
        self,
        identities: Mapping[Tracklet, str],
        links: Mapping[tuple[Tracklet, Tracklet], str],
        undone: Iterable[tuple[Tracklet, Tracklet]] = (),
    ) -> None:
        """Write identities and the links that explain them, and remove the ``undone`` links, in one transaction."""
        unlink = "delete from corrections where camera_a = ? and label_a = ? and camera_b = ? and label_b = ?"
        link = "insert or replace into corrections values (?, ?, ?, ?, ?)"
        self._write(
            [
                *((unlink, (*min(pair), *max(pair))) for pair in undone),
                *((link, (kind, *min(pair), *max(pair))) for pair, kind in links.items()),
                *((_JOIN, (*tracklet, identity)) for tracklet, identity in identities.items()),
            ]
        )

    def statistics(self) -> list[tuple[str, float, bytes, bytes]]:
        """Camera, number of pictures, sums and squares of every camera, sorted by name; none where they are unknown."""
        return self._read("select * from statistics order by camera")

    def keep_statistics(self, rows: Iterable[tuple[str, float, bytes, bytes]]) -> None:
        """Replace the statistics of all cameras; no rows for unknown."""
        insert = "insert into statistics values (?, ?, ?, ?)"
        self._write([("delete from statistics", ()), *((insert, row) for row in rows)])

    def begin_erasing(self, pictures: Mapping[str, Tracklet]) -> None:
        """Record the pictures to erase, by key, so that an interrupted erasure can be completed."""
        self._write([("insert or replace into erasing values (?, ?, ?)", (k, *t)) for k, t in pictures.items()])

    def erasing(self) -> dict[str, Tracklet]:
        """Pictures whose erasure has begun and is not complete."""
        return {key: (camera, label) for key, camera, label in self._read("select * from erasing")}

    def end_erasing(self) -> None:
        """Record that the erasure is complete."""
        self._write([("delete from erasing", ())])

    def erase(self, thumbnails: Iterable[str], tracklets: Iterable[Tracklet]) -> None:
        """Delete thumbnails by key, and remove tracklets from identities and corrections."""
        changes: list[_Change] = [("delete from thumbnails where key = ?", (key,)) for key in thumbnails]
        for tracklet in tracklets:
            changes.append(("delete from identities where camera = ? and label = ?", tracklet))
            changes += [
                (f"delete from corrections where camera_{side} = ? and label_{side} = ?", tracklet) for side in "ab"
            ]
        self._write(changes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            try:
                return self._file.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise InputError(
                    f"{self._path}: cannot be read ({error}); restore it, or add the pictures to a new gallery"
                ) from error

    def _write(self, changes: Iterable[_Change]) -> None:
        """Make all the changes or none.

        Raises:
            InputError: the file cannot be written.
        """
        with self._lock:
            try:
                self._file.execute("begin immediate")
                for statement, values in changes:
                    self._file.execute(statement, values)
                self._file.execute("commit")
            except sqlite3.Error as error:
                if self._file.in_transaction:
                    self._file.execute("rollback")
                raise InputError(
                    f"{self._path}: cannot be written ({error}); free disk space or check its permissions"
                ) from error
