"""Features of a folder of pictures, written as a Parquet table."""

from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ccafl.evaluation.embedder import Embedder
from ccafl.files import written_whole


def write_features(
    embedder: Embedder,
    images: Sequence[Path],
    out: Path,
    advance: Callable[[int], None] | None = None,
    *,
    camera: str | None = None,
) -> None:
    """Write columns ``image`` (text, the path as given) and ``feature`` (D float32, L2-normalised), one row per image.

    ``camera`` names the camera of all images.

    Batches are written as they come, so memory does not grow with the number of images. The file appears once complete.

    Raises:
        InputError: a picture cannot be read, or the file cannot be written.
    """
    schema = pa.schema([("image", pa.string()), ("feature", pa.list_(pa.float32(), embedder.dim))])
    with written_whole(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        done = 0
        for features in embedder.stream(images, None if camera is None else repeat(camera)):
            names = [str(path) for path in images[done : done + len(features)]]
            values = pa.FixedSizeListArray.from_arrays(pa.array(features.numpy().ravel()), embedder.dim)
            writer.write_batch(pa.record_batch([pa.array(names), values], schema=schema))
            done += len(features)
            if advance is not None:
                advance(len(features))
