"""What a page is made from: a run's folder, finished or not, and its images if they can be read.

Anything missing is replaced by a one-line reason, which the page then shows.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ccafl.config import Config, NotNegative
from ccafl.data.drawn import drawn_by_ccafl
from ccafl.data.identity_links import links_between, merged
from ccafl.data.numbering import LabelledImages, accumulate
from ccafl.data.opening import find_unreadable, without
from ccafl.data.records import Source
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.evaluation.embedder import Embedder, load_run
from ccafl.run_folder import RunFolder, read_association


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run, finished or not.

    Attributes:
        folder: its folder.
        config: its settings.
        events: one per epoch so far.
        results: empty until the run has finished.
        embedder: made from the last checkpoint, or why there is none.
    """

    folder: RunFolder
    config: Config
    events: list[dict[str, Any]]
    results: dict[str, Any]
    embedder: Embedder | str


@dataclass(frozen=True, slots=True)
class Images:
    """A run's images: where they are, the readable ones, and how many were unreadable."""

    where: Path
    source: Source
    skipped: int


def open_run(run: Path) -> OpenedRun:
    """Read a run's folder.

    Raises:
        InputError: it is not a run, has not begun, or its settings or events are damaged.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    try:
        embedder: Embedder | str = load_run(run)
    except InputError as error:
        embedder = f"The run's network cannot be opened ({error})."
    return OpenedRun(folder, config, read_events(folder.events), _results(folder), embedder)


def _results(folder: RunFolder) -> dict[str, Any]:
    try:
        return folder.read_results() or {}
    except InputError:
        return {}


class _Event(BaseModel):
    """What the figures need of an epoch's event."""

    model_config = ConfigDict(strict=True)

    stage: Literal[1, 2]
    epoch: NotNegative
    phase: str = ""
    losses: dict[str, float] = {}
    association: dict[str, float | None] | None = None
    final_association: dict[str, float | None] | None = None
    ranking: dict[str, float | None] | None = None
    text_alignment: dict[str, float | None] | None = None
    same_person_mass: float | None = None
    final_same_person_mass: float | None = None
    seconds: float = 0


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run; a last line that is incomplete is ignored.

    Raises:
        InputError: there is no such file, or any other line is damaged or no event.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, the run has not begun; give the folder of a run that has trained")
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            _Event.model_validate(event)
        except ValidationError as error:
            raise InputError(f"{path}, line {number}: is not the event of an epoch; remove the line") from error
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise InputError(f"{path}, line {number}: is not valid JSON; remove the line") from error
        events.append(event)
    return events


def open_images(run: RunFolder, data: Path | None, kind: str | None, *, outside: bool = False) -> Images | str:
    """A run's readable images, or why there are none.

    Args:
        run: its folder, which records where the images were.
        data: where the images are now; None for the recorded place.
        kind: the kind of ``data``, recognised if None.

    Raises:
        InputError: ``data`` is given but cannot be read.
    """
    if data is not None:
        return _readable(data, read_source(data, kind, outside=outside))
    recorded = run.read_data()
    if recorded is None:
        return "The run does not record where its images were; give --data."
    try:
        return _readable(recorded[0], read_source(*recorded, outside=outside))
    except InputError as error:
        return f"The images are no longer where they were ({error}); give --data."


def _readable(where: Path, source: Source) -> Images:
    paths = [record.path for record in source.records]
    gone = next((path for path in paths if not path.is_file()), None)
    if gone is not None:
        raise InputError(f"{gone}: no such image; fix {where} or give other data")
    bad = find_unreadable(paths)
    return Images(where, without(source, bad), len(bad))


def shows_nobody(images: Images) -> bool:
    """Whether every image was drawn by ccafl: all lie within one synthetic world."""
    if not drawn_by_ccafl(images.where):
        return False
    folder = images.where if images.where.is_dir() else images.where.parent
    drawn = (folder / "images").resolve()
    return all(record.path.resolve().is_relative_to(drawn) for record in images.source.records)


def trained_images(run: OpenedRun, images: Images, identities: int) -> LabelledImages | str:
    """The images the run was trained on, or why ``images`` are not those.

    Args:
        run: the opened run.
        images: the images found.
        identities: N, the number of identities in the run's classifier.
    """
    if not images.source.train:
        return "The data contain no training images."
    found = accumulate(images.source.train)
    wrong = _trained_labels(run.folder) not in (None, list(found.names))
    table = run.config.data.links
    if table and run.config.mode != "supervised":
        try:
            found = merged(found, links_between(Path(table), found)).images
        except InputError as error:
            return f"The corrections that the run was trained with cannot be read ({error})."
    if wrong or len(found.names) != identities:
        return "These training labels are not those the run was trained on; give the run's own data with --data."
    return found


def _trained_labels(folder: RunFolder) -> list[tuple[str, str]] | None:
    """(camera, label) of every accumulated identity; None if the run has not finished."""
    try:
        return list(read_association(folder.association))
    except InputError:
        return None
