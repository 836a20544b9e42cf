"""A gallery: pictures of people with their features, for searching.

A folder with ``gallery.sqlite`` (`ledger`) and, unless a Milvus server holds the vectors, ``milvus.db`` (`vectors`).
Only one process at a time can have it open.
"""

import heapq
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ccafl.encoders.encoder import Encoded, PictureEncoder
from ccafl.errors import InputError
from ccafl.files import disk_errors, lock, remove_leftovers, written_whole
from ccafl.gallery.entries import Entry
from ccafl.gallery.filters import Filters
from ccafl.gallery.ledger import Ledger, Tracklet
from ccafl.gallery.nearest import STANDARDISED, InMemory
from ccafl.gallery.standardising import CameraStatistics
from ccafl.gallery.values import check_name, milliseconds, quoted, time_of
from ccafl.gallery.vectors import FEATURES, IMAGE_TEXT, LONGEST_SOURCE, Row, VectorStore, new_collection

_FORMAT = "1"
_FIELDS = ("key", "camera", "time", "source", "label")
_TRACKLETS = 100  # in one expression


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
        where: location of the vectors: a folder, or the URI of a Milvus server.
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


class Gallery:
    """An open gallery, from `open` or `create`; as a context manager it closes itself.

    Attributes:
        fingerprint: of the model that made the features.
        model_name: its name, for display.
        model_place: where it was: a run's folder or an ONNX file, or the name of an architecture with its weights.
        dim: D, the length of a picture's feature.
        text_dim: E, the length of the feature to compare with sentences; None without a trained text tower.
        ledger: thumbnails, identities and corrections.
        where: location of the vectors, a folder or the URI of a Milvus server.
    """

    def __init__(self, folder: Path, lock: IO[bytes], ledger: Ledger, vectors: VectorStore) -> None:
        facts = ledger.facts()
        self.fingerprint, self.model_name = facts["fingerprint"], facts["model_name"]
        place = Path(facts["model_place"])
        self.model_place: Path | str = place if place.is_absolute() else facts["model_place"]
        self.dim = int(facts["dim"])
        self.text_dim = int(facts["text_dim"]) if facts["text_dim"] else None
        self.ledger, self.where = ledger, vectors.where
        self._folder, self._lock, self._vectors, self._prefix = folder, lock, vectors, facts["prefix"]
        self._memory: InMemory | None = None
        self._statistics: CameraStatistics | None = None

    @classmethod
    def open(cls, folder: Path, *, token: str | None = None) -> "Gallery":
        """Open what `create` made.

        Args:
            folder: of the gallery.
            token: for a Milvus server that requires one.

        Raises:
            InputError: there is no gallery, another process has it open, it is of another version, or Milvus fails.
        """
        if not (folder / "gallery.sqlite").is_file():
            raise InputError(f"{folder}: is not a gallery; make one with ccafl gallery add RUN PICTURES --db {folder}")
        with ExitStack() as opened:
            lock = opened.enter_context(_locked(folder))
            ledger = Ledger(folder / "gallery.sqlite")
            opened.callback(ledger.close)
            facts = ledger.facts()
            if facts.get("format") != _FORMAT:
                raise InputError(
                    f"{folder}: is damaged, or from another version of ccafl; add the pictures to a new gallery"
                )
            vectors = VectorStore(facts["uri"] or folder / "milvus.db", facts["collection"], token=token)
            opened.callback(vectors.close)
            vectors.load()
            vectors.drop_others(facts["prefix"])
            gallery = cls(folder, lock, ledger, vectors)
            gallery._finish_erasing()
            opened.pop_all()
        return gallery

    @classmethod
    def create(
        cls, folder: Path, encoder: PictureEncoder, *, uri: str | None = None, token: str | None = None
    ) -> "Gallery":
        """Make an empty gallery for the features of ``encoder``, and open it.

        Args:
            folder: new or empty.
            encoder: the only one whose features it will hold.
            uri: of a Milvus server for the vectors; without it they are in the folder. It is stored, the token is not.
            token: for a Milvus server that requires one.

        Raises:
            InputError: the folder holds something else, or Milvus fails.
        """
        # What an interrupted creation leaves behind.
        leftovers = {folder / "lock", folder / "milvus.db", *folder.glob(".gallery.sqlite.*")}
        if folder.is_file() or (folder.is_dir() and set(folder.iterdir()) - leftovers):
            raise InputError(f"{folder}: exists and is not a gallery; choose another folder")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            lock = opened.enter_context(_locked(folder))
            prefix = new_collection("ccafl_") + "_"
            remove_leftovers(folder / "gallery.sqlite")
            if uri is None:
                shutil.rmtree(folder / "milvus.db", ignore_errors=True)
            vectors = VectorStore(uri or folder / "milvus.db", new_collection(prefix), token=token)
            opened.callback(vectors.close)
            vectors.create(encoder.dim, encoder.text_dim)
            vectors.load()
            facts = {
                "format": _FORMAT,
                "fingerprint": encoder.fingerprint,
                "model_name": encoder.name,
                "model_place": str(encoder.place),
                "dim": str(encoder.dim),
                "text_dim": "" if encoder.text_dim is None else str(encoder.text_dim),
                "uri": uri or "",
                "prefix": prefix,
                "collection": vectors.collection,
            }
            with written_whole(folder / "gallery.sqlite") as temporary:  # with this file the gallery exists
                ledger = Ledger(temporary)
                ledger.write_facts(facts)
                ledger.close()
            ledger = Ledger(folder / "gallery.sqlite")
            opened.callback(ledger.close)
            gallery = cls(folder, lock, ledger, vectors)
            opened.pop_all()
        return gallery

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is pending and release the gallery to other processes."""
        if not self._lock.closed:
            self._vectors.close()
            self.ledger.close()
            self._lock.close()

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
            self._memory = InMemory.of(self._vectors.all(fields=[*_FIELDS, *self._vector_fields()]))

    def __len__(self) -> int:
        return self._vectors.count()

    def put(self, entries: Sequence[Entry], encoded: Encoded, thumbnails: Mapping[str, bytes]) -> None:
        """Write pictures, replacing those with the same keys.

        Thumbnails come first, so that every picture found has one. Identities are not written; see `join`.

        Args:
            entries: n pictures with different keys.
            encoded: their features.
            thumbnails: JPEG by key.

        Raises:
            InputError: a camera or label that cannot be stored, or the disk is full.
        """
        rows = [_row(entry) for entry in entries]
        self.ledger.keep_thumbnails(thumbnails)
        self._forget_derived()
        self._vectors.put(rows, encoded)

    def join(self, identities: Mapping[Tracklet, str]) -> None:
        """Replace the identities of all cameras' labels.

        This ignores corrections; `corrections.join` applies them.
        """
        self.ledger.join(identities)

    def get(self, keys: Sequence[str]) -> list[Entry]:
        """Pictures in the order of ``keys``; unknown keys are left out."""
        rows = self._vectors.get(keys)
        return self.entries([rows[key] for key in keys if key in rows])

    def entries(self, rows: Sequence[Row]) -> list[Entry]:
        """Entries of stored rows, with their current identities."""
        identities = self.ledger.identities((row["camera"], row["label"]) for row in rows if row["label"])
        return [
            Entry(
                row["key"],
                row["camera"],
                time_of(row["time"]),
                row["source"],
                row["label"],
                identities.get((row["camera"], row["label"]), ""),
            )
            for row in rows
        ]

    def vectors(self, keys: Sequence[str], *, text: bool = False) -> NDArray[np.float32]:
        """Features by key: (n, D), or (n, E) to compare with sentences.

        Raises:
            KeyError: an unknown key.
        """
        field = IMAGE_TEXT if text else FEATURES
        rows = self._vectors.get(keys, ["key", field])
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
        Neither Milvus keeps such features: all vectors are read, a page at a time, where they are not in memory.
        """
        if standardised:
            return self._nearest_standardised(queries, count, filters, vectors=vectors)
        field = IMAGE_TEXT if text else FEATURES
        if self._memory is not None:
            return self._memory.nearest(queries, count, filters, field=field, vectors=vectors)
        found: dict[int, list[Row]] = {}
        for different in dict.fromkeys(filters):
            numbers = [number for number, own in enumerate(filters) if own == different]
            lists = self._vectors.nearest(queries[numbers], count, different, field=field, vectors=vectors)
            found |= dict(zip(numbers, lists, strict=True))
        return [found[number] for number in range(len(filters))]

    def camera_statistics(self) -> CameraStatistics:
        """Mean and deviation of each camera's features; measured once after the pictures have changed, then kept."""
        if self._statistics is None:
            kept = self.ledger.statistics()
            if kept:
                cameras, counts, *parts = zip(*kept, strict=True)
                sums, squares = (np.array([np.frombuffer(row, np.float64) for row in part]) for part in parts)
                self._statistics = CameraStatistics(cameras, np.array(counts), sums, squares)
            else:
                pages = self._vectors.all(fields=["camera", FEATURES])
                columns = (
                    ([row["camera"] for row in rows], np.stack([row[FEATURES] for row in rows])) for rows in pages
                )
                found = self._statistics = CameraStatistics.of(columns, self.dim)
                blobs = ((part.tobytes() for part in sums) for sums in (found.sums, found.squares))
                self.ledger.keep_statistics(zip(found.cameras, found.counts.tolist(), *blobs, strict=True))
        return self._statistics

    def of_identity(self, identity: str) -> list[Entry]:
        """Pictures of an identity, sorted by time, then camera; those without a time last."""
        tracklets = self.ledger.tracklets_of(identity)
        entries = self.entries(self._rows_of(tracklets))
        return sorted(entries, key=lambda e: (e.time is None, e.time and e.time.timestamp(), e.camera, e.source))

    def thumbnail(self, key: str) -> bytes | None:
        """The picture's thumbnail, JPEG."""
        return self.ledger.thumbnail(key)

    def info(self) -> GalleryInfo:
        """The gallery in numbers; reads all pictures' properties."""
        cameras: Counter[str] = Counter()
        times: list[int] = []
        tracklets: set[Tracklet] = set()
        for rows in self._pages():
            cameras.update(row["camera"] for row in rows)
            times += [row["time"] for row in rows if row["time"] is not None]
            tracklets |= {(row["camera"], row["label"]) for row in rows}
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
        return [row["key"] for rows in self._vectors.all(filters.expression(), ["key"]) for row in rows]

    def erase(self, keys: Sequence[str]) -> int:
        """Erase pictures: vectors, metadata, thumbnails, and the joins of labels that have no picture left.

        A local gallery's files are rewritten without them, so that none of their bytes remain; this takes as long as
        copying the rest. A Milvus server removes deleted bytes from its disks in its own time. An interrupted erasure
        is completed when the gallery is next opened.

        Returns:
            how many of them existed.
        """
        erased = self._vectors.get(keys, ["key", "camera", "label"])
        self.ledger.begin_erasing({key: (row["camera"], row["label"]) for key, row in erased.items()})
        self._finish_erasing()
        return len(erased)

    def forget(self, identity: str) -> int:
        """Erase an identity with `erase`: its pictures, and the record of the labels joined into it.

        Raises:
            InputError: there is no such identity.
        """
        tracklets = self.ledger.tracklets_of(identity)
        if not tracklets:
            raise InputError(f"{self._folder}: no identity {identity}; ccafl search and the page show identities")
        count = self.erase(self.keys_where(identity=identity))
        self.ledger.erase((), tracklets)
        return count

    def all(self) -> Iterator[tuple[list[Entry], Encoded]]:
        """All pictures with their features, in batches."""
        for rows in self._vectors.all(fields=[*_FIELDS, *self._vector_fields()]):
            text = None if self.text_dim is None else np.array([row[IMAGE_TEXT] for row in rows])
            yield self.entries(rows), Encoded(np.array([row[FEATURES] for row in rows]), text)

    def _nearest_standardised(
        self, queries: NDArray[np.float32], count: int, filters: Sequence[Filters], *, vectors: bool
    ) -> list[list[Row]]:
        if self._memory is None:
            parts: Iterable[InMemory] = (InMemory.of([rows]) for rows in self._vectors.all(fields=[*_FIELDS, FEATURES]))
        else:
            parts = [self._memory]
        best: list[list[Row]] = [[] for _ in queries]
        for part in parts:
            part.standardise(self.camera_statistics())
            found = part.nearest(queries, count, filters, field=STANDARDISED, vectors=vectors)
            both = (before + new for before, new in zip(best, found, strict=True))
            best = [heapq.nlargest(count, rows, key=lambda row: row["score"]) for rows in both]
        return best

    def _forget_derived(self) -> None:
        """Forget what follows from the vectors, which are about to change."""
        self._memory = self._statistics = None
        self.ledger.keep_statistics(())

    def _vector_fields(self) -> list[str]:
        """The vectors stored for each picture."""
        return [FEATURES] if self.text_dim is None else [FEATURES, IMAGE_TEXT]

    def _pages(self) -> Iterable[list[Row]]:
        """The rows of all pictures without vectors, in batches."""
        return self._vectors.all() if self._memory is None else [self._memory.rows]

    def _rows_of(self, tracklets: Sequence[Tracklet]) -> list[Row]:
        if self._memory is not None:
            wanted = set(tracklets)
            return [row for row in self._memory.rows if (row["camera"], row["label"]) in wanted]
        found: list[Row] = []
        for start in range(0, len(tracklets), _TRACKLETS):
            batch = tracklets[start : start + _TRACKLETS]
            expression = " or ".join(f"(camera in {quoted([c])} and label in {quoted([label])})" for c, label in batch)
            found += [row for rows in self._vectors.all(expression) for row in rows]
        return found

    def _finish_erasing(self) -> None:
        """Complete a recorded erasure from the start; repeating a step does no harm."""
        erasing = self.ledger.erasing()
        if not erasing:
            return
        self._forget_derived()
        self._vectors.delete(list(erasing))
        if self._vectors.local:
            self._rewrite()
        else:
            self._vectors.compact()
        kept, labels = set[str](), set[Tracklet]()
        for rows in self._vectors.all(fields=["key", "camera", "label"]):
            kept |= {row["key"] for row in rows}
            labels |= {(row["camera"], row["label"]) for row in rows}
        # This includes thumbnails that an interrupted addition left behind: nobody could ask to erase those.
        self.ledger.erase(self.ledger.thumbnail_keys() - kept, set(erasing.values()) - labels)
        self.ledger.end_erasing()

    def _rewrite(self) -> None:
        """Copy what is left to a new collection and switch to it; one of the two is complete at any time."""
        target = self._vectors.copy_to(new_collection(self._prefix))
        self.ledger.write_facts({"collection": target.collection})
        self._vectors = target
        target.drop_others(self._prefix)


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


def _locked(folder: Path) -> IO[bytes]:
    """Lock the folder until the file is closed."""
    return lock(folder / "lock", "stop that first (a service?)")
