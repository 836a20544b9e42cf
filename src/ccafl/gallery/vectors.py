"""Where a gallery keeps the pictures' vectors and the properties they are filtered by: what its two stores have in
common. `local.LocalStore` is the gallery's own file, `milvus.MilvusStore` a Milvus server.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ccafl.encoders.encoder import Encoded
from ccafl.gallery.filters import Filters
from ccafl.gallery.ledger import Change, Tracklet

FEATURES, IMAGE_TEXT = "features", "image_text"
PROPERTIES = ("key", "camera", "time", "source", "label")
LONGEST_SOURCE = 16_384  # bytes of UTF-8
MOST_FOUND = 16_384  # by one search: Milvus' limit
EVERYTHING = Filters()
_PAGE, _PAGE_NUMBERS = 16_384, 1 << 23  # rows, and numbers in their vectors, read at a time

Row = dict[str, Any]
"""A picture: `PROPERTIES`, ``time`` in milliseconds since 1970 or None, and the vectors asked for, float32."""


class VectorStore(Protocol):
    """The pictures of an open gallery.

    Every call raises GalleryError where the store fails: its disk is full, it is damaged, or its server is gone.

    Attributes:
        where: the gallery's file, or the URI of a Milvus server.
        local: whether it is the gallery's file; all vectors may then be held in memory.
    """

    where: Path | str
    local: bool

    def put(self, rows: Sequence[Row], encoded: Encoded, kept: Sequence[Change]) -> None:
        """Write pictures with their vectors, replacing those with the same keys; make the ledger's changes ``kept``.

        If this is interrupted, none of the new pictures is there when the gallery is next opened for writing.
        """

    def count(self) -> int:
        """The number of pictures."""

    def get(self, keys: Sequence[str], vectors: Sequence[str] = ()) -> dict[str, Row]:
        """Pictures by key, with these vectors; unknown keys are left out."""

    def all(self, filters: Filters = EVERYTHING, vectors: Sequence[str] = ()) -> Iterator[list[Row]]:
        """All pictures that pass the filters, with these vectors, in batches and always in the same order."""

    def of_tracklets(self, tracklets: Sequence[Tracklet]) -> list[Row]:
        """The pictures of these tracklets."""

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        filters: Sequence[Filters],
        *,
        field: str = FEATURES,
        vectors: bool = False,
    ) -> list[list[Row]]:
        """The ``count`` pictures of the largest inner product, best first, with ``score`` (and ``features``).

        Args:
            queries: (Q, D) or, for the field ``image_text``, (Q, E).
            count: how many for each query.
            filters: of each query.
            field: the vectors compared with the queries.
            vectors: whether the features are wanted too.
        """

    def erase(self, pictures: Mapping[str, Tracklet]) -> None:
        """Erase pictures, given by key with their tracklets, with their thumbnails; and what was recorded of tracklets
        that have no picture left.
        """

    def close(self) -> None:
        """Release what the store holds."""


def page_size(numbers: int) -> int:
    """How many pictures to read at a time, if the vectors of each have so many numbers."""
    return max(1, min(_PAGE, _PAGE_NUMBERS // max(numbers, 1)))
