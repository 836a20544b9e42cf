"""A gallery's SQLite file: its model, thumbnails, identities, corrections and, unless a Milvus server holds them, the
pictures' properties and vectors.

Every change is one transaction. Erasing also rewrites the file: SQLite's ``secure_delete`` overwrites what is deleted,
but not the copies that it left when it moved rows from page to page.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from zlib import crc32

from ccafl.data.records import Origin
from ccafl.errors import InputError

Tracklet = tuple[str, str]
"""A camera and a label within it: the pictures of one person in one camera."""

Change = tuple[str, Sequence[Any]]
"""An SQL statement and its values."""

Pair = tuple[Tracklet, Tracklet]
"""Two tracklets, the smaller first."""

FORGET_STATISTICS: Change = ("delete from statistics", ())
"""What every change of the vectors begins with."""

_TABLES = """
create table facts (name text primary key, value text) strict;
create table pictures (
    id integer primary key, key text not null unique, camera text not null, time integer, source text not null,
    label text not null, checksum integer not null
) strict;
create index by_tracklet on pictures (camera, label);
create table vectors (
    id integer primary key, features blob not null, features_checksum integer not null,
    image_text blob, image_text_checksum integer
) strict;
create table thumbnails (key text primary key, jpeg blob not null) strict;
create table identities (camera text, label text, identity text not null, primary key (camera, label)) strict;
create index by_identity on identities (identity);
create table corrections (
    kind text not null, camera_a text, label_a text, camera_b text, label_b text,
    primary key (camera_a, label_a, camera_b, label_b)
) strict;
create table unfinished (
    key text primary key, camera text not null, label text not null, erasing integer not null
) strict;
create table statistics (camera text primary key, pictures real not null, sums blob, squares blob) strict;
"""
_ORIGINS = """
create table if not exists origins (
    key text primary key, footage text not null, frame integer not null, box text not null, checksum integer not null
) strict
"""
_JOINED = """
create table if not exists joined (camera text, label text, identity text not null, primary key (camera, label)) strict
"""
_CHANGES = """
create table if not exists changes (
    number integer not null, camera_a text, label_a text, camera_b text, label_b text, before text, after text,
    primary key (number, camera_a, label_a, camera_b, label_b)
) strict
"""
_NAMES = """
create table if not exists names (camera text, label text, name text not null, primary key (camera, label)) strict
"""
_LATER = (_ORIGINS, _JOINED, _CHANGES, _NAMES)
"""Galleries of earlier versions get these tables when they are opened to be changed."""

_PRAGMAS = """
pragma page_size = 16384;
pragma secure_delete = on;
pragma journal_mode = delete;
pragma synchronous = extra;
pragma cache_size = -32768;
pragma trusted_schema = off;
pragma cell_size_check = on;
"""
_TRACES = "traces"  # a fact while the file has to be rewritten
_JOIN = "insert or replace into identities values (?, ?, ?)"
_FAILURES = (sqlite3.Error, UnicodeDecodeError)  # the latter of a damaged file whose damage SQLite quotes
_KEYS = 500  # in one query
_WAIT = 30  # seconds, while another process writes


class GalleryError(InputError):
    """The gallery itself fails, whatever it is asked: its file is damaged, its disk is full, its server is gone."""


class Ledger:
    """The SQLite file at ``path``, made by `create`; thread-safe.

    Args:
        path: the file.
        read_only: refuse to change it; another process may be writing.

    Raises:
        GalleryError: it is not an SQLite file, or cannot be read.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self.read_only, self._lock = path, read_only, Lock()
        try:
            self._file = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
                timeout=_WAIT,
            )
            self._file.executescript(_PRAGMAS + f"pragma query_only = {'on' if read_only else 'off'};")
            self._file.execute("select count(*) from sqlite_master").fetchone()  # undoes an interrupted change
            if not read_only:
                earlier = {name for (name,) in self._file.execute("select name from sqlite_master")}
                for table in _LATER:
                    self._file.execute(table)
                if "identities" in earlier and "joined" not in earlier:
                    self._file.execute("insert into joined select * from identities")
        except _FAILURES as error:
            raise GalleryError(f"{path}: cannot be used as a gallery's file ({error}); give another folder") from error

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, str]) -> None:
        """Make the file at ``path``, which is empty or missing.

        Raises:
            GalleryError: it cannot be written.
        """
        path.touch(0o600)
        path.chmod(0o600)
        ledger = cls(path)
        try:
            ledger.write([(statement, ()) for statement in _TABLES.split(";")])
            ledger.write_facts(facts)
        finally:
            ledger.close()

    def facts(self) -> dict[str, str]:
        """Facts about the gallery: its model's fingerprint, dimensions and so on."""
        return dict(self.read("select name, value from facts"))

    def write_facts(self, facts: Mapping[str, str]) -> None:
        """Write facts, replacing those with the same names."""
        self.write([("insert or replace into facts values (?, ?)", fact) for fact in facts.items()])

    def thumbnail(self, key: str) -> bytes | None:
        """The thumbnail's JPEG."""
        found = self.read("select jpeg from thumbnails where key = ?", key)
        return found[0][0] if found else None

    def thumbnail_keys(self) -> set[str]:
        """Keys of all thumbnails."""
        return {key for (key,) in self.read("select key from thumbnails")}

    def origins(self, keys: Sequence[str]) -> dict[str, Origin]:
        """Where in footage these pictures were cut out, by key; those of which it is unknown are left out.

        Raises:
            GalleryError: what is stored is not what was written.
        """
        found: dict[str, Origin] = {}
        if self._has("origins"):
            for start in range(0, len(keys), _KEYS):
                some = keys[start : start + _KEYS]
                for row in self.read(f"select * from origins where key in ({', '.join('?' * len(some))})", *some):
                    if row[-1] != _checksum(row[:-1]):
                        raise GalleryError(
                            f"{self.path}: what is stored of the footage of the picture {row[0]} is damaged; "
                            "restore the file from a copy, or add the pictures to a new gallery"
                        )
                    x, y, width, height = map(int, row[3].split(","))
                    found[row[0]] = Origin(row[1], row[2], (x, y, width, height))
        return found

    def keys_with_origin(self) -> set[str]:
        """Keys of all pictures that were cut out of known footage."""
        return {key for (key,) in self.read("select key from origins")} if self._has("origins") else set()

    def _has(self, table: str) -> bool:
        return bool(self.read("select 1 from sqlite_master where name = ?", table))

    def join(self, identities: Mapping[Tracklet, str], joined: Mapping[Tracklet, str] | None = None) -> None:
        """Replace all identities; ``joined`` are those without corrections, the same if not given."""
        kept = "insert into joined values (?, ?, ?)"
        self.write(
            [
                ("delete from identities", ()),
                ("delete from joined", ()),
                *((_JOIN, (*t, i)) for t, i in identities.items()),
                *((kept, (*t, i)) for t, i in (identities if joined is None else joined).items()),
            ]
        )

    def joined(self) -> dict[Tracklet, str]:
        """The identities of the last join, before corrections."""
        return {(camera, label): identity for camera, label, identity in self.read("select * from joined")}

    def identities(self, tracklets: Iterable[Tracklet] | None = None) -> dict[Tracklet, str]:
        """The identities of these tracklets, or of all; those without one are left out."""
        if tracklets is None:
            return {(camera, label): identity for camera, label, identity in self.read("select * from identities")}
        query = "select identity from identities where camera = ? and label = ?"
        found = {tracklet: self.read(query, *tracklet) for tracklet in set(tracklets)}
        return {tracklet: rows[0][0] for tracklet, rows in found.items() if rows}

    def tracklets_of(self, identity: str) -> list[Tracklet]:
        """Tracklets of an identity, sorted by camera and label."""
        return self.read("select camera, label from identities where identity = ? order by camera, label", identity)

    def corrections(self) -> list[tuple[str, str, str, str, str]]:
        """Kind and the two tracklets of every correction, the smaller tracklet first."""
        return self.read("select * from corrections order by camera_a, label_a, camera_b, label_b")

    def links(self) -> dict[Pair, str]:
        """Kind of every correction, by its tracklets."""
        return {((a, b), (c, d)): kind for kind, a, b, c, d in self.corrections()}

    def correct(
        self, identities: Mapping[Tracklet, str], links: Mapping[Pair, str | None], undone: int | None = None
    ) -> int:
        """Write identities, "" for none, and the links that explain them, None for none, in one transaction.

        Args:
            identities: of the tracklets that change.
            links: of the pairs that change.
            undone: the number of an earlier change that this one takes back; it is forgotten.

        Returns:
            the number of this change, for `change`.
        """
        before = self.links()
        number = 1 + (self.read("select max(number) from changes")[0][0] or 0)
        leave = "delete from identities where camera = ? and label = ?"
        note = "insert into changes values (?, ?, ?, ?, ?, ?, ?)"
        pairs = {(min(pair), max(pair)): kind for pair, kind in links.items()}
        changed = {pair: kind for pair, kind in pairs.items() if before.get(pair) != kind}
        noted = (
            [] if undone is not None else [(note, (number, *p[0], *p[1], before.get(p), k)) for p, k in changed.items()]
        )
        unlink = "delete from corrections where camera_a = ? and label_a = ? and camera_b = ? and label_b = ?"
        link = "insert or replace into corrections values (?, ?, ?, ?, ?)"
        self.write(
            [
                *((link, (kind, *p[0], *p[1])) if kind else (unlink, (*p[0], *p[1])) for p, kind in changed.items()),
                *((_JOIN, (*t, identity)) if identity else (leave, t) for t, identity in identities.items()),
                *noted,
                ("delete from changes where number = ?", (undone,)),
            ]
        )
        return number

    def change(self, number: int) -> dict[Pair, tuple[str | None, str | None]]:
        """The kinds of links before and after a change, by pair; none if there is no such change."""
        rows = self.read("select * from changes where number = ?", number)
        return {((a, b), (c, d)): (before, after) for _, a, b, c, d, before, after in rows}

    def names(self) -> dict[str, str]:
        """The names of persons, by identity: a name goes to the person that has most of the labels it was given to."""
        if not self._has("names"):
            return {}
        shared = self.read(
            "select name, identity from names join identities using (camera, label) "
            "group by name, identity order by count(*) desc, name, identity"
        )
        found: dict[str, str] = {}
        for name, identity in shared:
            if identity not in found and name not in found.values():
                found[identity] = name
        return found

    def name(self, tracklets: Iterable[Tracklet], name: str, before: str) -> None:
        """Give labels a name, or with "" none; the name ``before`` is forgotten wherever it was given."""
        give = "insert or replace into names values (?, ?, ?)"
        take = "delete from names where camera = ? and label = ?"
        given = [(give, (*tracklet, name)) if name else (take, tracklet) for tracklet in tracklets]
        self.write([("delete from names where name = ?", (before,)), *given])

    def statistics(self) -> list[tuple[str, float, bytes, bytes]]:
        """Camera, number of pictures, sums and squares of every camera, sorted by name; none where they are unknown."""
        return self.read("select * from statistics order by camera")

    def keep_statistics(self, rows: Iterable[tuple[str, float, bytes, bytes]]) -> None:
        """Replace the statistics of all cameras."""
        insert = "insert into statistics values (?, ?, ?, ?)"
        self.write([FORGET_STATISTICS, *((insert, row) for row in rows)])

    def begin(self, pictures: Mapping[str, Tracklet], kept: Iterable[Change] = (), *, erasing: bool = False) -> None:
        """Record pictures, by key, that are about to be written elsewhere or erased there; make changes ``kept``."""
        unfinished = "insert or replace into unfinished values (?, ?, ?, ?)"
        self.write(
            [
                FORGET_STATISTICS,
                *((unfinished, (key, *tracklet, int(erasing))) for key, tracklet in pictures.items()),
                *kept,
            ]
        )

    def unfinished(self) -> dict[str, tuple[Tracklet, bool]]:
        """What `begin` recorded and `end` did not: tracklet, and whether it is being erased, by key."""
        rows = self.read("select * from unfinished")
        return {key: ((camera, label), bool(erasing)) for key, camera, label, erasing in rows}

    def end(self, gone: Iterable[str] = (), tracklets: Iterable[Tracklet] = ()) -> None:
        """Record that everything begun is complete; pictures that are gone and tracklets lose what is kept of them."""
        changes = [
            *(change for key in gone for change in without_picture(key)),
            *(change for tracklet in tracklets for change in without_tracklet(tracklet)),
        ]
        (self.erase if changes else self.write)([*changes, ("delete from unfinished", ())])

    def erase(self, changes: Iterable[Change]) -> None:
        """Make changes that erase something, all or none, and then leave no trace of it in the file.

        Raises:
            GalleryError: the file cannot be written; if only the traces are left, `rewrite` removes them later.
        """
        self.write([*changes, ("insert or replace into facts values (?, '')", (_TRACES,))])
        self.rewrite()

    def rewrite(self) -> None:
        """Write the file anew if something was erased from it and traces may be left; takes as long as copying it.

        Raises:
            GalleryError: there is no space for it.
        """
        if not self.read("select * from facts where name = ?", _TRACES):
            return
        with self._lock:
            try:
                self._file.execute("vacuum")
            except _FAILURES as error:
                raise GalleryError(
                    f"{self.path}: the pictures are erased, but traces may be left until the file can be rewritten "
                    f"({error}); free disk space and repeat the command"
                ) from error
        self.write([("delete from facts where name = ?", (_TRACES,))])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, query: str, *values: Any) -> list[Any]:
        """The rows that a query gives.

        Raises:
            GalleryError: the file cannot be read.
        """
        with self._lock:
            try:
                self._undo()
                return self._file.execute(query, values).fetchall()
            except _FAILURES as error:
                raise GalleryError(
                    f"{self.path}: cannot be read ({error}); restore it, or add the pictures to a new gallery"
                ) from error

    def write(self, changes: Iterable[Change]) -> None:
        """Make all the changes or, whatever happens meanwhile, none.

        Raises:
            GalleryError: the file cannot be written.
        """
        with self._lock:
            try:
                self._undo()
                self._file.execute("begin immediate")
                for statement, values in changes:
                    self._file.execute(statement, values)
                self._file.execute("commit")
            except BaseException as error:
                self._undo()
                if isinstance(error, _FAILURES):
                    raise GalleryError(
                        f"{self.path}: cannot be written ({error}); free disk space or check its permissions"
                    ) from error
                raise

    def _undo(self) -> None:
        """Undo a change that is not complete: the last one, if a second interrupt came before it was undone."""
        if self._file.in_transaction:
            self._file.execute("rollback")


