"""What a page is made from: a run's folder as far as it has come, and its images where they can be had.

What is missing is a reason, one line of text, in its place: the page then says it there.
"""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ccafl.config import Config, load_config
from ccafl.data.images import unreadable
from ccafl.data.numbering import LabelledImages, accumulate
from ccafl.data.records import Record, Source
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.evaluation.embedder import Embedder, load_run
from ccafl.terminal import bar

_DRAWN_FROM = {"seed", "persons", "cameras", "images", "size"}  # the keys of a world.json


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run as far as it has come.

    Attributes:
        where: its folder.
        config: its settings.
        events: one an epoch, perhaps none yet.
        results: empty until it has finished.
        embedder: of its last checkpoint, or why there is none.
    """

    where: Path
    config: Config
    events: list[dict[str, Any]]
    results: dict[str, Any]
    embedder: Embedder | str


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a run: where they lie, what could be read of them, and how many could not."""

    where: Path
    source: Source
    skipped: int


def open_run(run: Path) -> RunFolder:
    """Read a run's folder.

    Raises:
        InputError: it is not a run, has not begun, or its settings or events are damaged.
    """
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: is not a run (no config.yaml); give a folder made by ccafl train or ccafl demo")
    config = load_config(str(run / "config.yaml"))
    results = _json_object(run / "results.json")
    try:
        embedder: Embedder | str = load_run(run)
    except InputError as error:
        embedder = f"The run's network cannot be had ({error})."
    return RunFolder(run, config, read_events(run / "events.jsonl"), results or {}, embedder)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run, without a last line that is still being written or was cut off.

    Raises:
        InputError: no such file, or another line is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, the run has not begun; give the folder of a run that has trained")
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise InputError(f"{path}, line {number}: is not valid JSON; remove the line") from error
    return events


def _json_object(path: Path) -> dict[str, Any] | None:
    """What the file holds; None where it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def open_images(run: Path, data: Path | None, kind: str | None) -> Images | str:
    """A run's images without the unreadable ones, or why they cannot be had.

    Args:
        run: its folder, which remembers where they lay.
        data: where they lie now; None for where they lay.
        kind: the source of ``data``, recognised if None.

    Raises:
        InputError: ``data`` cannot be read: what the user names must be there.
    """
    if data is not None:
        return _readable(data, read_source(data, kind))
    remembered = _json_object(run / "data.json") or {}
    if not isinstance(remembered.get("path"), str):
        return "The run does not say where its images lay; give --data."
    try:
        return _readable(Path(remembered["path"]), read_source(Path(remembered["path"]), remembered.get("source")))
    except InputError as error:
        return f"The images are not where they were ({error}); give --data."


def _readable(where: Path, source: Source) -> Images:
    lists = (source.train, source.query, source.gallery)
    paths = [record.path for records in lists for record in records]
    gone = next((path for path in paths if not path.is_file()), None)
    if gone is not None:
        raise InputError(f"{gone}: no such image; mend {where} or give other data")
    with bar("reading images", len(paths)) as progress:
        bad = unreadable(paths, progress.advance)

    def kept(records: list[Record]) -> list[Record]:
        return [record for record in records if record.path not in bad]

    train, query, gallery = map(kept, lists)
    return Images(where, replace(source, train=train, query=query, gallery=gallery), len(bad))


def drawn_by_ccafl(data: Path) -> bool:
    """Whether images are of ccafl's synthetic world, so of nobody: it leaves its ``world.json`` beside them."""
    folder = data if data.is_dir() else data.parent
    return (_json_object(folder / "world.json") or {}).keys() >= _DRAWN_FROM


def shows_nobody(images: Images) -> bool:
    """Whether all images are drawn ones: of a synthetic world, and none lies outside it."""
    if not drawn_by_ccafl(images.where):
        return False
    folder = images.where if images.where.is_dir() else images.where.parent
    drawn, source = (folder / "images").resolve(), images.source
    records = [*source.train, *source.query, *source.gallery]
    return all(record.path.resolve().is_relative_to(drawn) for record in records)


def trained_images(run: RunFolder, images: Images, identities: int) -> LabelledImages | str:
    """The images the run was trained on, or why these are not they.

    Args:
        run: its folder.
        images: those that were found.
        identities: N, as the run's classifier has them.
    """
    if not images.source.train:
        return "The data hold no training images."
    found = accumulate(images.source.train)
    names = [found.camera_names[camera] for camera in found.identity_cameras.tolist()]
    labels = list(zip(names, found.identity_labels, strict=True))
    if len(labels) != identities or _trained_labels(run.where / "association.csv") not in (None, labels):
        return "The training labels of these data are not those the run was trained on; give its own with --data."
    return found


def _trained_labels(association: Path) -> list[tuple[str, str]] | None:
    """(camera, label) of every accumulated identity; None where the run has not finished."""
    try:
        with association.open(encoding="utf-8", newline="") as file:
            return [(row["camera"], row["label"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError):
        return None
