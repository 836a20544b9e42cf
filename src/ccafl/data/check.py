"""What a data set holds, and what will cause problems."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ccafl.data.images import unreadable
from ccafl.data.left_out import LeftOut, left_out, sentences
from ccafl.data.numbering import accumulate, evaluation_images, persons_of, unmatched_queries
from ccafl.data.records import Record, Source
from ccafl.errors import InputError
from ccafl.words import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

_EXAMPLES = 3
_FEW_LABELS = 20  # different names of labels; with more cameras than that, camera and label may be swapped


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A camera's training images: their number, its labels, and the images per label (fewest, median, most)."""

    name: str
    images: int
    labels: int
    images_per_label: tuple[int, float, int]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a data set.

    Attributes:
        root: where it was read from.
        kind: of source.
        cameras: of the training images.
        examples: an image of each camera, which shows how paths were read.
        query, gallery: numbers of images for testing.
        timed: number of training images with a time.
        unreadable: images that cannot be read, and why.
        left_out: files below ``root`` that are no part of it.
        problems: sentences.
        notes: sentences on what is as it may be.
        refused: why every other command refuses the data; None if they do not.
    """

    root: Path
    kind: str
    cameras: list[CameraReport]
    examples: list[Record]
    query: int
    gallery: int
    timed: int
    unreadable: dict[Path, str]
    left_out: list[LeftOut]
    problems: list[str]
    notes: list[str]
    refused: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For scripts: paths as text, files by reason as counts."""
        return {
            "root": str(self.root),
            "kind": self.kind,
            "cameras": [asdict(camera) for camera in self.cameras],
            "examples": {record.camera: [str(record.path), record.label] for record in self.examples},
            "query": self.query,
            "gallery": self.gallery,
            "timed": self.timed,
            "unreadable": {str(path): why for path, why in self.unreadable.items()},
            "left_out": {part.reason: part.count for part in self.left_out},
            "problems": self.problems,
            "notes": self.notes,
            "refused": self.refused,
        }


def check(
    source: Source,
    root: Path,
    advance: Callable[[], None] | None = None,
    refused: InputError | None = None,
) -> Report:
    """Count and decode every image of ``source``, read from ``root``; look for what will go wrong with it.

    ``refused`` is why the data cannot be used as they are, beside ``source``.
    """
    counts = _counts(source)
    everything = [record.path for record in (*source.train, *source.query, *source.gallery)]
    bad = unreadable(everything, advance)
    problems = [*_training_problems(source, counts), *_naming_problems(counts), *_testing_problems(source)]
    if bad:
        images = counted(len(everything), "image")
        problems.append(f"{len(bad)} of {images} cannot be read: replace or remove them, or use --skip-unreadable")
    timed = sum(record.time is not None for record in source.train)
    return Report(
        root,
        source.kind,
        camera_reports(source),
        _examples(source),
        len(source.query),
        len(source.gallery),
        timed,
        bad,
        left_out(root, source),
        problems,
        _notes(source),
        None if refused is None else str(refused),
    )


def camera_reports(source: Source) -> list[CameraReport]:
    """The training images, camera by camera, in the order of their names."""
    sizes: dict[str, list[int]] = {}
    for (camera, _), size in sorted(_counts(source).items()):
        sizes.setdefault(camera, []).append(size)
    return [
        CameraReport(camera, sum(own), len(own), (min(own), median(own), max(own))) for camera, own in sizes.items()
    ]


def _examples(source: Source) -> list[Record]:
    """The first image of each camera, in the order of the cameras' names."""
    first = {record.camera: record for record in reversed(source.train or source.records)}
    return [first[camera] for camera in sorted(first)]


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
        has = "has" if len(single) == 1 else "have"
        problems.append(
            f"{counted(len(single), 'label')} {has} only one image ({shown}): little can be learned from them"
        )
    persons = persons_of(source.train)
    if persons is not None and len(cameras) > 1:
        images = accumulate(source.train)
        pairs = {
            (person, camera) for person, camera in zip(persons.tolist(), images.identity_cameras.tolist(), strict=True)
        }
        if len({person for person, _ in pairs}) == len(pairs):
            problems.append("no person is seen by two cameras: there are no labels to join")
    return problems


