"""What a data set holds, and what will cause problems."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ccafl.data.images import unreadable
from ccafl.data.numbering import accumulate, evaluation_images, persons_of, unmatched_queries
from ccafl.data.records import Source

if TYPE_CHECKING:
    from rich.console import RenderableType

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A camera's training images: their number, its labels, and the images per label (fewest, median, most)."""

    name: str
    images: int
    labels: int
    images_per_label: tuple[int, float, int]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a data set; ``timed`` training images have a time, ``problems`` are sentences."""

    kind: str
    cameras: list[CameraReport]
    query: int
    gallery: int
    timed: int
    unreadable: dict[Path, str]
    problems: list[str]


def check(source: Source, advance: Callable[[], None] | None = None) -> Report:
    """Count and decode every image, and look for what will go wrong in training or testing."""
    counts = _counts(source)
    everything = [record.path for record in (*source.train, *source.query, *source.gallery)]
    bad = unreadable(everything, advance)
    problems = [*_training_problems(source, counts), *_testing_problems(source)]
    if bad:
        problems.append(f"{len(bad)} of {len(everything)} images cannot be read: replace or remove them")
    timed = sum(record.time is not None for record in source.train)
    return Report(source.kind, camera_reports(source), len(source.query), len(source.gallery), timed, bad, problems)


def camera_reports(source: Source) -> list[CameraReport]:
    """The training images, camera by camera, in the order of their names."""
    sizes: dict[str, list[int]] = {}
    for (camera, _), size in sorted(_counts(source).items()):
        sizes.setdefault(camera, []).append(size)
    return [
        CameraReport(camera, sum(own), len(own), (min(own), median(own), max(own))) for camera, own in sizes.items()
    ]


def _counts(source: Source) -> Counter[tuple[str, str]]:
    """Number of training images by camera and label."""
    return Counter((record.camera, record.label) for record in source.train)


def _training_problems(source: Source, counts: Counter[tuple[str, str]]) -> list[str]:
    if not counts:
        return ["no training images: these data are for evaluation only"]
    problems = []
    cameras = {camera for camera, _ in counts}
    if len(cameras) == 1:
        problems.append(f"only one camera ({cameras.pop()}): there is nothing to join; add another camera")
    single = sorted(label for label, size in counts.items() if size == 1)
    if single:
        shown = ", ".join(f"{label} in {camera}" for camera, label in single[:_EXAMPLES])
        problems.append(f"{len(single)} labels have only one image ({shown}): little can be learned from them")
    persons = persons_of(source.train)
    if persons is not None and len(cameras) > 1:
        images = accumulate(source.train)
        pairs = {
            (person, camera) for person, camera in zip(persons.tolist(), images.identity_cameras.tolist(), strict=True)
        }
        if len({person for person, _ in pairs}) == len(pairs):
            problems.append("no person is seen by two cameras: there are no labels to join")
    return problems


def _testing_problems(source: Source) -> list[str]:
    if not source.query or not source.gallery:
        return ["no query and gallery: training works without them, evaluation does not (see ccafl data split)"]
    query, gallery = evaluation_images(source.query, source.gallery)
    missing = [source.query[index] for index in unmatched_queries(query, gallery)]
    if not missing:
        return []
    shown = ", ".join(str(record.path) for record in missing[:_EXAMPLES])
    return [f"{len(missing)} queries have no image of their person from another camera in the gallery ({shown})"]


def render(report: Report) -> "RenderableType":
    """The report for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("camera", "images", "labels", "images per label (fewest, median, most)", title=report.kind)
    for camera in report.cameras:
        fewest, middle, most = camera.images_per_label
        table.add_row(Text(camera.name), str(camera.images), str(camera.labels), f"{fewest}  {middle:g}  {most}")
    images, labels = (sum(getattr(camera, name) for camera in report.cameras) for name in ("images", "labels"))
    table.add_section()
    table.add_row("all", str(images), str(labels), "")
    lines = [f"query {report.query}, gallery {report.gallery}"]
    lines += [f"time known of {report.timed} of {images} training images"] if report.timed else []
    lines += [f"unreadable: {path}: {reason}" for path, reason in report.unreadable.items()]
    lines += [f"problem: {problem}" for problem in report.problems] or ["no problem found"]
    return Group(table, *map(Text, lines))  # Text, because brackets in names are not markup
