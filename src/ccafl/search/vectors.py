"""The pictures' vectors and what searches filter by, in Milvus: a folder of milvus-lite's, or a server.

The same client and the same calls for both; only erasing differs, since a server compacts what is deleted itself.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ccafl.errors import InputError
from ccafl.search.records import Encoded, Filters

FEATURES, IMAGE_TEXT = "features", "image_text"
LONGEST_NAME, LONGEST_SOURCE = 1_024, 16_384  # bytes of UTF-8
MOST_FOUND = 16_384  # by a search, as Milvus has it
_ROWS = 1_000  # asked for by key at a time
_PAGE, _PAGE_NUMBERS = 16_384, 1 << 23  # rows, and numbers in their vectors, read at a time
_FIELDS = ["key", "camera", "time", "source", "label"]

Row = dict[str, Any]


class VectorStore:
    """A collection of pictures: key, vectors, camera, time, source, label.

    Every call raises InputError where Milvus does not do what it is asked to: it is gone, or its disk is full.

    Args:
        where: milvus-lite's folder, or the URI of a Milvus server.
        collection: its name; `new_collection` gives one.
        token: for a server that asks for one.

    Raises:
        InputError: the packages are missing, or nothing answers there.
    """

    def __init__(self, where: Path | str, collection: str, *, token: str | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise InputError('a gallery needs Milvus\' client; pip install "ccafl[search]"') from error
        for name in ("pymilvus", "milvus_lite"):  # they log what they raise, traceback and all
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.where, self.collection = where, collection
        self._dims: dict[str, int] = {}
        with self._asked("is it a gallery's folder?" if self.local else "check the address, the token and the server"):
            self._client = MilvusClient(str(where), **({"token": token} if token else {}))

    @property
    def local(self) -> bool:
        """Whether the vectors lie in a folder here."""
        return isinstance(self.where, Path)

    def create(self, dim: int, text_dim: int | None) -> None:
        """Make the collection: exact search by inner product of D and, with a text tower, E numbers a picture."""
        self._create(self.collection, {FEATURES: dim} | ({} if text_dim is None else {IMAGE_TEXT: text_dim}))

    def load(self) -> None:
        """Make the collection ready for searches.

        Raises:
            InputError: there is no such collection.
        """
        with self._asked():
            if not self._client.has_collection(self.collection):
                raise InputError(
                    f"{self.where}: Milvus has no collection {self.collection}; add the pictures to a new gallery"
                )
            self._client.load_collection(self.collection)
            described = self._client.describe_collection(self.collection)["fields"]
        self._dims = {field["name"]: int(field["params"]["dim"]) for field in described if "dim" in field["params"]}

    def put(self, rows: Sequence[Row], encoded: Encoded) -> None:
        """Write pictures, in place of those of the same keys: all of ``rows``, or, if it fails, perhaps some."""
        vectors = {FEATURES: encoded.features} | (
            {} if encoded.image_text is None else {IMAGE_TEXT: encoded.image_text}
        )
        full = [row | {name: vector[n] for name, vector in vectors.items()} for n, row in enumerate(rows)]
        with self._asked():
            self._client.upsert(self.collection, full)

    def count(self) -> int:
        """How many pictures there are."""
        with self._asked():
            (row,) = self._client.query(self.collection, filter="", output_fields=["count(*)"])
        return int(row["count(*)"])

    def get(self, keys: Sequence[str], fields: Sequence[str] = _FIELDS) -> dict[str, Row]:
        """Pictures by key; unknown keys are left out."""
        rows: dict[str, Row] = {}
        for start in range(0, len(keys), _ROWS):
            with self._asked():
                some = self._client.get(
                    self.collection, ids=list(keys[start : start + _ROWS]), output_fields=list(fields)
                )
            rows |= {row["key"]: row for row in some}
        return rows

    def all(self, expression: str = "", fields: Sequence[str] = _FIELDS) -> Iterator[list[Row]]:
        """All pictures that meet ``expression`` by key, some at a time; their vectors are arrays of float32."""
        vectors = [field for field in fields if field in self._dims]
        numbers = sum(self._dims[field] for field in vectors)
        with self._asked():
            pages = self._client.query_iterator(
                self.collection,
                batch_size=min(_PAGE, _PAGE_NUMBERS // numbers) if numbers else _PAGE,
                filter=expression,
                output_fields=list(fields),
            )
        try:
            while True:
                with self._asked():
                    rows = pages.next()
                if not rows:
                    return
                yield [row | {field: np.array(row[field], np.float32) for field in vectors} for row in rows]
        finally:
            pages.close()

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        filters: Filters,
        *,
        field: str = FEATURES,
        vectors: bool = False,
    ) -> list[list[Row]]:
        """The ``count`` pictures of the largest inner product, best first, with ``score``: (Q, D) -> Q lists."""
        with self._asked():
            found = self._client.search(
                self.collection,
                data=list(queries),
                anns_field=field,
                filter=expression_of(filters),
                limit=count,
                output_fields=[*_FIELDS, FEATURES] if vectors else _FIELDS,
                search_params={"metric_type": "IP"},
            )
        return [
            [dict(hit["entity"]) | {"key": hit["key"], "score": float(hit["distance"])} for hit in hits]
            for hits in found
        ]

    def delete(self, keys: Sequence[str]) -> None:
        """Let pictures go from searches; `copy_to` or `compact` takes their bytes from the disk as well."""
        for start in range(0, len(keys), _ROWS):
            with self._asked():
                self._client.delete(self.collection, ids=list(keys[start : start + _ROWS]))

    def compact(self) -> None:
        """Ask a server to take deleted pictures' bytes from its files, which it does in its own time."""
        with self._asked():
            self._client.flush(self.collection)
            self._client.compact(self.collection)

    def copy_to(self, collection: str) -> "VectorStore":
        """A new collection with what is left of this one, written to its files."""
        target = copy(self)
        target.collection = collection
        target._create(collection, self._dims)
        for rows in self.all(fields=[*_FIELDS, *self._dims]):
            with self._asked():
                self._client.insert(collection, rows)
        with self._asked():
            self._client.flush(collection)
        target.load()
        return target

    def drop_others(self, prefix: str) -> None:
        """Drop the collections of this gallery that are not the one in use: an interrupted rewriting's."""
        with self._asked():
            for name in self._client.list_collections():
                if name.startswith(prefix) and name != self.collection:
                    self._client.drop_collection(name)

    def close(self) -> None:
        """Give the folder or the connection back; what is written is in its final files then."""
        with suppress(Exception):
            self._client.close()
        if self.local:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(str(self.where))

    def _create(self, collection: str, dims: Mapping[str, int]) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
        index = self._client.prepare_index_params()
        for field, dim in dims.items():
            schema.add_field(field, DataType.FLOAT_VECTOR, dim=dim)
            index.add_index(field, index_type="FLAT", metric_type="IP")
        for field, longest in (("camera", LONGEST_NAME), ("label", LONGEST_NAME), ("source", LONGEST_SOURCE)):
            schema.add_field(field, DataType.VARCHAR, max_length=longest)
        schema.add_field("time", DataType.INT64, nullable=True)  # milliseconds since 1970, UTC
        with self._asked():
            self._client.create_collection(collection, schema=schema, index_params=index, consistency_level="Strong")

    @contextmanager
    def _asked(self, advice: str = "free space, or see that it runs") -> Iterator[None]:
        """Whatever Milvus answers that is no answer is said of where it is."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, OSError) as error:
            raise InputError(f"{self.where}: Milvus does not answer ({_line(error)}); {advice}") from error


def new_collection(prefix: str) -> str:
    """A name that no other collection has."""
    return f"{prefix}{uuid4().hex[:12]}"


def expression_of(filters: Filters) -> str:
    """Milvus' boolean expression; names are quoted, so that one from a stranger stays a name."""
    parts = []
    if filters.cameras:
        parts.append(f"camera in {quoted(filters.cameras)}")
    if filters.exclude_cameras:
        parts.append(f"camera not in {quoted(filters.exclude_cameras)}")
    if filters.since is not None:
        parts.append(f"time >= {milliseconds(filters.since)}")
    if filters.until is not None:
        parts.append(f"time < {milliseconds(filters.until)}")
    return " and ".join(parts)


def quoted(names: Sequence[str]) -> str:
    """A list of names in Milvus' expressions."""
    return json.dumps([check_name(name) for name in names], ensure_ascii=False)


def check_name(name: str) -> str:
    """The name, if it can be stored and asked for.

    Raises:
        InputError: it has control characters, is not UTF-8 or is too long.
    """
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise InputError(f"{name!r}: has characters that no name can have in a gallery; rename it")
    if len(name.encode()) > LONGEST_NAME:
        raise InputError(f"{name[:40]}…: is longer than {LONGEST_NAME} bytes; give a shorter name")
    return name


def milliseconds(time: datetime) -> int:
    """Since 1970, UTC."""
    return round(time.timestamp() * 1000)


def time_of(stored: int | None) -> datetime | None:
    """The inverse of `milliseconds`."""
    return None if stored is None else datetime.fromtimestamp(stored / 1000, UTC)


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
