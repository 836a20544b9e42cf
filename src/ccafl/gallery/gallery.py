"""A gallery: pictures of people with their features, for searching.

A folder with ``gallery.sqlite`` (`ledger`), which holds everything unless a Milvus server has the vectors. One process
at a time can change it; others can read it meanwhile.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ccafl.calibration import CALIBRATION, MOST_STRANGERS, Calibration
from ccafl.encoders.encoder import Encoded, PictureEncoder
from ccafl.errors import InputError
from ccafl.files import disk_errors, lock, written_whole
from ccafl.gallery.catalogue import Catalogue
from ccafl.gallery.entries import Entry
from ccafl.gallery.filters import Filters
from ccafl.gallery.ledger import GalleryError, Ledger, Tracklet, keep_origin, keep_thumbnail, without_tracklet
from ccafl.gallery.local import LocalStore
from ccafl.gallery.milvus import MilvusStore, check_milvus, new_collections
from ccafl.gallery.nearest import STANDARDISED, InMemory, KeyGroup, Naming, best_groups, best_of
from ccafl.gallery.standardising import CameraStatistics
from ccafl.gallery.values import check_name, milliseconds, time_of
from ccafl.gallery.vectors import FEATURES, IMAGE_TEXT, LONGEST_SOURCE, MOST_FOUND, Row, VectorStore
from ccafl.terminal import note

_FORMAT, _WITH_MILVUS_LITE = "2", "1"
_FILE, _LOCK = "gallery.sqlite", "lock"
_STRANGERS = "strangers"


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """A gallery in numbers.

    Attributes:
        pictures: their number.
        cameras: number of pictures by camera, sorted by name.
        identities: number of different identities of the pictures.
        first: the earliest time of a picture, if any has one.
        last: the latest.
        model_name: of the run that made the features.
        fingerprint: of that model.
        model_place: where that model was: a run's folder or an ONNX file, or the name of weights.
        where: location of the vectors: the gallery's file, or the URI of a Milvus server.
        tracks: number of different tracks of pictures that were cut out of footage.
        names: of the persons that have one, by identity.
    """

    pictures: int
    cameras: dict[str, int]
    identities: int
    first: datetime | None
    last: datetime | None
    model_name: str
    fingerprint: str
    model_place: Path | str
    where: Path | str
    tracks: int = 0
    names: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For scripts: times in ISO 8601, places as text."""
        times = {name: taken and taken.isoformat() for name, taken in (("first", self.first), ("last", self.last))}
        return asdict(self) | times | {"model_place": str(self.model_place), "where": str(self.where)}


