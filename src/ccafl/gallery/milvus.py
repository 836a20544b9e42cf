"""The pictures on a Milvus server. Needs ``pymilvus``, and network access to the server.

There is a collection for each kind of vector, since older servers refuse two in one; both have the same keys and
properties. The one of features decides which pictures there are.

A server shows what was written only after up to 0.2 s, and a read of consistency level Strong waits that long.
`load` makes one such read; later ones wait only for what this process has written. Beside a process that adds
pictures, a search may so be behind by as long.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery.filters import Filters
from ccafl.gallery.ledger import Change, GalleryError, Ledger, Tracklet
from ccafl.gallery.values import LONGEST_NAME, UNKNOWN_TIME, quoted
from ccafl.gallery.vectors import EVERYTHING, FEATURES, IMAGE_TEXT, LONGEST_SOURCE, PROPERTIES, Row, page_size

_ROWS = 1_000  # requested by key at a time
_OWN, _ALL = "Session", "Strong"  # consistency: with what this process wrote, with what anybody wrote
_TRACKLETS = 100  # in one expression


def check_milvus(uri: str) -> None:
    """Refuse an address before any work is done for it.

    Raises:
        InputError: it is not the address of a server, holds a password, or the client is not installed.
    """
    try:
        parts = urlsplit(uri)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise InputError(f"{uri}: is not the address of a Milvus server; write it like http://127.0.0.1:19530")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"{parts.hostname}: an address with a password would be stored in the gallery; give --token USER:PASSWORD"
        )
    try:
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise InputError(f'{uri}: a Milvus server needs its client; pip install "ccafl[milvus]"') from error


def new_collections() -> str:
    """A unique beginning for the names of a gallery's collections."""
    return f"ccafl_{uuid4().hex[:12]}"


