"""From a camera's footage to its part of a data set: detect, track, choose pictures, write them.

A camera's part is written beside its place and moved there when it is complete, so that after any interruption a camera
is either finished or begins again.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ccafl.data.tables import cell
from ccafl.data.trusted import trust
from ccafl.errors import InputError
from ccafl.files import disk_errors, read_object, remove_leftovers, renamed_whole, write_json, write_text
from ccafl.footage.crops import CROPS, LEAST_HEIGHT, Crop, TrackCrops, overlaps
from ccafl.footage.detections import Detections, Detector
from ccafl.footage.frames import Damage, Footage, Frame
from ccafl.footage.tracking import Tracker

COLUMNS = ("image", "camera", "label", "time", "begin", "end", "frame", "box", "confidence", "source")
MANIFEST, PART, ABOUT = "manifest.csv", "crops.csv", "ingest.json"
_SHORT_SECONDS, _FEW = 0.5, 3  # a track that lasts less, or has fewer detections, is left out
_DOUBTFUL = 0.45  # mean score below which a track is left out

Region = NDArray[np.float32]
"""(p, 2) corners of the part of the frame that counts."""


@dataclass(slots=True)
class Counts:
    """What became of a camera's footage.

    Attributes:
        frames: looked at.
        seconds: from the first to the last.
        tracks: kept.
        crops: written.
        short: tracks left out because they are short.
        doubtful: tracks left out because their detections are doubtful, too small, or never free of others.
        damaged: frames that could not be decoded.
        cut_short: sources that end before they should.
    """

    frames: int = 0
    seconds: float = 0.0
    tracks: int = 0
    crops: int = 0
    short: int = 0
    doubtful: int = 0
    damaged: int = 0
    cut_short: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How a camera is ingested.

    Attributes:
        footage: the camera's.
        detector: finds the persons.
        tracker: joins the detections.
        settings: what the outcome depends on; a finished camera is kept only if they are the same.
        fps: frames a second to look at; all if None.
        region: persons whose feet are outside do not count; the whole frame if None.
        crops: pictures kept of a track, at most.
    """

    footage: Footage
    detector: Detector
    tracker: Tracker
    settings: Mapping[str, Any] = field(default_factory=dict)
    fps: float | None = None
    region: Region | None = None
    crops: int = CROPS


def finished(out: Path, camera: str, settings: Mapping[str, Any]) -> Counts | None:
    """The counts of a camera that is finished in ``out``; None if it is not.

    Raises:
        InputError: it was made from other footage or with other settings, or by something else, or is damaged.
    """
    folder = out / camera
    if not folder.exists():
        return None
    about = read_object(folder / ABOUT)
    if about is None:
        raise InputError(f"{folder}: exists already and was not made by ccafl ingest; choose another output")
    if about.get("settings") != json.loads(json.dumps(settings)):
        raise InputError(
            f"{folder}: was made from other footage or with other settings; remove it, or choose another output"
        )
    try:
        return TypeAdapter(Counts).validate_python(about.get("counts"))
    except ValidationError as error:
        raise InputError(f"{folder / ABOUT}: is damaged; remove {folder}, or choose another output") from error


def ingest_camera(out: Path, plan: Plan, advance: Callable[[int], None] | None = None) -> Counts:
    """Write a camera's part, ``out/<camera>``, which must not exist.

    Args:
        out: the data set's folder.
        plan: what to do.
        advance: called with 1 for every frame.

    Raises:
        InputError: the footage has no frame that can be decoded, or the disk is full.
    """
    camera = plan.footage.camera
    folder = out / f".{camera}.part"
    counts, damage = Counts(), Damage()
    with disk_errors(out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / PART).open("w", encoding="utf-8", newline="") as table:
            rows = csv.writer(table, lineterminator="\n")
            rows.writerow(COLUMNS)
            for track, crops in _finished_tracks(plan, counts, damage, advance or (lambda _: None)):
                chosen = _worth_keeping(crops, counts)
                if chosen:
                    rows.writerows(_written(plan.footage, folder, track, crops, chosen))
                    counts.tracks += 1
                    counts.crops += len(chosen)
        counts.damaged, counts.cut_short = damage.frames, damage.cut_short
        about = {"settings": plan.settings, "counts": asdict(counts)}
        write_json(folder / ABOUT, about)
        renamed_whole(folder, out / camera)
    return counts