def _naming_problems(counts: Counter[tuple[str, str]]) -> list[str]:
    """Names that look alike, and cameras that may be labels."""
    cameras, labels = {camera for camera, _ in counts}, {label for _, label in counts}
    problems = []
    for names in _alike(cameras):
        shown = ", ".join(map(repr, names))
        problems.append(f"cameras {shown} look alike: if they are one camera, give it one name")
    of_camera: dict[str, set[str]] = {}
    for camera, label in counts:
        of_camera.setdefault(camera, set()).add(label)
    pairs = [(camera, names) for camera, own in sorted(of_camera.items()) for names in _alike(own)]
    if pairs:
        shown = "; ".join(f"{', '.join(map(repr, names))} in {camera}" for camera, names in pairs[:_EXAMPLES])
        problems.append(f"labels look alike ({shown}): if they are one person, give them one name")
    if len(cameras) > _FEW_LABELS >= len(labels):
        problems.append(
            f"{len(cameras)} cameras, and only {counted(len(labels), 'different label')}: are camera and label "
            "swapped? Folders are <camera>/<label>/"
        )
    return problems


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Different names that differ only in case, blanks or how their letters are encoded."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [group for group in alike.values() if len(group) > 1]


def how_to_test(records: Sequence[Record]) -> str:
    """What to do to get query and gallery: a split needs the true persons."""
    if records and all(record.person is not None for record in records):
        return "ccafl data split makes them"
    return "add query/ and gallery/, or a manifest's split column, with one name for a person in all cameras"


def _notes(source: Source) -> list[str]:
    if source.query or source.gallery:
        return []
    return [f"no query and gallery: only evaluation needs them; {how_to_test(source.train)}"]


def _testing_problems(source: Source) -> list[str]:
    if not source.query and not source.gallery:
        return []
    if not source.query or not source.gallery:
        half = "query without gallery" if source.query else "gallery without query"
        return [f"{half}: evaluation needs both; {how_to_test(source.train)}"]
    query, gallery = evaluation_images(source.query, source.gallery)
    missing = [source.query[index] for index in unmatched_queries(query, gallery)]
    if not missing:
        return []
    shown = ", ".join(str(record.path) for record in missing[:_EXAMPLES])
    queries = f"{counted(len(missing), 'query', 'queries')} {'has' if len(missing) == 1 else 'have'}"
    return [f"{queries} no image of the person from another camera in the gallery ({shown})"]


def render(report: Report, plan: Sequence[str] = ()) -> "RenderableType":
    """The report for the terminal, followed by the lines of ``plan``."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sizes = "images per label (fewest, median, most)"
    table = Table("camera", "images", "labels", sizes, title=f"read as {report.kind}")
    for camera in report.cameras:
        fewest, middle, most = camera.images_per_label
        table.add_row(Text(camera.name), str(camera.images), str(camera.labels), f"{fewest}  {middle:g}  {most}")
    images, labels = (sum(getattr(camera, name) for camera in report.cameras) for name in ("images", "labels"))
    table.add_section()
    table.add_row("all", str(images), str(labels), "")
    lines = [f"query {report.query}, gallery {report.gallery}"] if report.query or report.gallery else []
    lines += [f"time known of {report.timed} of {images} training images"] if report.timed else []
    for record in report.examples:
        inside = record.path.is_relative_to(report.root)
        path = record.path.relative_to(report.root) if inside else record.path
        lines.append(f"camera {record.camera}: {path} is label {record.label}")
    lines += sentences(report.left_out)
    lines += reasons(report.unreadable)
    lines += [f"problem: {problem}" for problem in report.problems] or ["no problem found"]
    lines += [f"note: {note}" for note in report.notes]
    lines += plan
    return Group(table, *(Text(line, overflow="fold") for line in lines))  # Text: brackets in names are not markup


def reasons(bad: Mapping[Path, str], examples: int = _EXAMPLES) -> list[str]:
    """One line for each reason why images cannot be read: how many, and some of them."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in bad.items():
        by_reason.setdefault(reason, []).append(path)
    return [
        f"unreadable: {paths[0]}: {reason}"
        if len(paths) == 1
        else f"unreadable: {len(paths):,} images: {reason} ({_some(paths, examples)})"
        for reason, paths in by_reason.items()
    ]


def _some(paths: Sequence[Path], most: int) -> str:
    return ", ".join(map(str, paths[:most])) + (", ..." if len(paths) > most else "")
