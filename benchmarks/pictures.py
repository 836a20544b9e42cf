"""From JPEGs to batches, and from batches to features."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.measure import Comparison
from benchmarks.opponents import TORCHREID, Opponents
from ccafl.config import Config, load_config
from ccafl.data.batches import TrainingBatches
from ccafl.data.store import CacheBudget, ImageStore
from ccafl.data.transforms import MEAN, STD, Augmentation, normalise
from ccafl.evaluation.embedder import Embedder
from ccafl.model.network import build_encoder

SIZE, SOURCE = (256, 128), (128, 64)  # height and width of the network's input and of Market-1501's images
BATCH, BATCHES, PAD = 64, 64, 10


def _jpegs(folder: Path, count: int) -> list[Path]:
    """Noise images, smooth enough to compress like photographs."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        small = rng.integers(0, 256, (SOURCE[0] // 4, SOURCE[1] // 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize(SOURCE[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


class _TorchreidDataset(Dataset[dict[str, Any]]):
    """A data set in torchreid's format: the transformed image with its labels."""

    def __init__(self, paths: list[Path], read: Any, transform: Any) -> None:
        self.paths, self.read, self.transform = paths, read, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = str(self.paths[index])
        return {"img": self.transform(self.read(path)), "pid": index, "camid": 0, "impath": path, "dsetid": 0}


def loading(opponents: Opponents) -> Iterator[Comparison]:
    """Loading 4,096 images in batches of 64 with two workers: flip, pad, crop, normalise, erase."""
    if not opponents.has(TORCHREID):
        return
    theirs, tools = opponents.loading()
    with tempfile.TemporaryDirectory() as folder:
        paths = _jpegs(Path(folder), BATCH * BATCHES)
        draws = torch.arange(len(paths)).view(BATCHES, BATCH)
        plain = [
            transforms.Resize(SIZE, transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
        augmented = [
            plain[0],
            transforms.RandomHorizontalFlip(),
            transforms.Pad(PAD),
            transforms.RandomCrop(SIZE),
            *plain[1:],
            theirs.RandomErasing(mean=(0, 0, 0)),
        ]

        def load_theirs(transform: Any, workers: int = 2) -> Tensor:
            random.seed(0)
            data = _TorchreidDataset(paths, tools.read_image, transforms.Compose(transform))
            return _last(batch["img"] for batch in DataLoader(data, BATCH, num_workers=workers))

        def load_ours(budget: int, augmentation: Augmentation) -> Tensor:
            store = kept if budget else ImageStore(paths, SIZE)
            batches = TrainingBatches(store, augmentation, draws, seed=0)
            return _last(map(normalise, batches.loaded(workers=2)))

        kept = ImageStore(paths, SIZE, CacheBudget(memory=1 << 30))
        still, augmenting = (Augmentation(SIZE, flip=p, pad=pad, erase=p) for p, pad in ((0.0, 0), (0.5, PAD)))
        agree = _nearly(load_ours(1, still), load_theirs(plain)) and _nearly(load_ours(0, still), load_theirs(plain))
        for budget, name in ((0, "decode and augment, nothing kept"), (1 << 30, "augment, decoded images kept")):
            yield Comparison(
                f"{name}: JPEGs of 128x64 to 256x128, 2 workers",
                "torchreid's loader",
                lambda budget=budget: load_ours(budget, augmenting),  # type: ignore[misc]
                lambda: load_theirs(augmented),
                lambda ours, theirs: agree and ours.shape == theirs.shape,
                bar=2.0,
                rounds=3,
            )


def _last(batches: Any) -> Tensor:
    batch: Tensor
    for batch in batches:  # noqa: B007 - loads every batch
        pass
    return batch


def _nearly(ours: Tensor, theirs: Tensor) -> bool:
    """Equal up to one step of 8 bits."""
    return bool((ours - theirs).abs().max() <= 1.01 / 255 / min(STD))


def extraction(opponents: Opponents) -> Iterator[Comparison]:
    """RN50 at 256x128 on the CPU, against a plain float32 forward pass."""
    del opponents
    torch.manual_seed(0)
    config = _run_config()
    encoder = build_encoder(config.model, 6)
    plain = build_encoder(config.model, 6).eval().to(memory_format=torch.contiguous_format)
    plain.load_state_dict(encoder.state_dict())
    embedder = Embedder(config, encoder, [f"c{camera}" for camera in range(6)], torch.device("cpu"), fast=True)
    pictures = [Image.fromarray(picture) for picture in _noise(32)]

    def theirs() -> Tensor:
        with torch.no_grad():
            images = [normalise(_as_tensor(picture)) for picture in pictures]
            return F.normalize(plain(torch.stack(images), image_text=False)[0])

    work = "features: RN50, 256x128, 32 pictures"
    yield Comparison(work, "eager float32", lambda: embedder.embed(pictures), theirs, _same_direction, 1.5, rounds=3)


def _run_config() -> Config:
    return load_config("market1501", ["model.weights=null"])


def _noise(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def _as_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _same_direction(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours * theirs).sum(1).min() >= 0.999)
