"""How good and how fast `ccafl ingest` is, on synthetic footage, of which everything is known.

`python -m benchmarks.footage FOLDER`, with what `ccafl data synthesize FOLDER --footage` draws.
"""

import csv
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torchvision.models import get_model

from benchmarks.measure import Row, in_own_process, peak_of, timed
from ccafl.files import write_text
from ccafl.footage.cameras import open_cameras, read_camera_table
from ccafl.footage.detections import Detections, Detector
from ccafl.footage.frames import Damage, Footage, Frame
from ccafl.footage.given import GivenDetections, GivenTracks, read_tracks
from ccafl.footage.ingest import Counts, Plan, ingest_camera
from ccafl.footage.motion import MotionDetector
from ccafl.footage.torchvision_detector import DEFAULT as TORCHVISION
from ccafl.footage.torchvision_detector import TorchvisionDetector
from ccafl.footage.tracking import OverlapTracker
from ccafl.provenance import commit, hardware

FOUND = 0.5  # IoU from which a picture shows the person that it should show
FPS, PEOPLE = 25, 5  # of the video that the speed is measured with
_TIMED = 200  # frames

Boxes = NDArray[np.float32]
Tracks = Mapping[int, tuple[NDArray[np.int64], Boxes]]
"""By frame: the tracks (n,) and their boxes (n, 4)."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one camera and detector, all in 0..1.

    Attributes:
        HOTA, IDF1: of the tracks, by TrackEval.
        on_person: share of the pictures whose box overlaps a person by at least half.
        pure: share of the pictures that show the person whom most of their track's pictures show.
    """

    HOTA: float
    IDF1: float
    on_person: float
    pure: float


def main(
    folder: Annotated[Path, typer.Argument(help="Synthetic footage.")],
    out: Annotated[Path | None, typer.Option(help="JSON file for the table.")] = None,
    detectors: Annotated[bool, typer.Option(help="Time the detectors instead.")] = False,
) -> None:
    """Score the tracks and the pictures of true detections and of motion, camera by camera."""
    if detectors:
        Console().print(seconds_an_hour(folder))
        return
    rows = []
    for row in qualities(folder):  # each takes minutes
        Console(stderr=True).print(f"{row['detector']}, {row['camera']}: IDF1 {100 * row['IDF1']:.1f}")
        rows.append(row)
    table = Table("detector", "camera", "HOTA", "IDF1", "pictures on a person", "of their track's", "tracks", "true")
    for row in rows:
        figures = (f"{100 * row[name]:.1f}" for name in ("HOTA", "IDF1", "on_person", "pure"))
        table.add_row(row["detector"], row["camera"], *figures, str(row["tracks"]), str(row["true_tracks"]))
    Console().print(table)
    if out is not None:
        write_text(out, json.dumps({"commit": commit(), "hardware": hardware(), "rows": rows}, indent=2) + "\n")