def write_manifest(out: Path) -> Path:
    """Write ``out/manifest.csv`` from the parts of all finished cameras, in the order of their names; returns it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    manifest = out / MANIFEST
    remove_leftovers(manifest)
    for part in sorted(out.glob(f"[!.]*/{PART}")):
        with part.open(encoding="utf-8", newline="") as table:
            rows.writerows(list(csv.reader(table))[1:])
    write_text(manifest, text.getvalue())
    trust(manifest)  # it names footage outside of its folder
    return manifest


def tracked(
    plan: Plan, counts: Counts, damage: Damage, advance: Callable[[int], None]
) -> Iterator[tuple[Frame, Detections, NDArray[np.int64]]]:
    """Each frame that is looked at, the persons in it, and the track (-1 for none) of each."""
    begin: float | None = None
    for frame in plan.footage.frames(fps=plan.fps, damage=damage):
        advance(1)
        if frame is None:
            continue
        counts.frames += 1
        begin = frame.seconds if begin is None else begin
        counts.seconds = round(frame.seconds - begin, 3)
        found = plan.detector(frame)
        if plan.region is not None and len(found):
            found = found.where(_within(plan.region, found.boxes))
        yield frame, found, plan.tracker.update(frame, found)


def _finished_tracks(
    plan: Plan, counts: Counts, damage: Damage, advance: Callable[[int], None]
) -> Iterator[tuple[int, TrackCrops]]:
    """Each track, once it cannot go on; those of one frame in their order."""
    going: dict[int, TrackCrops] = {}
    for frame, found, tracks in tracked(plan, counts, damage, advance):
        shares = overlaps(found.boxes)
        for track, box, score, share in zip(tracks.tolist(), found.boxes, found.scores.tolist(), shares, strict=True):
            if track >= 0:
                going.setdefault(track, TrackCrops(plan.crops)).see(frame, box, score, float(share))
        over = [track for track, crops in going.items() if plan.tracker.over(track, crops.last, frame)]
        yield from ((track, going.pop(track)) for track in sorted(over))
    yield from sorted(going.items())


def _worth_keeping(crops: TrackCrops, counts: Counts) -> list[Crop]:
    """The track's best pictures; none if it is too short or too doubtful."""
    if crops.last - crops.first < _SHORT_SECONDS or crops.detections < _FEW:
        counts.short += 1
        return []
    sure = crops.score / crops.detections >= _DOUBTFUL and crops.height >= LEAST_HEIGHT
    chosen = crops.best() if sure else []
    counts.doubtful += not chosen
    return chosen


def _written(
    footage: Footage, folder: Path, track: int, crops: TrackCrops, chosen: list[Crop]
) -> Iterator[tuple[object, ...]]:
    """The rows of a track's pictures, each written as it is asked for."""
    (folder / str(track)).mkdir(exist_ok=True)
    begin, end = (footage.time_at(seconds).isoformat(timespec="milliseconds") for seconds in (crops.first, crops.last))
    for crop in chosen:
        name = f"{crop.number:08d}.jpg"
        (folder / str(track) / name).write_bytes(crop.jpeg)
        left, top, right, bottom = crop.box
        yield (
            cell(f"{footage.camera}/{track}/{name}"),
            cell(footage.camera),
            track,
            footage.time_at(crop.seconds).isoformat(timespec="milliseconds"),
            begin,
            end,
            crop.source_number,
            f"{left},{top},{right - left},{bottom - top}",
            f"{crop.score:.3f}",
            cell(os.path.realpath(crop.source)),
        )


def _within(region: Region, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the middle of each box's lower edge, where the person stands, lies in the polygon: rays to the right."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]
    inside = np.zeros(len(boxes), bool)
    for (x1, y1), (x2, y2) in zip(region, np.roll(region, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        at = x1 + (y - y1) * (x2 - x1) / (y2 - y1 if y2 != y1 else 1.0)
        inside ^= crosses & (x < at)
    return inside
