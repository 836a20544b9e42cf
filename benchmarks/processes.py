"""Two processes against one, with one thread each, over gloo: the gain of Lightning Fabric's DDP on one machine's CPU.

`python -m benchmarks.processes PROCESSES OUT` is the program that Fabric starts once per process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Row, timed
from benchmarks.method import association_world
from benchmarks.steps import PHASES, NoiseStore, epoch_of
from ccafl.config import Config, load_config
from ccafl.method.association import associate
from ccafl.method.calibrated_association import associate_calibrated
from ccafl.model.network import build_encoder
from ccafl.training.fabric import make_fabric, shared
from ccafl.training.features import embed_store

IMAGES, ROUNDS = 2048, 3
WORKS = {
    "features of 2,048 images": 1.0,
    "a step of stage 2, B=128": 1.0,
    "association, N=20,000": 1.7,
    "association without a rate, N=10,000": 1.0,
}  # and their bars
SETTINGS = [
    "runtime.accelerator=cpu",
    "data.workers=0",
    "stage2.identities=16",
    "stage2.images=8",
    "stage2.steps_per_epoch=10",
]


def processes() -> Iterator[Row]:
    """Features of 2,048 images and steps of stage 2, by the tiny network at 64x32, and associations."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (_measure_in_processes(Path(folder) / f"{count}.pt", count) for count in (1, 2))
    same = bool((one["features"] - two["features"]).abs().max() < 1e-4)
    same = same and all(torch.equal(one[joined], two[joined]) for joined in ("association", "without a rate"))
    for work, bar in WORKS.items():
        ours, theirs = (float(found[work]) for found in (two, one))
        ratio = theirs / ours
        yield Row(
            f"two processes: {work}",
            ours,
            "one process, a thread each",
            theirs,
            ratio,
            bar,
            same and ratio >= bar,
            same,
        )


def _measure_in_processes(out: Path, count: int) -> dict[str, Tensor]:
    command = [sys.executable, "-m", "benchmarks.processes", str(count), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    found: dict[str, Tensor] = torch.load(out, weights_only=True)
    return found


def main(count: str, out: str) -> None:
    """Measure as one of ``count`` processes; the first writes seconds and features to ``out``."""
    torch.set_num_threads(1)
    config: Config = load_config("market-split", [*SETTINGS, f"runtime.devices={count}"])
    fabric = make_fabric(config.runtime)
    fabric.launch()
    torch.manual_seed(0)
    store = NoiseStore(config.model.image_size, IMAGES)
    encoder = build_encoder(config.model, 6)

    def extract() -> Tensor:
        features = embed_store(fabric, encoder, store, torch.zeros(IMAGES, dtype=torch.int64), config)  # type: ignore[arg-type]
        fabric.barrier()
        return features

    epoch = epoch_of(config, PHASES["inter-camera with ICAL"], fabric)
    world, smaller = association_world(20_000, 50, 512), association_world(10_000, 20, 512)

    def join() -> Tensor:
        return associate(*world, 1.7, share=shared(fabric))

    def join_without_rate() -> Tensor:
        return associate_calibrated(*smaller, share=shared(fabric)).shared  # sums of all probabilities

    results = {"features": extract(), "association": join(), "without a rate": join_without_rate()}
    works = (
        (extract, 1),
        (lambda: list(epoch.steps(store)), config.stage2.steps_per_epoch),  # type: ignore[arg-type]
        (join, 1),
        (join_without_rate, 1),
    )
    for name, (work, times) in zip(WORKS, works, strict=True):
        seconds = torch.tensor([timed(work)[0] for _ in range(ROUNDS)])
        results[name] = seconds.median() / times
    if fabric.is_global_zero:
        torch.save(results, out)
    fabric.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
