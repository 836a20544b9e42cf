"""`python -m benchmarks.gpu`: what a training step, features and the association cost on a GPU, in some eight minutes.

It needs no data, no weights and no network: images are noise, weights are random. `--small` does the same in seconds
on a CPU, with the shipped network's architecture; its figures say nothing about a GPU.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from benchmarks.method import association_world
from benchmarks.opponents import AUTHORS, Opponents
from benchmarks.steps import PHASES, NoiseStore, backbone, epoch_of
from ccafl.config import Config, Runtime, load_config
from ccafl.data.batches import TrainingBatches
from ccafl.data.transforms import Augmentation, normalise
from ccafl.method.association import associate
from ccafl.method.calibrated_association import associate_calibrated
from ccafl.provenance import commit, hardware
from ccafl.training.encoder_stage import EncoderEpoch
from ccafl.training.fabric import make_fabric
from ccafl.training.features import embed_store
from ccafl.training.schedule import Phase

console = Console(width=160)
_NETWORKS = {"RN50": "market1501", "ViT-B-16": "market1501+vit-b-16"}


@dataclass(frozen=True, slots=True)
class Size:
    """How much work is done.

    Attributes:
        steps: of one timing.
        rounds: timings, of which the median counts.
        association: numbers of accumulated identities; the first is also associated without a rate.
        cameras: of these identities.
        dim: of their centres.
    """

    steps: int
    rounds: int
    association: tuple[int, ...]
    cameras: int
    dim: int


FULL = Size(steps=20, rounds=3, association=(100_000, 300_000), cameras=200, dim=512)
SMALL = Size(steps=1, rounds=1, association=(2_000,), cameras=5, dim=32)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: a value, beside what it is compared with and the bar for their ratio, where there are any."""

    work: str
    value: float
    unit: str
    against: str = ""
    other: float | None = None
    bar: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the other's rate ours is."""
        return self.value / self.other if self.other else None

    @property
    def verdict(self) -> str:
        """``met`` or ``MISSED``; empty without a bar, which is the least for a ratio and the most for a value alone."""
        if self.bar is None:
            return ""
        reached = self.value <= self.bar if self.ratio is None else self.ratio >= self.bar
        return "met" if reached else "MISSED"