class MilvusStore:
    """The pictures of one gallery on a server.

    Args:
        uri: the server's address.
        name: with which the names of the gallery's collections begin.
        ledger: the gallery's own file, which keeps the thumbnails.
        dims: length of each vector, by field.
        token: for a server that requires one.

    Raises:
        InputError: what `check_milvus` refuses.
        GalleryError: the server does not answer.
    """

    local = False

    def __init__(self, uri: str, name: str, ledger: Ledger, dims: Mapping[str, int], *, token: str | None) -> None:
        check_milvus(uri)
        from pymilvus import MilvusClient

        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs every exception it raises
        self.where: Path | str = uri
        self._ledger, self._dims = ledger, dims
        self._collections = {field: f"{name}_{field}" for field in dims}
        with self._errors("check the address, the token and the server"):
            self._client = MilvusClient(uri, **({"token": token} if token else {}))

    def create(self) -> None:
        """Make the collections: exact search by inner product."""
        from pymilvus import DataType

        for field, dim in self._dims.items():
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
            schema.add_field(field, DataType.FLOAT_VECTOR, dim=dim)
            for name, longest in (("camera", LONGEST_NAME), ("label", LONGEST_NAME), ("source", LONGEST_SOURCE)):
                schema.add_field(name, DataType.VARCHAR, max_length=longest)
            schema.add_field("time", DataType.INT64)
            index = self._client.prepare_index_params()
            index.add_index(field, index_type="FLAT", metric_type="IP")
            with self._errors():
                self._client.create_collection(
                    self._collections[field], schema=schema, index_params=index, consistency_level="Strong"
                )
        self.load()

    def load(self) -> None:
        """Make the collections ready for searches.

        Raises:
            GalleryError: they are gone.
        """
        with self._errors():
            for collection in self._collections.values():
                self._client.load_collection(collection)
                self._client.query(collection, filter="", output_fields=["count(*)"], consistency_level=_ALL)

    def put(self, rows: Sequence[Row], encoded: Encoded, kept: Sequence[Change]) -> None:
        """See `VectorStore`."""
        self._ledger.begin({row["key"]: (row["camera"], row["label"]) for row in rows}, kept)
        stored = [row | {"time": UNKNOWN_TIME if row["time"] is None else row["time"]} for row in rows]
        for field, vectors in ((IMAGE_TEXT, encoded.image_text), (FEATURES, encoded.features)):
            if vectors is not None:
                with self._errors():
                    self._client.upsert(
                        self._collections[field],
                        [row | {field: vector} for row, vector in zip(stored, vectors, strict=True)],
                    )
        self._ledger.end()

    def count(self) -> int:
        """See `VectorStore`."""
        with self._errors():
            (row,) = self._client.query(
                self._collections[FEATURES], filter="", output_fields=["count(*)"], consistency_level=_OWN
            )
        return int(row["count(*)"])

    def get(self, keys: Sequence[str], vectors: Sequence[str] = ()) -> dict[str, Row]:
        """See `VectorStore`."""
        rows = self._get(keys, FEATURES, [*PROPERTIES, *(field for field in vectors if field == FEATURES)])
        return self._with_text(rows) if IMAGE_TEXT in vectors else rows

    def all(self, filters: Filters = EVERYTHING, vectors: Sequence[str] = ()) -> Iterator[list[Row]]:
        """See `VectorStore`."""
        yield from self._all(filters.expression(), vectors)

    def of_tracklets(self, tracklets: Sequence[Tracklet]) -> list[Row]:
        """See `VectorStore`."""
        found: list[Row] = []
        for start in range(0, len(tracklets), _TRACKLETS):
            batch = tracklets[start : start + _TRACKLETS]
            expression = " or ".join(f"(camera in {quoted([c])} and label in {quoted([label])})" for c, label in batch)
            found += [row for rows in self._all(expression) for row in rows]
        return found

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        filters: Sequence[Filters],
        *,
        field: str = FEATURES,
        vectors: bool = False,
    ) -> list[list[Row]]:
        """See `VectorStore`."""
        found: list[list[Row]] = [[] for _ in filters]
        for different in dict.fromkeys(filters):
            numbers = [number for number, own in enumerate(filters) if own == different]
            with self._errors():
                answers = self._client.search(
                    self._collections[field],
                    data=list(queries[numbers]),
                    anns_field=field,
                    filter=different.expression(),
                    limit=count,
                    output_fields=["key"],
                    search_params={"metric_type": "IP"},
                    consistency_level=_OWN,
                )
            for number, hits in zip(numbers, answers, strict=True):
                found[number] = [{"key": hit["key"], "score": float(hit["distance"])} for hit in hits]
        rows = self.get(list({hit["key"] for hits in found for hit in hits}), (FEATURES,) if vectors else ())
        return [[rows[hit["key"]] | hit for hit in hits if hit["key"] in rows] for hits in found]

    def erase(self, pictures: Mapping[str, Tracklet]) -> None:
        """See `VectorStore`; an interruption is made up for by `finish`. The server's disks follow in its own time."""
        self._ledger.begin(pictures, erasing=True)
        self.finish()

    def finish(self) -> None:
        """Complete erasures that were interrupted, and erase what is left of interrupted additions."""
        unfinished = self._ledger.unfinished()
        if not unfinished:
            return
        put = [key for key, (_, erasing) in unfinished.items() if not erasing]
        whole = self._get(put, FEATURES, PROPERTIES, _ALL)  # also what a failed call has written after all
        gone = {key: tracklet for key, (tracklet, _) in unfinished.items() if key not in whole}
        for field in (FEATURES, IMAGE_TEXT):
            if field in self._collections and gone:
                self._delete(self._collections[field], list(gone))
        left = {(row["camera"], row["label"]) for row in self.of_tracklets(sorted(set(gone.values())))}
        self._ledger.end(gone, set(gone.values()) - left)

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):
            self._client.close()

    def _all(self, expression: str, vectors: Sequence[str] = ()) -> Iterator[list[Row]]:
        fields = [*PROPERTIES, *(field for field in vectors if field == FEATURES)]
        with self._errors():
            pages = self._client.query_iterator(
                self._collections[FEATURES],
                batch_size=page_size(sum(self._dims[field] for field in vectors)),
                filter=expression,
                output_fields=fields,
            )
        try:
            while True:
                with self._errors():
                    rows = pages.next()
                if not rows:
                    return
                page = {row["key"]: _row(row, fields) for row in rows}
                if IMAGE_TEXT in vectors:
                    page = self._with_text(page)
                yield list(page.values())
        finally:
            pages.close()

    def _get(
        self, keys: Sequence[str], collection: str, fields: Sequence[str], consistency: str = _OWN
    ) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for start in range(0, len(keys), _ROWS):
            with self._errors():
                batch = self._client.get(
                    self._collections[collection],
                    ids=list(keys[start : start + _ROWS]),
                    output_fields=list(fields),
                    consistency_level=consistency,
                )
            rows |= {row["key"]: _row(row, fields) for row in batch}
        return rows

    def _with_text(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        texts = self._get(list(rows), IMAGE_TEXT, ["key", IMAGE_TEXT])
        if missing := rows.keys() - texts.keys():
            raise GalleryError(
                f"{self.where}: has no image_text of {rows[min(missing)]['source']}; "
                "remove that picture with ccafl gallery remove, and add it again"
            )
        return {key: row | {IMAGE_TEXT: texts[key][IMAGE_TEXT]} for key, row in rows.items()}

    def _delete(self, collection: str, keys: Sequence[str]) -> None:
        """Remove pictures from searches, and ask the server to remove their bytes from its files."""
        with self._errors():
            for start in range(0, len(keys), _ROWS):
                self._client.delete(collection, ids=list(keys[start : start + _ROWS]))
            self._client.flush(collection)
            self._client.compact(collection)

    @contextmanager
    def _errors(self, advice: str = "check that Milvus runs and has free disk space") -> Iterator[None]:
        """Turn Milvus' errors into GalleryErrors that name its place."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, OSError) as error:
            if gone := self._vanished():
                raise GalleryError(
                    f"{self.where}: Milvus has no collection {gone} (was it dropped?); "
                    "add the pictures to a new gallery"
                ) from error
            raise GalleryError(f"{self.where}: Milvus does not answer ({_line(error)}); {advice}") from error

    def _vanished(self) -> str | None:
        """The name of a collection that should be there and is not."""
        with suppress(Exception):
            there = self._client.list_collections()
            return next((name for name in self._collections.values() if name not in there), None)
        return None


def _row(row: Mapping[str, Any], fields: Sequence[str]) -> Row:
    """A row of Milvus as the gallery has it."""
    found = {name: row[name] for name in fields}
    if "time" in found and found["time"] == UNKNOWN_TIME:
        found["time"] = None
    for field in (FEATURES, IMAGE_TEXT):
        if field in found:
            found[field] = np.array(found[field], np.float32)
    return found


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
