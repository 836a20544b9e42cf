"""The pictures' vectors and the properties they are filtered by, in Milvus: a milvus-lite folder, or a server.

Both use the same client and the same calls; only erasing differs, since a server compacts deleted data itself.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery.filters import Filters
from ccafl.gallery.values import LONGEST_NAME

FEATURES, IMAGE_TEXT = "features", "image_text"
LONGEST_SOURCE = 16_384  # bytes of UTF-8
MOST_FOUND = 16_384  # by one search: Milvus' limit
_ROWS = 1_000  # requested by key at a time
_PAGE, _PAGE_NUMBERS = 16_384, 1 << 23  # rows, and numbers in their vectors, read at a time
_FIELDS = ["key", "camera", "time", "source", "label"]

Row = dict[str, Any]


class VectorStore:
    """A collection of pictures: key, vectors, camera, time, source, label.

    Every call raises InputError where Milvus fails: it has stopped, or its disk is full.

    Args:
        where: milvus-lite's folder, or the URI of a Milvus server.
        collection: its name; `new_collection` gives one.
        token: for a server that requires one.

    Raises:
        InputError: the packages are missing, or Milvus does not answer.
    """

    def __init__(self, where: Path | str, collection: str, *, token: str | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise InputError('a gallery needs Milvus\' client; pip install "ccafl[search]"') from error
        for name in ("pymilvus", "milvus_lite"):  # they log every exception they raise, with a traceback
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.where, self.collection = where, collection
        self._dims: dict[str, int] = {}
        with self._errors("is it a gallery's folder?" if self.local else "check the address, the token and the server"):
            self._client = MilvusClient(str(where), **({"token": token} if token else {}))

    @property
    def local(self) -> bool:
        """Whether the vectors are in a local folder."""
        return isinstance(self.where, Path)

    def create(self, dim: int, text_dim: int | None) -> None:
        """Make the collection: exact search by inner product of D-vectors and, with a text tower, E-vectors."""
        self._create(self.collection, {FEATURES: dim} | ({} if text_dim is None else {IMAGE_TEXT: text_dim}))

    def load(self) -> None:
        """Make the collection ready for searches.

        Raises:
            InputError: there is no such collection.
        """
        with self._errors():
            if not self._client.has_collection(self.collection):
                raise InputError(
                    f"{self.where}: Milvus has no collection {self.collection}; add the pictures to a new gallery"
                )
            self._client.load_collection(self.collection)
            described = self._client.describe_collection(self.collection)["fields"]
        self._dims = {field["name"]: int(field["params"]["dim"]) for field in described if "dim" in field["params"]}

    def put(self, rows: Sequence[Row], encoded: Encoded) -> None:
        """Write pictures, replacing those with the same keys; a failure may leave some of them written."""
        vectors = {FEATURES: encoded.features} | (
            {} if encoded.image_text is None else {IMAGE_TEXT: encoded.image_text}
        )
        full = [row | {name: vector[n] for name, vector in vectors.items()} for n, row in enumerate(rows)]
        with self._errors():
            self._client.upsert(self.collection, full)

    def count(self) -> int:
        """The number of pictures."""
        with self._errors():
            (row,) = self._client.query(self.collection, filter="", output_fields=["count(*)"])
        return int(row["count(*)"])

    def get(self, keys: Sequence[str], fields: Sequence[str] = _FIELDS) -> dict[str, Row]:
        """Pictures by key; unknown keys are left out."""
        rows: dict[str, Row] = {}
        for start in range(0, len(keys), _ROWS):
            with self._errors():
                batch = self._client.get(
                    self.collection, ids=list(keys[start : start + _ROWS]), output_fields=list(fields)
                )
            rows |= {row["key"]: row for row in batch}
        return rows

    def all(self, expression: str = "", fields: Sequence[str] = _FIELDS) -> Iterator[list[Row]]:
        """All pictures that meet ``expression``, sorted by key, in batches; vectors are arrays of float32."""
        vectors = [field for field in fields if field in self._dims]
        numbers = sum(self._dims[field] for field in vectors)
        with self._errors():
            pages = self._client.query_iterator(
                self.collection,
                batch_size=min(_PAGE, _PAGE_NUMBERS // numbers) if numbers else _PAGE,
                filter=expression,
                output_fields=list(fields),
            )
        try:
            while True:
                with self._errors():
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
        with self._errors():
            found = self._client.search(
                self.collection,
                data=list(queries),
                anns_field=field,
                filter=filters.expression(),
                limit=count,
                output_fields=[*_FIELDS, FEATURES] if vectors else _FIELDS,
                search_params={"metric_type": "IP"},
            )
        return [
            [dict(hit["entity"]) | {"key": hit["key"], "score": float(hit["distance"])} for hit in hits]
            for hits in found
        ]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove pictures from searches; `copy_to` or `compact` also removes their bytes from the disk."""
        for start in range(0, len(keys), _ROWS):
            with self._errors():
                self._client.delete(self.collection, ids=list(keys[start : start + _ROWS]))

    def compact(self) -> None:
        """Ask a server to remove deleted pictures' bytes from its files, which it does in its own time."""
        with self._errors():
            self._client.flush(self.collection)
            self._client.compact(self.collection)

    def copy_to(self, collection: str) -> "VectorStore":
        """A new collection with what is left of this one, flushed to its files."""
        target = copy(self)
        target.collection = collection
        target._create(collection, self._dims)
        for rows in self.all(fields=[*_FIELDS, *self._dims]):
            with self._errors():
                self._client.insert(collection, rows)
        with self._errors():
            self._client.flush(collection)
        target.load()
        return target

    def drop_others(self, prefix: str) -> None:
        """Drop this gallery's collections except the one in use: what an interrupted rewrite left behind."""
        with self._errors():
            for name in self._client.list_collections():
                if name.startswith(prefix) and name != self.collection:
                    self._client.drop_collection(name)

    def close(self) -> None:
        """Release the folder or the connection; everything is then in its final files."""
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
        with self._errors():
            self._client.create_collection(collection, schema=schema, index_params=index, consistency_level="Strong")

    @contextmanager
    def _errors(self, advice: str = "free disk space, or check that Milvus runs") -> Iterator[None]:
        """Turn Milvus' errors into InputErrors that name its place."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, OSError) as error:
            raise InputError(f"{self.where}: Milvus does not answer ({_line(error)}); {advice}") from error


def new_collection(prefix: str) -> str:
    """A unique collection name."""
    return f"{prefix}{uuid4().hex[:12]}"


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
