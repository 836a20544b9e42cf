"""What a gallery keeps beside the vectors, in one SQLite file: its model, thumbnails, identities and corrections.

Every change is one transaction; what is deleted is overwritten on the disk.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from ccafl.errors import InputError

Tracklet = tuple[str, str]
"""Camera and label: what one camera's label joins."""

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
"""
_JOIN = "insert or replace into identities values (?, ?, ?)"

_Change = tuple[str, Sequence[Any]]


class Ledger:
    """The file ``path``, made if missing; several threads may use it.

    Raises:
        InputError: it is no such file, or cannot be written.
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
        """What is known of the gallery: its model's fingerprint, dimensions and such."""
        return dict(self._read("select name, value from facts"))

    def state(self, facts: Mapping[str, str]) -> None:
        """Write facts, in place of those of the same names."""
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
        """Write the tracklets' identities, in place of all that there were."""
        self._write([("delete from identities", ()), *((_JOIN, (*t, i)) for t, i in identities.items())])

    def identities(self, tracklets: Iterable[Tracklet] | None = None) -> dict[Tracklet, str]:
        """The identity of those tracklets, or of all, that have one."""
        if tracklets is None:
            return {(camera, label): identity for camera, label, identity in self._read("select * from identities")}
        one = "select identity from identities where camera = ? and label = ?"
        found = {tracklet: self._read(one, *tracklet) for tracklet in set(tracklets)}
        return {tracklet: rows[0][0] for tracklet, rows in found.items() if rows}

    def tracklets_of(self, identity: str) -> list[Tracklet]:
        """Tracklets of an identity, by camera and label."""
        return self._read("select camera, label from identities where identity = ? order by camera, label", identity)

    def corrections(self) -> list[tuple[str, str, str, str, str]]:
        """Kind and the two tracklets of every correction, the lesser tracklet first."""
        return self._read("select * from corrections order by camera_a, label_a, camera_b, label_b")

    def correct(
        self,
        identities: Mapping[Tracklet, str],
        links: Mapping[tuple[Tracklet, Tracklet], str],
        undone: Iterable[tuple[Tracklet, Tracklet]] = (),
    ) -> None:
        """New identities with the links that say why, in one transaction; ``undone`` links are taken away."""
        gone = "delete from corrections where camera_a = ? and label_a = ? and camera_b = ? and label_b = ?"
        link = "insert or replace into corrections values (?, ?, ?, ?, ?)"
        self._write(
            [
                *((gone, (*min(pair), *max(pair))) for pair in undone),
                *((link, (kind, *min(pair), *max(pair))) for pair, kind in links.items()),
                *((_JOIN, (*tracklet, identity)) for tracklet, identity in identities.items()),
            ]
        )

    def begin_erasing(self, pictures: Mapping[str, Tracklet]) -> None:
        """Note pictures that are to go, by key, so that an erasing that is cut off can be finished."""
        self._write([("insert or replace into erasing values (?, ?, ?)", (k, *t)) for k, t in pictures.items()])

    def erasing(self) -> dict[str, Tracklet]:
        """Pictures whose erasing has begun and has not been finished."""
        return {key: (camera, label) for key, camera, label in self._read("select * from erasing")}

    def end_erasing(self) -> None:
        """Nothing is left to be erased."""
        self._write([("delete from erasing", ())])

    def erase(self, thumbnails: Iterable[str], tracklets: Iterable[Tracklet]) -> None:
        """Take thumbnails away by key, and tracklets out of identities and corrections."""
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

    def _read(self, question: str, *values: Any) -> list[Any]:
        with self._lock:
            try:
                return self._file.execute(question, values).fetchall()
            except sqlite3.Error as error:
                raise InputError(
                    f"{self._path}: cannot be read ({error}); restore it, or add the pictures anew"
                ) from error

    def _write(self, changes: Iterable[_Change]) -> None:
        """All of it or nothing.

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
                    f"{self._path}: cannot be written ({error}); free space or check its rights"
                ) from error
