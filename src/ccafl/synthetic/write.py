"""The synthetic world as a folder of images with a manifest, labelled camera by camera."""

import csv
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from ccafl.errors import InputError
from ccafl.files import disk_errors, folder_written_whole
from ccafl.synthetic.visits import check_visits
from ccafl.synthetic.world import LABELS, PRETRAINING_SEED, World

COLUMNS = ("image", "camera", "label", "split", "person", "caption", "time")
LABEL_NUMBERS = 1000  # labels within a camera are drawn from this many numbers, or twice the persons if more
SMALLEST_SIZE = 16  # pixels
VISITS_PER_PROCESS = 64  # at least, or starting the process would not pay off
VISITS_AHEAD = 256  # handed to the processes at a time


@dataclass(frozen=True, slots=True)
class _Visit:
    """One person's pictures from one camera, with the label that the camera gives them."""

    person: int
    camera: int
    label: str
    images: int
    split: str  # train or gallery
    query: bool  # whether the first picture is a query instead


def synthesize(
    out: Path,
    *,
    seed: int,
    persons: int,
    cameras: int,
    images: int = 6,
    visits: str = "usual",
    size: tuple[int, int] = (128, 64),
    test_fraction: float = 1 / 3,
    processes: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Write ``out/manifest.csv``, ``out/world.json`` (the settings) and ``out/images/<camera>/<label>/*.jpg``; all or
    nothing.

    A training person's label in one camera says nothing about their labels in the others; column ``person`` holds the
    truth and ``caption`` describes the picture. Test persons are disjoint from them and labelled by name; each one's
    first image in each camera is a query, the rest are gallery images. Whoever passes one camera only makes no query.

    Args:
        out: new or empty folder.
        seed: 0 or more; the same seed gives the same persons, cameras and pictures, however many of each there are.
        persons: 3 or more, training and test together.
        cameras: 2 or more.
        images: mean number per person and camera; with 1, every training person has exactly one in a camera. Test
            persons have at least two, for query and gallery.
        visits: the pattern by which persons pass cameras (`ccafl.synthetic.visits`).
        size: height and width in pixels.
        test_fraction: share of persons kept for testing, between 0 and 1.
        processes: number of processes that draw; the pictures do not depend on it.
        advance: called with the number of images just written.

    Returns:
        The path of the manifest.

    Raises:
        InputError: a number is out of range, ``visits`` is unknown or does not suit the cameras, or ``out`` is not
            empty or cannot be written.
    """
    _check(seed, persons, cameras, images, size, test_fraction)
    check_visits(visits, cameras)
    world = World(seed, persons, cameras, visits=visits)
    rows: list[tuple[str, ...]] = []
    with folder_written_whole(out) as folder:
        walks = list(_visits(world, _training(persons, test_fraction), images))
        write = partial(_write_visit, world, folder=folder, size=size, out=out)
        for written in _written_visits(write, walks, processes):
            rows += written
            if advance is not None:
                advance(len(written))
        drawn = {"seed": seed, "persons": persons, "cameras": cameras, "images": images, "size": size}
        drawn |= {} if visits == "usual" else {"visits": visits}
        with disk_errors(out):
            (folder / "world.json").write_text(json.dumps(drawn) + "\n")
            _write_manifest(folder / "manifest.csv", rows)
    return out / "manifest.csv"


def count_images(
    *,
    seed: int,
    persons: int,
    cameras: int,
    images: int = 6,
    visits: str = "usual",
    test_fraction: float = 1 / 3,
) -> int:
    """How many images `synthesize` writes for these settings.

    Raises:
        InputError: a number is out of range, or ``visits`` is unknown or does not suit the cameras.
    """
    _check(seed, persons, cameras, images, test_fraction=test_fraction)
    check_visits(visits, cameras)
    world = World(seed, persons, cameras, visits=visits)
    return sum(visit.images for visit in _visits(world, _training(persons, test_fraction), images))


def _check(
    seed: int,
    persons: int,
    cameras: int,
    images: int,
    size: tuple[int, int] = (128, 64),
    test_fraction: float = 1 / 3,
) -> None:
    for name, value, least in (
        ("seed", seed, 0),
        ("persons", persons, 3),
        ("cameras", cameras, 2),
        ("images", images, 1),
    ):
        if value < least:
            raise InputError(f"{name} {value}: too small; give {least} or more")
    if seed >= PRETRAINING_SEED:
        raise InputError(f"seed {seed}: reserved for pretraining; give less than {PRETRAINING_SEED}")
    if min(size) < SMALLEST_SIZE:
        raise InputError(f"size {size[0]}x{size[1]}: too small; give {SMALLEST_SIZE} pixels or more each way")
    if not 0 < test_fraction < 1:
        raise InputError(f"test fraction {test_fraction}: out of range; give a number between 0 and 1")


def _training(persons: int, test_fraction: float) -> int:
    """How many persons are for training: the first ones; at least one is, and one is for testing."""
    return persons - min(max(1, round(test_fraction * persons)), persons - 1)


def _visits(world: World, training: int, images: int) -> Iterator[_Visit]:
    """Every visit of a person to a camera, camera by camera, sorted by label."""
    numbers = max(LABEL_NUMBERS, 2 * world.persons)
    digits = len(str(numbers - 1))
    passed = [world.cameras_of(person) for person in range(world.persons)]
    for camera in range(world.cameras):
        shuffled = world.random(LABELS, camera).permutation(numbers)
        visits = []
        for person in range(world.persons):
            if camera not in passed[person]:
                continue
            count = world.count(person, camera, images)
            if person < training:
                label = f"p{shuffled[person]:0{digits}d}"
                visits.append(_Visit(person, camera, label, count, "train", query=False))
            else:
                query = len(passed[person]) > 1
                visits.append(_Visit(person, camera, person_name(person), max(2, count), "gallery", query))
        yield from sorted(visits, key=lambda visit: (visit.split == "gallery", visit.label))


def person_name(person: int) -> str:
    """The true name of person number ``person``, unlike any label of a training person."""
    return f"person{person:04d}"


def _written_visits(
    write: Callable[[_Visit], list[tuple[str, ...]]], visits: list[_Visit], processes: int
) -> Iterator[list[tuple[str, ...]]]:
    """The manifest rows of each visit, in order, the work divided among processes."""
    processes = min(processes, len(visits) // VISITS_PER_PROCESS)
    if processes < 2:
        yield from map(write, visits)
        return
    waiting = iter(visits)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        while ahead := list(islice(waiting, VISITS_AHEAD)):
            yield from pool.map(write, ahead, chunksize=8)


def _write_visit(world: World, visit: _Visit, folder: Path, size: tuple[int, int], out: Path) -> list[tuple[str, ...]]:
    """Write the pictures of one visit and return their manifest rows."""
    camera = f"c{visit.camera + 1}"
    place = Path("images", camera, visit.label)
    rows: list[tuple[str, ...]] = []
    with disk_errors(out):
        (folder / place).mkdir(parents=True)
        for index in range(visit.images):
            image = place / f"{camera}_{visit.label}_{index:02d}.jpg"
            (folder / image).write_bytes(world.jpeg(visit.person, visit.camera, index, size))
            split = "query" if visit.query and index == 0 else visit.split
            caption = world.caption(visit.person, visit.camera, index)
            time = world.time(visit.person, visit.camera, index).isoformat()
            rows.append((image.as_posix(), camera, visit.label, split, person_name(visit.person), caption, time))
    return rows


def _write_manifest(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
