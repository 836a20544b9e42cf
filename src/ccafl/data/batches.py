"""Batches: which images a step sees, and their loading.

Every random choice follows from (seed, stage, epoch, place in the epoch) alone, never from a generator's state: a
resumed run, or one on other numbers of processes, draws the same images with the same augmentations.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ccafl.data.store import ImageStore
from ccafl.data.transforms import Augmentation

Integers = npt.NDArray[np.int64]


def seed_for(*parts: int) -> int:
    """A seed that follows from whole numbers (run seed, stage, epoch, ...), unlike for unlike parts."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Batches(ABC):
    """Batches of images by number: (b, 3, H, W) uint8."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Tensor: ...

    def loaded(self, workers: int, *, pin_memory: bool = False) -> Iterator[Tensor]:
        """The batches in order, made by so many threads, two each ahead; with none, when they are asked for.

        What takes time in making them leaves the interpreter free, and nothing is copied from process to process.
        """

        def made(number: int) -> Tensor:
            return self[number].pin_memory() if pin_memory else self[number]

        if workers == 0:
            yield from map(made, range(len(self)))
            return
        ahead: deque[Future[Tensor]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            for number in range(len(self)):
                ahead.append(pool.submit(made, number))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class TrainingBatches(Batches):
    """An epoch's steps, each this process's share of the images, augmented: (B / processes, 3, H, W) uint8.

    Args:
        store: all training images.
        augmentation: of the images.
        draws: (S, B) int64, the image indices of every step.
        seed: of the epoch.
        share: (rank, processes); B must be divisible by the number of processes.
    """

    def __init__(
        self, store: ImageStore, augmentation: Augmentation, draws: Tensor, seed: int, share: tuple[int, int] = (0, 1)
    ) -> None:
        self.store, self.augmentation, self.draws, self.seed = store, augmentation, draws, seed
        rank, processes = share
        per_process = draws.shape[1] // processes
        self.share = slice(rank * per_process, (rank + 1) * per_process)

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, number: int) -> Tensor:
        # Drawn for the whole batch, so that an image's chance is the same however many processes there are.
        params = self.augmentation.draw(self.draws.shape[1], seed_for(self.seed, number))
        return self.augmentation(self.store.images(self.draws[number, self.share]), params[self.share])


class EvaluationBatches(Batches):
    """Images in the order of ``indices``, (n,) int64, as they are, ``batch`` at a time: (<= batch, 3, H, W) uint8."""

    def __init__(self, store: ImageStore, indices: Tensor, batch: int) -> None:
        self.store, self.indices = store, indices.split(batch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Tensor:
        return self.store.images(self.indices[number])


def identity_batches(groups: Tensor, steps: int, identities: int, images: int, seed: int) -> Tensor:
    """Draw P identities x K images for every step: (steps, P * K) int64 image indices.

    Identities come in random rounds of whole batches, none twice in a batch while there are at least P; an identity's
    images come in a random order, each once before any comes again.

    Args:
        groups: (n,) int64, the identity every image counts for; images below 0 are not drawn.
        steps, identities, images: S, P, K.
        seed: of the epoch.

    Source: paper, section IV (P = 16, K = 8).
    """
    random = np.random.default_rng(seed)
    drawn = np.flatnonzero(groups.numpy() >= 0)
    names, group, counts = np.unique(groups.numpy()[drawn], return_inverse=True, return_counts=True)
    shuffled = drawn[np.lexsort((random.random(len(drawn)), group))]  # identity by identity, each in random order
    starts = np.cumsum(counts) - counts
    visited = _in_rounds(len(names), identities, steps, random)
    visit = _occurrence(visited)
    within = (visit[:, None] * images + np.arange(images)) % counts[visited][:, None]
    return torch.from_numpy(shuffled[starts[visited][:, None] + within].reshape(steps, -1))


def camera_batches(
    groups: Tensor, cameras: Tensor, steps: int, identities: int, images: int, batch_cameras: int, seed: int
) -> Tensor:
    """`identity_batches`, each of the images of a few cameras only: (steps, P * K) int64 image indices.

    So that a camera has images enough in a batch for statistics of its own (``model.camera_norm``). A step's cameras
    are drawn without replacement, a camera's chance growing with its images.

    Args:
        groups: (n,) int64, the identity every image counts for; images below 0 are not drawn.
        cameras: (n,) int64.
        steps, identities, images: S, P, K.
        batch_cameras: G, cameras a step; all of them where there are no more.
        seed: of the epoch.
    """
    random = np.random.default_rng(seed)
    drawn = groups >= 0
    names, counts = cameras[drawn].unique(return_counts=True)
    keys = np.log(random.random((steps, len(names)))) / counts.numpy()  # the G largest: weighted, without replacement
    chosen = np.sort(np.argsort(-keys, axis=1)[:, :batch_cameras], axis=1)
    draws = torch.empty(steps, identities * images, dtype=torch.int64)
    sets, place = np.unique(chosen, axis=0, return_inverse=True)
    for number, some in enumerate(sets):
        at = torch.from_numpy(np.flatnonzero(place == number))
        kept = groups.where(drawn & torch.isin(cameras, names[torch.from_numpy(some)]), -1)
        draws[at] = identity_batches(kept, len(at), identities, images, seed_for(seed, number))
    return draws


def _in_rounds(count: int, width: int, rows: int, random: np.random.Generator) -> Integers:
    """(rows * width,) numbers in 0..count-1; no row of ``width`` holds a number twice if width <= count."""
    usable = count - count % width or count
    rounds = [random.permutation(count)[:usable] for _ in range(-(-rows * width // usable))]
    return np.concatenate(rounds)[: rows * width]


def _occurrence(values: Integers) -> Integers:
    """How many times each value came before: [5, 7, 5] -> [0, 0, 1]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    occurrence = np.empty_like(order)
    occurrence[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return occurrence


def shuffled_batches(count: int, batch: int, seed: int) -> Iterator[Tensor]:
    """All of 0..count-1 in random order, ``batch`` at a time, the last one smaller; never an empty one."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    yield from order.split(batch)