class Gallery:
    """An open gallery, from `open` or `create`; as a context manager it closes itself.

    Attributes:
        fingerprint: of the model that made the features.
        model_name: its name, for display.
        model_place: where it was: a run's folder or an ONNX file, or the name of an architecture with its weights.
        dim: D, the length of a picture's feature.
        text_dim: E, the length of the feature to compare with sentences; None without a trained text tower.
        curve: the calibration of that model; None where it has none, and in galleries of earlier versions.
        strangers: how many pictures look like a person by it but show strangers (`strangers.strangers_share`), as
            measured last; None if that was not possible.
        ledger: thumbnails, identities and corrections.
        where: location of the vectors, the gallery's file or the URI of a Milvus server.
    """

    def __init__(
        self, folder: Path, lock: IO[bytes] | None, ledger: Ledger, facts: "_Facts", token: str | None
    ) -> None:
        self.fingerprint, self.model_name, self.model_place = facts.fingerprint, facts.model_name, facts.model_place
        self.dim, self.text_dim, self.curve, self.strangers = facts.dim, facts.text_dim, facts.curve, facts.strangers
        self._dims = facts.dims
        self._vectors: VectorStore = (
            MilvusStore(facts.uri, facts.collections, ledger, self._dims, token=token)
            if facts.uri
            else LocalStore(ledger, self._dims)
        )
        self.ledger, self.where = ledger, self._vectors.where
        self._folder, self._lock = folder, lock
        self._memory: InMemory | None = None
        self._statistics: CameraStatistics | None = None
        self._catalogue: Catalogue | None = None

    @classmethod
    def open(
        cls, folder: Path, *, read_only: bool = False, uri: str | None = None, token: str | None = None
    ) -> "Gallery":
        """Open what `create` made.

        Args:
            folder: of the gallery.
            read_only: only search and list it, also while another process changes it.
            uri: of the Milvus server that the gallery is expected to use; needed with a token, which is sent to no
                address that only the gallery's file names.
            token: for a Milvus server that requires one.

        Raises:
            InputError: there is no gallery, another process changes it, it is of another version, the token would go to
                an address that was not given, or Milvus fails.
        """
        if not (folder / _FILE).is_file():
            raise InputError(f"{folder}: is not a gallery; make one with ccafl gallery add RUN PICTURES --db {folder}")
        with ExitStack() as opened:
            held = None if read_only else opened.enter_context(_locked(folder))
            ledger = Ledger(folder / _FILE, read_only=read_only)
            opened.callback(ledger.close)
            facts = _Facts.of(folder, ledger.facts())
            if facts.uri and token and facts.uri != uri:
                raise InputError(
                    f"{folder}: has its vectors at {facts.uri}, and a token goes only to an address that you name; "
                    f"if you trust that one, add --uri {facts.uri}"
                )
            gallery = cls(folder, held, ledger, facts, token)
            opened.callback(gallery.close)
            gallery._begin()
            opened.pop_all()
        return gallery

    @classmethod
    def create(
        cls, folder: Path, encoder: PictureEncoder, *, uri: str | None = None, token: str | None = None
    ) -> "Gallery":
        """Make an empty gallery for the features of ``encoder``, and open it. Only its owner can read its files.

        Args:
            folder: new or empty.
            encoder: the only one whose features it will hold.
            uri: of a Milvus server for the vectors; without it they are in the folder. It is stored, the token is not.
            token: for a Milvus server that requires one.

        Raises:
            InputError: the folder holds something else, or Milvus fails.
        """
        if uri is not None:
            check_milvus(uri)
        if folder.is_file() or (folder.is_dir() and set(folder.iterdir()) - {folder / _LOCK, *_leftovers(folder)}):
            raise InputError(f"{folder}: exists and is not a gallery; choose another folder")
        new = not folder.exists()
        facts = _Facts(
            encoder.fingerprint,
            encoder.name,
            encoder.place,
            encoder.dim,
            encoder.text_dim,
            uri or "",
            new_collections() if uri else "",
            encoder.calibration,
        )
        with ExitStack() as opened:
            with disk_errors(folder):
                folder.mkdir(0o700, parents=True, exist_ok=True)
                if new:
                    opened.callback(_remove_unless_made, folder)
                folder.chmod(0o700)
            held = opened.enter_context(_locked(folder))
            for leftover in _leftovers(folder):
                leftover.unlink()
            with written_whole(folder / _FILE) as temporary:  # with this file the gallery exists
                Ledger.create(temporary, facts.stored())
                if uri is not None:
                    cls._create_collections(temporary, facts, token)
            ledger = Ledger(folder / _FILE)
            opened.callback(ledger.close)
            gallery = cls(folder, held, ledger, facts, token)
            opened.callback(gallery.close)
            gallery._begin()
            opened.pop_all()
        return gallery

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the gallery to other processes."""
        self._vectors.close()
        self.ledger.close()
        if self._lock is not None:
            self._lock.close()

    @property
    def calibration(self) -> Calibration | None:
        """What makes scores probabilities; None where nothing does, or it does not hold for these pictures."""
        return self.curve if self.strangers is None or self.strangers <= MOST_STRANGERS else None

    def keep_strangers(self, share: float | None) -> None:
        """Keep what `strangers.strangers_share` has measured."""
        self.strangers = share
        self.ledger.write_facts({_STRANGERS: "" if share is None else f"{share:.3f}"})

    def check_model(self, encoder: PictureEncoder) -> None:
        """Refuse an encoder whose features cannot be compared with the gallery's.

        Raises:
            InputError: its fingerprint differs.
        """
        if encoder.fingerprint != self.fingerprint:
            raise InputError(
                f"{self._folder}: holds features of {self.model_name} ({self.fingerprint[:12]}), not of {encoder.name} "
                f"({encoder.fingerprint[:12]}); use that model, or add the pictures to a new gallery"
            )

    def load(self) -> None:
        """Read all vectors into memory, for searches in milliseconds; does nothing where a Milvus server searches."""
        if self._vectors.local and self._memory is None:
            self._memory = InMemory.of(self._vectors.all(vectors=tuple(self._dims)))

    def __len__(self) -> int:
        return self._vectors.count() if self._memory is None else len(self._memory.rows)

    def put(self, entries: Sequence[Entry], encoded: Encoded, thumbnails: Mapping[str, bytes]) -> None:
        """Write pictures, replacing those with the same keys.

        Each is written as a whole or, if this is interrupted, not at all. Identities are not written; see `join`.

        Args:
            entries: n pictures with different keys.
            encoded: their features.
            thumbnails: JPEG by key.

        Raises:
            InputError: a camera or label that cannot be stored, or features that are not finite numbers.
            GalleryError: the disk is full.
        """
        self._check_features(entries, encoded)
        rows = [_row(entry) for entry in entries]
        memory, self._memory, self._statistics, self._catalogue = self._memory, None, None, None
        kept = [keep_thumbnail(*thumbnail) for thumbnail in thumbnails.items()]
        kept += [keep_origin(entry.key, entry.origin) for entry in entries if entry.origin is not None]
        self._vectors.put(rows, encoded, kept)
        if memory is not None and rows:
            held = {FEATURES: encoded.features} | (
                {} if encoded.image_text is None else {IMAGE_TEXT: encoded.image_text}
            )
            page = [row | {field: part[place] for field, part in held.items()} for place, row in enumerate(rows)]
            self._memory = memory.with_pictures(page)

    def join(self, identities: Mapping[Tracklet, str], joined: Mapping[Tracklet, str] | None = None) -> None:
        """Replace the identities of all cameras' labels.

        This ignores corrections; `corrections.join` applies them, and gives the identities before them as ``joined``.

        Raises:
            InputError: a name that cannot be stored.
        """
        for (camera, label), identity in identities.items():
            for name in (camera, label, identity):
                check_name(name)
        self.ledger.join(identities, joined)

    def get(self, keys: Sequence[str]) -> list[Entry]:
        """Pictures in the order of ``keys``; unknown keys are left out."""
        rows = self._vectors.get(keys)
        return self.entries([rows[key] for key in keys if key in rows])

    def cameras_of(self, keys: Sequence[str]) -> dict[str, str]:
        """The cameras that took pictures, by key; unknown keys are left out."""
        return {key: row["camera"] for key, row in self._vectors.get(keys).items()}

    def entries(self, rows: Sequence[Row]) -> list[Entry]:
        """Entries of stored rows, with their current identities and their origins."""
        identities = self.ledger.identities((row["camera"], row["label"]) for row in rows if row["label"])
        names = self.ledger.names()
        origins = self.ledger.origins([row["key"] for row in rows])
        return [
            Entry(
                row["key"],
                row["camera"],
                time_of(row["time"]),
                row["source"],
                row["label"],
                (identity := identities.get((row["camera"], row["label"]), "")),
                origins.get(row["key"]),
                names.get(identity, ""),
            )
            for row in rows
        ]

    def vectors(self, keys: Sequence[str], *, text: bool = False) -> NDArray[np.float32]:
        """Features by key: (n, D), or (n, E) to compare with sentences.

        Raises:
            KeyError: an unknown key.
        """
        field = IMAGE_TEXT if text else FEATURES
        rows = self._vectors.get(keys, (field,))
        return np.array([rows[key][field] for key in keys], np.float32)

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        filters: Sequence[Filters],
        *,
        text: bool = False,
        vectors: bool = False,
        standardised: bool = False,
    ) -> list[list[Row]]:
        """The ``count`` best rows with ``score`` (and ``features``): (Q, D) or (Q, E) and Q filters -> Q lists.

        ``standardised`` compares with features standardised by camera (`camera_statistics`), as the queries must be.
        No store keeps such features: all vectors are read, a page at a time, where they are not in memory.
        """
        for different in set(filters):
            different.check()
        if standardised:
            return best_of(self._standardised(), queries, count, filters, field=STANDARDISED, vectors=vectors)
        field = IMAGE_TEXT if text else FEATURES
        searched = self._memory or self._vectors
        return searched.nearest(queries, count, filters, field=field, vectors=vectors)

    def best_groups(
        self,
        queries: NDArray[np.float32],
        filters: Filters,
        naming: Naming | None,
        *,
        count: int,
        offset: int,
        each: int,
        text: bool = False,
        standardised: bool = False,
    ) -> tuple[list[KeyGroup], int]:
        """The best groups of pictures, and the number of all: see `ccafl.gallery.nearest.best_groups`.

        Where a Milvus server searches, only its `MOST_FOUND` nearest pictures are grouped.
        """
        filters.check()
        field = IMAGE_TEXT if text else FEATURES
        if standardised:
            parts, field = self._standardised(), STANDARDISED
        elif self._memory is not None:
            parts = iter([self._memory])
        elif self._vectors.local:
            parts = (InMemory.of([rows]) for rows in self._vectors.all(vectors=(field,)))
        else:
            found = self._vectors.nearest(queries, MOST_FOUND, [filters] * len(queries), field=field)
            rows = list({row["key"]: row for own in found for row in own}.values())
            named = list(self._vectors.get([row["key"] for row in rows], (field,)).values())
            parts = iter([InMemory.of([named])] if named else [])
        return best_groups(parts, queries, filters, naming, count=count, offset=offset, each=each, field=field)

    def camera_statistics(self) -> CameraStatistics:
        """Mean and deviation of each camera's features; measured once after the pictures have changed, then kept."""
        if self._statistics is None:
            kept = self.ledger.statistics()
            if kept:
                cameras, counts, *parts = zip(*kept, strict=True)
                sums, squares = (np.array([np.frombuffer(row, np.float64) for row in part]) for part in parts)
                self._statistics = CameraStatistics(cameras, np.array(counts), sums, squares)
            else:
                pages = self._vectors.all(vectors=(FEATURES,))
                columns = (
                    ([row["camera"] for row in rows], np.stack([row[FEATURES] for row in rows])) for rows in pages
                )
                found = self._statistics = CameraStatistics.of(columns, self.dim)
                if not self.ledger.read_only:
                    blobs = ((part.tobytes() for part in sums) for sums in (found.sums, found.squares))
                    self.ledger.keep_statistics(zip(found.cameras, found.counts.tolist(), *blobs, strict=True))
        return self._statistics

    def of_identity(self, identity: str) -> list[Entry]:
        """Pictures of an identity, sorted by time, then camera; those without a time last."""
        tracklets = self.ledger.tracklets_of(identity)
        entries = self.entries(self._rows_of(tracklets))
        return _by_time(entries)

    def of_track(self, camera: str, label: str) -> list[Entry]:
        """Pictures of a camera's track or label, sorted by time; none if there is no such track."""
        return _by_time(self.entries(self._vectors.of_tracklets([(camera, label)])))

    def catalogue(self) -> Catalogue:
        """What there is to browse; made once after the pictures have changed, then kept."""
        if self._catalogue is None:
            self._catalogue = Catalogue.of(self._pages())
        return self._catalogue

    def centres(self, tracklets: Sequence[Tracklet]) -> NDArray[np.float32]:
        """Mean feature of each tracklet's pictures, L2-normalised: (n, D); zeros for one without pictures."""
        made = np.zeros((len(tracklets), self.dim), np.float32)
        for number, tracklet in enumerate(tracklets):
            if pictures := self.catalogue().of_label.get(tracklet):
                mean = self.vectors(pictures.keys).mean(0)
                made[number] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return made

    def all_features(self) -> Iterator[tuple[list[Row], NDArray[np.float32]]]:
        """All pictures' rows and features (n, D), in batches."""
        if self._memory is not None:
            features = self._memory.vectors.get(FEATURES)
            if features is not None:
                yield self._memory.rows, features.T
            return
        for rows in self._vectors.all(vectors=(FEATURES,)):
            yield rows, np.stack([row[FEATURES] for row in rows])

    def name(self, identity: str, name: str) -> None:
        """Give a person a name, or with "" none. It belongs to the person's labels, so that a later join keeps it.

        Raises:
            InputError: there is no such identity, another person has the name, or it cannot be stored.
        """
        self.check_identity(identity)
        name = check_name(" ".join(name.split()))
        names = self.ledger.names()
        before = names.pop(identity, "")
        if name and name in names.values():
            raise InputError(f"{name}: is another person's name; join the two, or add something to the name")
        self.ledger.name(self.ledger.tracklets_of(identity), name, before)

    def thumbnail(self, key: str) -> bytes | None:
        """The picture's thumbnail, JPEG."""
        return self.ledger.thumbnail(key)

    def info(self) -> GalleryInfo:
        """The gallery in numbers; reads all pictures' properties."""
        cameras: Counter[str] = Counter()
        times: list[int] = []
        tracklets: set[Tracklet] = set()
        filmed, tracks = self.ledger.keys_with_origin(), set[Tracklet]()
        for rows in self._pages():
            cameras.update(row["camera"] for row in rows)
            times += [row["time"] for row in rows if row["time"] is not None]
            tracklets |= {(row["camera"], row["label"]) for row in rows}
            if filmed:
                tracks |= {(row["camera"], row["label"]) for row in rows if row["label"] and row["key"] in filmed}
        identities = self.ledger.identities()
        return GalleryInfo(
            cameras.total(),
            dict(sorted(cameras.items())),
            len({identities[tracklet] for tracklet in tracklets if tracklet in identities}),
            time_of(min(times)) if times else None,
            time_of(max(times)) if times else None,
            self.model_name,
            self.fingerprint,
            self.model_place,
            self.where,
            len(tracks),
            self.ledger.names(),
        )

    def keys_where(
        self,
        *,
        identity: str | None = None,
        camera: str | None = None,
        before: datetime | None = None,
        under: Path | None = None,
    ) -> list[str]:
        """Keys of the pictures of an identity, of a camera, taken before a time, or from a file or folder."""
        if identity is not None:
            return [entry.key for entry in self.of_identity(identity)]
        if under is not None:
            source = source_of(under)
            return [
                row["key"]
                for rows in self._pages()
                for row in rows
                if row["source"] == source or row["source"].startswith(source.rstrip("/") + "/")
            ]
        filters = Filters(cameras=() if camera is None else (camera,), until=before)
        return [row["key"] for rows in self._vectors.all(filters) for row in rows]

    def erase(self, keys: Sequence[str]) -> int:
        """Erase pictures: vectors, metadata, thumbnails, and the joins of labels that have no picture left.

        In a gallery's own file this is one transaction: an interruption leaves everything as it was. The file is then
        rewritten, so that none of the erased bytes remain; this takes as long as copying it. With a Milvus server, an
        interrupted erasure is completed when the gallery is next opened to be changed; the server removes deleted
        bytes from its disks in its own time.

        Returns:
            how many of them existed.
        """
        erased = {key: (row["camera"], row["label"]) for key, row in self._vectors.get(keys).items()}
        if erased:
            self._memory = self._statistics = self._catalogue = None
            self._vectors.erase(erased)
        return len(erased)

    def forget(self, identity: str) -> int:
        """Erase an identity with `erase`: its pictures, and the record of the labels joined into it.

        Raises:
            InputError: there is no such identity.
        """
        self.check_identity(identity)
        count = self.erase(self.keys_where(identity=identity))
        if unpictured := self.ledger.tracklets_of(identity):
            self.ledger.erase(change for tracklet in unpictured for change in without_tracklet(tracklet))
        return count

    def check_identity(self, identity: str) -> None:
        """Check that there is such an identity.

        Raises:
            InputError: there is not.
        """
        if not self.ledger.tracklets_of(identity):
            raise InputError(f"{self._folder}: no identity {identity}; ccafl search and the page show identities")

    def all_entries(self) -> Iterator[list[Entry]]:
        """All pictures without their features, in batches."""
        return (self.entries(rows) for rows in self._pages())

    def all(self) -> Iterator[tuple[list[Entry], Encoded]]:
        """All pictures with their features, in batches."""
        for rows in self._vectors.all(vectors=tuple(self._dims)):
            text = None if self.text_dim is None else np.array([row[IMAGE_TEXT] for row in rows])
            yield self.entries(rows), Encoded(np.array([row[FEATURES] for row in rows]), text)

    def _begin(self) -> None:
        """Make the vectors ready, and complete what was interrupted."""
        if isinstance(self._vectors, MilvusStore):
            self._vectors.load()
        if self.ledger.read_only:
            return
        try:
            if isinstance(self._vectors, MilvusStore):
                self._vectors.finish()
            self.ledger.rewrite()
        except GalleryError as error:  # such as a full disk, on which it can still be searched
            note(f"{self._folder}: an interrupted erasure is not complete yet ({error})")

    @staticmethod
    def _create_collections(file: Path, facts: "_Facts", token: str | None) -> None:
        ledger = Ledger(file)
        try:
            store = MilvusStore(facts.uri, facts.collections, ledger, facts.dims, token=token)
            store.create()
            store.close()
        finally:
            ledger.close()

    def _standardised(self) -> Iterator[InMemory]:
        parts: Iterable[InMemory] = (
            (InMemory.of([rows]) for rows in self._vectors.all(vectors=(FEATURES,)))
            if self._memory is None
            else [self._memory]
        )
        for part in parts:
            part.standardise(self.camera_statistics())
            yield part

    def _check_features(self, entries: Sequence[Entry], encoded: Encoded) -> None:
        """Refuse vectors of other lengths, and those whose inner products could be something else than numbers."""
        for name, vectors in ((FEATURES, encoded.features), (IMAGE_TEXT, encoded.image_text)):
            expected = (len(entries), self._dims[name]) if name in self._dims else None
            if (None if vectors is None else vectors.shape) != expected:
                raise InputError(f"{self._folder}: the model gives other {name} than the gallery holds; use its model")
            if vectors is not None and len(unusable := np.flatnonzero(~finite(vectors))):
                raise InputError(
                    f"{entries[unusable[0]].source}: the model gives {name} that are not finite numbers; "
                    "use another run or checkpoint (did its training diverge?)"
                )

    def _pages(self) -> Iterable[list[Row]]:
        """The rows of all pictures without vectors, in batches."""
        return self._vectors.all() if self._memory is None else [self._memory.rows]

    def _rows_of(self, tracklets: Sequence[Tracklet]) -> list[Row]:
        if self._memory is None:
            return self._vectors.of_tracklets(tracklets)
        wanted = set(tracklets)
        return [row for row in self._memory.rows if (row["camera"], row["label"]) in wanted]