def qualities(folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each detector and camera, and the mean of its cameras."""
    starts, rates = read_camera_table(folder / "cameras.csv")
    footage, _ = open_cameras({camera: str(folder / f"{camera}.mp4") for camera in starts}, starts, rates)
    for detector in ("true detections", "motion"):
        rows = []
        for camera in footage:
            rows.append(quality_row(camera, read_tracks(folder / f"{camera.camera}.txt"), detector))
            yield rows[-1]
        mean = {name: float(np.mean([row[name] for row in rows])) for name in ("HOTA", "IDF1", "on_person", "pure")}
        yield (
            {"detector": detector, "camera": "mean"}
            | mean
            | {name: sum(row[name] for row in rows) for name in ("tracks", "true_tracks")}
        )


def quality_row(footage: Footage, truth: GivenTracks, detector: str) -> dict[str, Any]:
    """What the tracks and the pictures of a camera are worth."""
    true = true_tracks(footage, truth)
    rate = footage.sources[0].rate
    found: Detector = MotionDetector(rate) if detector == "motion" else Untracked(truth)
    tracker = RememberingTracker(rate)
    with tempfile.TemporaryDirectory() as out:
        counts = ingest_camera(Path(out), Plan(footage, found, tracker))
        on_person, pure = pictures_on_persons(Path(out) / footage.camera / "crops.csv", true)
    return {
        "detector": detector,
        "camera": footage.camera,
        **scores(true, tracker.tracks),
        "on_person": on_person,
        "pure": pure,
        "tracks": counts.tracks,
        "true_tracks": len({track for ids, _ in true.values() for track in ids.tolist()}),
    }


class RememberingTracker(OverlapTracker):
    """The tracker, which keeps what it said of every frame."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.tracks: dict[int, tuple[NDArray[np.int64], Boxes]] = {}

    def update(self, frame: Frame, detections: Detections) -> NDArray[np.int64]:
        """As `OverlapTracker.update`."""
        ids = super().update(frame, detections)
        self.tracks[frame.number] = ids, detections.boxes
        return ids


class Untracked:
    """True boxes without their tracks; a `Detector`."""

    def __init__(self, truth: GivenTracks) -> None:
        self._truth = truth

    def __call__(self, frame: Frame) -> Detections:
        seen = self._truth(frame)
        return Detections(seen.boxes, seen.scores)


def true_tracks(footage: Footage, truth: GivenTracks) -> Tracks:
    """What is true of every frame."""
    nothing = np.empty((0, 0, 3), np.uint8)
    last = truth.last_frame
    seen = {number: truth(Frame(number, 0.0, nothing, Path(), number)) for number in range(1, last + 1)}
    return {
        number: (found.tracks, found.boxes) for number, found in seen.items() if found.tracks is not None and len(found)
    }


def scores(true: Tracks, found: Tracks) -> dict[str, float]:
    """HOTA and IDF1 of tracks, as TrackEval has them; a track of -1 is none."""
    from trackeval.metrics import HOTA, Identity

    frames = sorted({*true, *found})
    nobody = (np.empty(0, np.int64), np.empty((0, 4), np.float32))
    sides = []
    for tracks in (true, found):
        each = [tracks.get(frame, nobody) for frame in frames]
        kept = [(ids[ids >= 0], boxes[ids >= 0]) for ids, boxes in each]
        numbers = {track: index for index, track in enumerate(sorted({t for ids, _ in kept for t in ids.tolist()}))}
        sides.append(([np.array([numbers[t] for t in ids.tolist()], int) for ids, _ in kept], [b for _, b in kept]))
    (true_ids, true_boxes), (ids, boxes) = sides
    data = {
        "gt_ids": true_ids,
        "tracker_ids": ids,
        "similarity_scores": [ious(one, other) for one, other in zip(true_boxes, boxes, strict=True)],
        "num_gt_ids": len({t for each in true_ids for t in each.tolist()}),
        "num_tracker_ids": len({t for each in ids for t in each.tolist()}),
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, ids)),
    }
    hota = HOTA().eval_sequence(data)["HOTA"]
    return {"HOTA": float(np.mean(hota)), "IDF1": float(Identity({"PRINT_CONFIG": False}).eval_sequence(data)["IDF1"])}