def keep_thumbnail(key: str, jpeg: bytes) -> Change:
    """The change that writes a thumbnail."""
    return "insert or replace into thumbnails values (?, ?)", (key, jpeg)


def keep_origin(key: str, origin: Origin) -> Change:
    """The change that writes where a picture was cut out."""
    row = (key, origin.footage, origin.frame, ",".join(map(str, origin.box)))
    return "insert or replace into origins values (?, ?, ?, ?, ?)", (*row, _checksum(row))


def without_picture(key: str) -> list[Change]:
    """The changes that remove what is kept of a picture besides its vectors and properties."""
    return [(f"delete from {table} where key = ?", (key,)) for table in ("thumbnails", "origins")]


def without_tracklet(tracklet: Tracklet, condition: str = "true", *values: Any) -> list[Change]:
    """The changes that remove a tracklet from identities and corrections, if an SQL condition holds."""
    return [
        (f"delete from {table} where {camera} = ? and {label} = ? and {condition}", (*tracklet, *values))
        for table, camera, label in (
            ("identities", "camera", "label"),
            ("joined", "camera", "label"),
            ("names", "camera", "label"),
            ("changes", "camera_a", "label_a"),
            ("changes", "camera_b", "label_b"),
            ("corrections", "camera_a", "label_a"),
            ("corrections", "camera_b", "label_b"),
        )
    ]


def _checksum(row: Sequence[object]) -> int:
    return crc32("\0".join(str(value) for value in row).encode())