def main(
    opponents: Annotated[Path | None, typer.Option(help="Folder with the authors' checkout, CLIP-ICS.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    networks: Annotated[str, typer.Option(help=f"Some of {','.join(_NETWORKS)}.")] = ",".join(_NETWORKS),
    compiled: Annotated[bool, typer.Option(help="Also time torch.compile and CUDA graphs: minutes.")] = True,
    small: Annotated[bool, typer.Option(help="A form for the tests, in seconds on a CPU.")] = False,
) -> None:
    """Print one line a figure, as each is measured; every ratio's two sides are timed in turn."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    began = time.monotonic()
    fabric = make_fabric(Runtime(accelerator="cpu", precision="bf16-mixed") if small else Runtime(devices=1))
    fabric.launch()
    size = SMALL if small else FULL
    about = {"commit": commit(), "hardware": hardware(), "torch": torch.__version__, "precision": _precision(fabric)}
    console.print(about)
    figures: list[Figure] = []
    configs = _configs(networks.split(","), small=small)
    for figure in _figures(fabric, configs, size, Opponents(opponents), compiled):
        figures.append(figure)
        console.print(f"{time.monotonic() - began:5.0f} s  {_line(figure)}", highlight=False)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            lines = [asdict(one) | {"verdict": one.verdict} for one in figures]
            out.write_text(json.dumps(about | {"figures": lines}, indent=2) + "\n", encoding="utf-8")


def _configs(networks: list[str], *, small: bool) -> dict[str, Config]:
    if small:
        batch = ["stage2.identities=4", "stage2.images=2", "stage2.intra_camera.instances=2"]
        settings = [*batch, f"stage2.steps_per_epoch={SMALL.steps}", "runtime.extraction_batch=8"]
        return {"clip-synth": load_config("own", ["model.weights=null", *settings])}
    settings = ["model.weights=null", f"stage2.steps_per_epoch={FULL.steps}"]
    return {name: load_config(_NETWORKS[name], settings) for name in networks}


def _figures(
    fabric: Fabric, configs: dict[str, Config], size: Size, opponents: Opponents, compiled: bool
) -> Iterator[Figure]:
    """What is quick comes first, so that an interrupted run has most of it."""
    yield from _equal(fabric)
    for name, config in configs.items():
        for phase_name, phase in PHASES.items():
            yield from _step(f"{name}, {phase_name}", fabric, config, phase, size)
        yield from _features(name, fabric, config, size)
    if opponents.has(AUTHORS) and fabric.device.type == "cuda":
        for name, config in configs.items():
            for phase_name, phase in PHASES.items():
                yield from _against_the_authors(f"{name}, {phase_name}", fabric, config, phase, size, opponents)
    yield from _loading(next(iter(configs.values())), size)
    for total in size.association:
        yield from _association("association", partial(associate, rate=1.7), fabric.device, total, size)
    if compiled:
        for name, config in configs.items():
            yield from _compiled(name, fabric, config, size)
    name = "association without a rate"
    yield from _association(name, associate_calibrated, fabric.device, size.association[0], size)


def _equal(fabric: Fabric) -> Iterator[Figure]:
    """The losses of a step on this device against the CPU's, both in float32."""
    config = load_config("own", ["model.weights=null", "stage2.identities=4", "stage2.intra_camera.instances=4"])
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        for name, phase in PHASES.items():
            found = []
            for accelerator in ("cpu", fabric.device.type):
                exact = make_fabric(Runtime(accelerator=accelerator, devices=1, precision="32-true"))
                epoch = epoch_of(config, phase, exact)
                indices = epoch.draws()[0]
                pixels = torch.rand(
                    len(indices), 3, *config.model.image_size, generator=torch.Generator().manual_seed(0)
                )
                losses = epoch.step(pixels.to(exact.device), indices)
                found.append({loss: value.item() for loss, value in losses.items()})
            worst = max(abs(found[1][loss] - value) / max(abs(value), 1) for loss, value in found[0].items())
            if worst > 1e-3:
                raise SystemExit(f"{name}: the losses differ from the CPU's: {found}")
            yield Figure(f"{name}: losses of a step in float32, largest difference from the CPU's", worst, "relative")
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _step(name: str, fabric: Fabric, config: Config, phase: Phase, size: Size) -> Iterator[Figure]:
    epoch, draws, pictures = _epoch(fabric, config, phase)
    pixels, cameras = normalise(pictures), epoch.images.cameras[draws[0]]

    ours = partial(_steps, epoch, pictures, draws)

    def bare() -> None:
        with fabric.autocast():
            backbone(epoch.encoder.module, phase, pixels, cameras, len(draws))

    taken, bare_taken = _in_turn(fabric.device, size.rounds, ours, bare)
    images = draws.numel()
    yield Figure(name, images / taken, "images/s", "its backbone", images / bare_taken, 0.85)
    yield from _waits(name, fabric.device, partial(epoch.step, normalise(pictures), draws[0]))
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        ours()
        yield Figure(f"{name}: peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    store = NoiseStore(config.model.image_size, len(epoch.images))
    (taken,) = _in_turn(fabric.device, size.rounds, lambda: list(epoch.steps(store)))  # type: ignore[arg-type]
    loading = f"{name}, {config.data.workers} threads loading"
    yield Figure(loading, images / taken, "images/s", "its backbone", images / bare_taken)


def _epoch(fabric: Fabric, config: Config, phase: Phase) -> tuple[EncoderEpoch, Tensor, Tensor]:
    """An epoch, the draws of its steps (S, B), and a batch of pictures (B, 3, H, W) uint8 on the device."""
    epoch = epoch_of(config, phase, fabric)
    epoch.encoder.train()
    draws = epoch.draws()
    store = NoiseStore(config.model.image_size, len(epoch.images))
    return epoch, draws, store.images(draws[0]).to(fabric.device)


def _against_the_authors(
    name: str, fabric: Fabric, config: Config, phase: Phase, size: Size, opponents: Opponents
) -> Iterator[Figure]:
    epoch, draws, pictures = _epoch(fabric, config, phase)

    ours = partial(_steps, epoch, pictures, draws)
    theirs = _authors_steps(opponents, epoch, phase, pictures, draws)
    taken, their_taken = _in_turn(fabric.device, size.rounds, ours, theirs)
    yield Figure(name, draws.numel() / taken, "images/s", "the authors' step", draws.numel() / their_taken, 1.5)


def _steps(epoch: EncoderEpoch, pictures: Tensor, draws: Tensor) -> None:
    """A step for each of the draws, on pictures that are on the device."""
    for indices in draws:
        epoch.step(normalise(pictures), indices)


def _authors_steps(
    opponents: Opponents, epoch: EncoderEpoch, phase: Phase, pictures: Tensor, draws: Tensor
) -> Callable[[], None]:
    """The authors' training loop on our backbone, with their losses, memories, classifier and float16 scaling."""
    device, images, config = epoch.fabric.device, epoch.images, epoch.config
    cameras, identities = len(images.camera_names), len(images.identity_cameras)
    dim, start, memory = epoch.encoder.reid_dim, epoch.learning, opponents.memory()
    counts = torch.bincount(images.identity_cameras).tolist()
    encoder = _Normalised(epoch.encoder.module, phase.text)
    association = torch.arange(identities) % 750
    of_camera = F.one_hot(images.identity_cameras).T.float()
    of_person = F.one_hot(association).T.float()
    text = torch.randn(identities, epoch.encoder.image_text_dim, device=device)

    def memory_of(rows: Tensor) -> nn.Module:
        made: nn.Module = memory.ClusterMemory(dim, len(rows), temp=0.05, momentum=0.1, num_instances=32).to(device)
        made.features = rows.to(device)  # type: ignore[assignment]
        return made

    in_cameras, across = [], None
    if phase.learning == "intra":
        for camera in start.memories:  # type: ignore[attr-defined]
            in_cameras.append(memory_of(camera.centres.repeat(1 + 32, 1)))
            in_cameras[-1].num_samples = len(camera.centres)  # type: ignore[assignment]
    else:
        across = memory_of(F.normalize(torch.randn(750, dim)))
    classifier = opponents.classifier().CAMClassifier(dim, identities).to(device)
    trainer = opponents.trainer()(
        _Arguments(), encoder, counts, classifier, across, in_cameras, association.numpy(), text[:750],
        of_camera.to(device), of_person.to(device), text.split(counts), identities,
    )  # fmt: skip
    trainer.text_loss_intra = phase.text
    trainer.xent_sup.num_classes = 750
    batch = _Batches(pictures, images, draws)
    optimizers = [
        torch.optim.Adam(learned.parameters(), lr=3.5e-4, weight_decay=5e-4) for learned in (encoder, classifier)
    ]
    settings = config.stage2
    epoch_number = 0 if phase.learning == "intra" else 45  # with text and ICAL

    def steps() -> None:
        trainer.train(
            epoch_number, batch, *optimizers, print_freq=1 << 30, train_iters=len(draws), camera=cameras,
            intra_epoch=settings.intra_camera.epochs,
        )  # fmt: skip

    return steps


class _Arguments:
    dataset = "market1501"


class _Normalised(nn.Module):
    """What the authors' encoder returns: the normalised re-ID feature and the projected one."""

    def __init__(self, encoder: nn.Module, text: bool) -> None:
        super().__init__()
        self.encoder, self.text = encoder, text

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, projected = self.encoder(normalise(images), True)
        return F.normalize(features, dim=1), projected


class _Batches:
    """Stands in for the authors' loader: the same draws, round after round."""

    def __init__(self, pictures: Tensor, images: Any, draws: Tensor) -> None:
        self.pictures, self.images, self.draws, self.next = pictures, images, draws, 0

    def next_one(self) -> tuple[Tensor | None, ...]:
        """Images, None, cameras, None, labels within the camera, accumulated identities."""
        indices = self.draws[self.next % len(self.draws)]
        self.next += 1
        images = self.images
        return self.pictures, None, images.cameras[indices], None, images.labels[indices], images.identities[indices]


def _waits(name: str, device: torch.device, step: Callable[[], Any]) -> Iterator[Figure]:
    """How often a step waits for the device."""
    if device.type != "cuda":
        return
    step()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [one for one in caught if "synchronizing" in str(one.message)]
    for place, count in sorted({(f"{one.filename}:{one.lineno}", 0) for one in waits}):
        count = sum(f"{one.filename}:{one.lineno}" == place for one in waits)
        console.print(f"          waits {count} times at {place}", highlight=False)
    yield Figure(f"{name}: waits for the device in a step", len(waits), "times", bar=0)


def _features(name: str, fabric: Fabric, config: Config, size: Size) -> Iterator[Figure]:
    """Features with loading from memory, against the bare forward pass."""
    epoch = epoch_of(config, PHASES["intra-camera"], fabric)
    encoder, device = epoch.encoder.module.eval(), fabric.device
    count = config.runtime.extraction_batch * min(size.steps, 8)
    store = NoiseStore(config.model.image_size, count)
    batch = normalise(store.images(torch.arange(config.runtime.extraction_batch)).to(device))
    cameras = torch.zeros(len(batch), dtype=torch.int64)

    def forward() -> None:
        with torch.inference_mode(), fabric.autocast():
            for _ in range(count // len(batch)):
                encoder.embed(batch, cameras)

    of_all = torch.zeros(count, dtype=torch.int64)

    def ours() -> None:
        with torch.inference_mode():
            embed_store(fabric, encoder, store, of_all, config)  # type: ignore[arg-type]

    taken, bare = _in_turn(device, size.rounds, ours, forward)
    yield Figure(f"{name}: features, kept images", count / taken, "images/s", "forward alone", count / bare, 0.85)


def _loading(config: Config, size: Size) -> Iterator[Figure]:
    """Augmented batches from kept images, by number of threads."""
    data, height_width = config.data, config.model.image_size
    augmentation = Augmentation(height_width, flip=data.flip, pad=data.pad, erase=data.erase)
    batch = config.stage2.identities * config.stage2.images
    draws = torch.arange(batch).repeat(4 * size.steps, 1)
    for workers in (1, 2, 4, 8, 16):
        batches = TrainingBatches(NoiseStore(height_width, batch), augmentation, draws, 0)  # type: ignore[arg-type]
        began = time.perf_counter()
        for _ in batches.loaded(workers):
            pass
        rate = draws.numel() / (time.perf_counter() - began)
        yield Figure(f"augmenting kept images, {workers} threads", rate, "images/s")


def _association(name: str, work: Callable[..., Any], device: torch.device, total: int, size: Size) -> Iterator[Figure]:
    centres, cameras = association_world(total, size.cameras, size.dim, device)
    about = f"{name}: N={total:,}, {size.cameras} cameras, D={size.dim}"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    yield Figure(about, _seconds(device, partial(work, centres, cameras)), "s")
    if device.type == "cuda":
        yield Figure(f"{about}: peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def _compiled(name: str, fabric: Fabric, config: Config, size: Size) -> Iterator[Figure]:
    """A step whose encoder went through ``torch.compile``, with and without CUDA graphs, against one as it is."""
    epoch, draws, pictures = _epoch(fabric, config, PHASES["inter-camera with ICAL"])
    encoder = epoch.encoder.module

    def steps(call: Any) -> None:
        encoder._compiled_call_impl = call  # what ``encoder.compile`` sets; None leaves the encoder as it is
        _steps(epoch, pictures, draws)

    modes = {"torch.compile": "default", "torch.compile with CUDA graphs": "reduce-overhead"}
    for title, mode in modes.items():
        encoder.compile(mode=mode)
        compiled = encoder._compiled_call_impl
        began = time.perf_counter()
        try:
            steps(compiled)
        except Exception as error:  # the compiler's errors have no common class
            console.print(f"          {name}, {title}: failed: {str(error).splitlines()[0]}", highlight=False)
            continue
        _wait(fabric.device)
        first = time.perf_counter() - began
        taken, plain_taken = _in_turn(fabric.device, size.rounds, partial(steps, compiled), partial(steps, None))
        images = draws.numel()
        yield Figure(f"{name}, {title}", images / taken, "images/s", "eager", images / plain_taken)
        yield Figure(f"{name}, {title}: first {len(draws)} steps", first, "s")


def _in_turn(device: torch.device, rounds: int, *works: Callable[[], Any]) -> list[float]:
    """Median seconds of each; they are timed in turn, after one run each."""
    for work in works:
        work()
    taken = [[_seconds(device, work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def _seconds(device: torch.device, work: Callable[[], Any]) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _precision(fabric: Fabric) -> str:
    return str(fabric._precision.precision)


def _line(figure: Figure) -> str:
    other = "" if figure.other is None else f"  {figure.against} {figure.other:,.0f}, ratio {figure.ratio:.2f}"
    bar = "" if figure.bar is None else f" (bar {figure.bar:g}) {figure.verdict}"
    return f"{figure.value:12,.4g} {figure.unit:9} {figure.work}{other}{bar}"


if __name__ == "__main__":
    typer.run(main)