def ious(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """(n, 4) and (m, 4) boxes -> (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2).astype(np.float64)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)


def pictures_on_persons(table: Path, true: Tracks) -> tuple[float, float]:
    """Share of the pictures that show a person, and of those that show their track's person."""
    shown: dict[str, list[int]] = defaultdict(list)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            left, top, width, height = (float(side) for side in row["box"].split(","))
            ids, boxes = true.get(int(row["frame"]), (np.empty(0, np.int64), np.empty((0, 4), np.float32)))
            box = np.array([[left, top, left + width, top + height]], np.float32)
            over = ious(box, boxes)[0]
            shown[row["label"]].append(int(ids[over.argmax()]) if over.max(initial=0) >= FOUND else -1)
    every = sum(map(len, shown.values()))
    on_person = sum(person >= 0 for persons in shown.values() for person in persons)
    pure = sum(
        max((count for person, count in Counter(persons).items() if person >= 0), default=0)
        for persons in shown.values()
    )
    return on_person / max(every, 1), pure / max(every, 1)


def speed() -> Iterator[Row]:
    """Decoding, tracking and choosing pictures at 640x480 with five persons in view: 200 frames a second, and memory
    that does not grow with the length.
    """
    name, seconds = "ingest of 640x480 without the detector", 60
    frames, limit = seconds * FPS, seconds * FPS / 200
    taken, counts = in_own_process(_timed_ingest, seconds)
    right = counts.frames == frames and counts.tracks >= PEOPLE
    met = right and taken <= limit
    yield Row(f"{name}, {frames:,} frames", taken, "200 a second", limit, limit / taken, 1.0, met, right)
    short, long = (in_own_process(peak_of, partial(_ingesting, length)) for length in (seconds, 4 * seconds))
    ratio = short / long
    yield Row(f"{name}, {4 * seconds} s", long, f"{seconds} s", short, ratio, 0.9, ratio >= 0.9, True, "GiB")


def seconds_an_hour(folder: Path) -> Table:
    """What an hour of video at 25 frames a second takes with each detector, by `_TIMED` frames of a camera.

    torchvision's have random weights: they find other boxes, in the same time.
    """
    starts, rates = read_camera_table(folder / "cameras.csv")
    camera = next(iter(starts))
    (footage,), _ = open_cameras({camera: str(folder / f"{camera}.mp4")}, starts, rates)
    detectors: dict[str, Detector] = {"motion": MotionDetector(FPS)}
    with tempfile.TemporaryDirectory() as weights:
        for name in ("ssdlite320_mobilenet_v3_large", TORCHVISION, "fasterrcnn_resnet50_fpn_v2"):
            file = Path(weights) / f"{name}.pt"
            torch.save(get_model(name, weights=None, weights_backbone=None).state_dict(), file)
            detectors[f"torchvision:{name}"] = TorchvisionDetector(name, file)
    table = Table("detector", "frames a second", "seconds for an hour", "at --fps 5")
    for name, detector in detectors.items():
        seen = filter(None, footage.frames(fps=None, damage=Damage()))
        frames = list(islice(seen, _TIMED if name == "motion" else _TIMED // 10))
        taken = timed(lambda frames=frames, detector=detector: [detector(frame) for frame in frames])[0] / len(frames)
        table.add_row(name, f"{1 / taken:.3g}", f"{taken * 3600 * FPS:,.0f}", f"{taken * 3600 * 5:,.0f}")
    return table


def _timed_ingest(seconds: int) -> tuple[float, Counts]:
    return timed(_ingesting(seconds))


def _ingesting(seconds: int) -> Callable[[], Counts]:
    """Film and detect; what is left is the work."""
    folder = Path(tempfile.mkdtemp())
    rows = _film(folder / "a.mp4", seconds)
    (footage,), _ = open_cameras({"a": str(folder / "a.mp4")}, {}, {})

    def work() -> Counts:
        try:
            return ingest_camera(folder, Plan(footage, GivenDetections(rows), OverlapTracker(FPS)))
        finally:
            shutil.rmtree(folder)

    return work


def _film(path: Path, seconds: int) -> list[Any]:
    """A video of `PEOPLE` blocks that cross the view again and again; returns their boxes."""
    import av

    rng = np.random.default_rng(0)
    scene = rng.integers(60, 200, (24, 32, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    looks = [rng.integers(0, 255, (16, 6, 3), np.uint8).repeat(10, 0).repeat(10, 1) for _ in range(PEOPLE)]
    rows = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.options = 640, 480, "yuv420p", {"preset": "veryfast"}
        for number in range(seconds * FPS):
            image = scene.copy()
            for person, look in enumerate(looks):
                left, top = (130 * person + (person + 2) * number) % 560, 20 + 70 * person
                image[top : top + 160, left : left + 60] = look
                rows.append((number + 1, -1, left, top, left + 60, top + 160, 1.0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return rows


if __name__ == "__main__":
    typer.run(main)
