"""Resized images by index: kept in memory or in a file if the budget allows, else decoded on every use."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccafl.data.images import load_image
from ccafl.data.transforms import resized
from ccafl.files import disk_errors


class CacheBudget:
    """The bytes that stores may still use, in memory and in a file in ``folder``."""

    def __init__(self, memory: int = 0, disk: int = 0, folder: Path | None = None) -> None:
        self.memory, self.disk, self.folder = memory, disk, folder

    def take(self, *shape: int) -> Tensor | None:
        """An empty uint8 tensor in memory or in a memory-mapped file; None if it fits in neither.

        The file has no name, so it disappears with the process, however that ends. It takes at most half of the
        disk's free space.

        Raises:
            InputError: the folder cannot be written to.
        """
        size = int(np.prod(shape))
        if size <= self.memory:
            self.memory -= size
            return torch.empty(shape, dtype=torch.uint8)
        if self.folder is None or size > self.disk or 2 * size > shutil.disk_usage(self.folder).free:
            return None
        self.disk -= size
        with disk_errors(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            file.truncate(size)
            return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=shape))


class ImageStore:
    """Resized images by index, decoded only once if they all fit in the budget.

    Attributes:
        paths: the images' files.
        size: (height, width).
        kept: whether the decoded images are kept.
        place: where they are kept, in words.
        mib: the size of all of them.

    An image that cannot be read raises InputError, from the constructor or on access.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        budget: CacheBudget | None = None,
        advance: Callable[[], None] | None = None,
    ) -> None:
        """``advance`` is called once per decoded image."""
        self.paths = paths
        self.size = size
        budget = budget or CacheBudget()
        memory = budget.memory
        self._cache = budget.take(len(paths), 3, *size)
        self.kept = self._cache is not None
        self.place = "kept in memory" if budget.memory < memory else "kept in a file" if self.kept else "read each time"
        self.mib = len(paths) * 3 * size[0] * size[1] / (1 << 20)
        if self._cache is not None:
            self._decode_into(self._cache, advance)

    def _decode_into(self, cache: Tensor, advance: Callable[[], None] | None) -> None:
        with ThreadPoolExecutor() as pool:
            for index, image in enumerate(pool.map(self._read, self.paths)):
                cache[index] = image
                if advance is not None:
                    advance()

    def _read(self, path: Path) -> Tensor:
        return resized(load_image(path), self.size)

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, indices: Tensor) -> Tensor:
        """(B,) int64 -> (B, 3, H, W) uint8."""
        if self._cache is None:
            return torch.stack([self._read(self.paths[index]) for index in indices.tolist()])
        return self._cache.index_select(0, indices)
