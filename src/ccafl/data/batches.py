"""Batches: which images a step sees, and how they are loaded.

Every random choice follows from (seed, stage, epoch, place in the epoch) alone, never from a generator's state: a
resumed run, or one on another number of processes, draws the same images with the same augmentations.
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
    """A seed made from whole numbers (run seed, stage, epoch, ...); different parts give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Batches(ABC):
    """A sequence of batches of images, (b, 3, H, W) uint8 each."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Tensor: ...

    def loaded(self, workers: int, *, pin_memory: bool = False) -> Iterator[Tensor]:
        """The batches in order, made by ``workers`` threads, two per thread in advance; on demand if there are none.

        Threads are enough, because the slow parts release the interpreter, and they copy nothing between processes.
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
    """This process's share of every step of an epoch, augmented: (B / processes, 3, H, W) uint8.

    Args:
        store: all training images.
        augmentation: applied to the images.
        draws: (S, B) int64, the image indices of every step.
        seed: the epoch's.
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
        # Drawn for the whole batch, so that an image is augmented alike however many processes there are.
        params = self.augmentation.draw(self.draws.shape[1], seed_for(self.seed, number))
        return self.augmentation(self.store.images(self.draws[number, self.share]), params[self.share])


class EvaluationBatches(Batches):
    """The images at ``indices`` (n,) int64 in order, not augmented, at most ``batch`` at a time: (b, 3, H, W) uint8."""

    def __init__(self, store: ImageStore, indices: Tensor, batch: int) -> None:
        self.store, self.indices = store, indices.split(batch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Tensor:
        return self.store.images(self.indices[number])


def identity_batches(groups: Tensor, steps: int, identities: int, images: int, seed: int) -> Tensor:
    """Draw P identities x K images for every step: (steps, P * K) int64 image indices.

    Identities come in random rounds of whole batches, so that no batch holds an identity twice if there are at least P.
    An identity's images come in random order, each once before any repeats.

    Args:
        groups: (n,) int64, the identity each image is drawn for; images with a negative one are not drawn.
        steps, identities, images: S, P, K.
        seed: the epoch's.

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
    """`identity_batches` in which every batch comes from a few cameras: (steps, P * K) int64 image indices.

    A camera then has enough images in a batch for statistics of its own (``model.camera_norm``). The cameras of a step
    are drawn without replacement, with probabilities that grow with their numbers of images.

    Args:
        groups: (n,) int64, the identity each image is drawn for; images with a negative one are not drawn.
        cameras: (n,) int64, the camera of each image.
        steps, identities, images: S, P, K.
        batch_cameras: G, the cameras per step; all of them if there are fewer.
        seed: the epoch's.
    """
    random = np.random.default_rng(seed)
    drawn = groups >= 0
    names, counts = cameras[drawn].unique(return_counts=True)
    keys = np.log(random.random((steps, len(names)))) / counts.numpy()  # the G largest: weighted, without replacement
    chosen = np.sort(np.argsort(-keys, axis=1)[:, :batch_cameras], axis=1)
    draws = torch.empty(steps, identities * images, dtype=torch.int64)
    sets, place = np.unique(chosen, axis=0, return_inverse=True)
    for number, members in enumerate(sets):
        at = torch.from_numpy(np.flatnonzero(place == number))
        kept = groups.where(drawn & torch.isin(cameras, names[torch.from_numpy(members)]), -1)
        draws[at] = identity_batches(kept, len(at), identities, images, seed_for(seed, number))
    return draws


def most_of_one(groups: Tensor, cameras: Tensor, identities: int, images: int, batch_cameras: int | None) -> int:
    """How many images of one group a batch holds at most: K, or more where fewer than P groups can be drawn.

    Args:
        groups, cameras: (n,) int64, as `camera_batches` takes them.
        identities, images: P, K.
        batch_cameras: the cameras per step; None if batches are those of `identity_batches`.
    """
    among = torch.zeros_like(cameras) if batch_cameras is None else cameras
    members = torch.stack([among, groups])[:, groups >= 0].unique(dim=1)
    fewest = int(members[0].unique(return_counts=True)[1].min())
    if fewest >= identities:
        return images
    return images * (1 + -(-(identities - 1) // fewest))  # a batch may begin and end within a round of all groups


def _in_rounds(count: int, width: int, rows: int, random: np.random.Generator) -> Integers:
    """(rows * width,) numbers in 0..count-1; no row of ``width`` repeats a number if width <= count."""
    usable = count - count % width or count
    rounds = [random.permutation(count)[:usable] for _ in range(-(-rows * width // usable))]
    return np.concatenate(rounds)[: rows * width]


def _occurrence(values: Integers) -> Integers:
    """How often each value has occurred before: [5, 7, 5] -> [0, 0, 1]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    occurrence = np.empty_like(order)
    occurrence[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return occurrence


def shuffled_batches(count: int, batch: int, seed: int) -> Iterator[Tensor]:
    """All of 0..count-1 in random order, ``batch`` at a time; the last batch may be smaller, but never empty."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    yield from order.split(batch)