def finite(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of n vectors (n, D) have a norm that float32 can hold, so that all inner products are finite: (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        met: NDArray[np.bool_] = np.isfinite(np.square(vectors.astype(np.float32)).sum(1))
    return met


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a gallery's file says about the gallery.

    Attributes:
        fingerprint, model_name, model_place, dim, text_dim: as in `Gallery`.
        uri: of the Milvus server that holds the vectors, empty for none.
        collections: with which the names of its collections there begin.
        curve, strangers: as in `Gallery`.
    """

    fingerprint: str
    model_name: str
    model_place: Path | str
    dim: int
    text_dim: int | None
    uri: str
    collections: str
    curve: Calibration | None = None
    strangers: float | None = None

    @property
    def dims(self) -> dict[str, int]:
        """Length of each vector, by field."""
        return {FEATURES: self.dim} | ({} if self.text_dim is None else {IMAGE_TEXT: self.text_dim})

    @classmethod
    def of(cls, folder: Path, stored: Mapping[str, str]) -> "_Facts":
        """The inverse of `stored`.

        Raises:
            InputError: they are of another version of ccafl, or damaged.
        """
        if stored.get("format") == _WITH_MILVUS_LITE:
            raise InputError(
                f"{folder}: was made by an earlier ccafl, whose vectors this one does not read; "
                "add the pictures to a new gallery"
            )
        try:
            place = Path(stored["model_place"])
            facts = cls(
                stored["fingerprint"],
                stored["model_name"],
                place if place.is_absolute() else stored["model_place"],
                int(stored["dim"]),
                int(stored["text_dim"]) if stored["text_dim"] else None,
                stored["uri"],
                stored["collections"],
                CALIBRATION.validate_json(stored["calibration"]) if "calibration" in stored else None,
                float(stored[_STRANGERS]) if stored.get(_STRANGERS) else None,
            )
        except (KeyError, TypeError, ValueError):
            facts = None
        if facts is None or stored.get("format") != _FORMAT:
            raise InputError(
                f"{folder}: is damaged, or from another version of ccafl; add the pictures to a new gallery"
            )
        return facts

    def stored(self) -> dict[str, str]:
        """As the gallery's file holds them."""
        known = {} if self.curve is None else {"calibration": CALIBRATION.dump_json(self.curve).decode()}
        return known | {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "model_name": self.model_name,
            "model_place": str(self.model_place),
            "dim": str(self.dim),
            "text_dim": "" if self.text_dim is None else str(self.text_dim),
            "uri": self.uri,
            "collections": self.collections,
        }


def source_of(path: Path) -> str:
    """The absolute path as a gallery stores it: in UTF-8, cut to the longest that fits."""
    whole = os.path.abspath(path)  # noqa: PTH100 (resolve would follow links)
    return os.fsencode(whole).decode("utf-8", "backslashreplace").encode()[:LONGEST_SOURCE].decode("utf-8", "ignore")


def _row(entry: Entry) -> Row:
    return {
        "key": entry.key,
        "camera": check_name(entry.camera),
        "time": None if entry.time is None else milliseconds(entry.time),
        "source": entry.source,
        "label": check_name(entry.label),
    }


def _remove_unless_made(folder: Path) -> None:
    """Remove a gallery's new folder, and its lock, if its making failed."""
    if not (folder / _FILE).exists():
        (folder / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else
            folder.rmdir()


def _by_time(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda e: (e.time is None, e.time and e.time.timestamp(), e.camera, e.source))


def _leftovers(folder: Path) -> list[Path]:
    """What an interrupted creation leaves behind."""
    return list(folder.glob(f".{_FILE}.*"))


def _locked(folder: Path) -> IO[bytes]:
    """Lock the folder until the file is closed."""
    return lock(folder / _LOCK, "stop that first (a service?)")
