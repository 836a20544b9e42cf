"""What ``ccafl ingest`` does; `ccafl.cli` only calls it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ccafl.data.records import parse_time_at
from ccafl.errors import InputError
from ccafl.files import digest_of, disk_errors
from ccafl.footage.cameras import by_camera, open_cameras, read_camera_table
from ccafl.footage.crops import CROPS
from ccafl.footage.detections import Detector
from ccafl.footage.frames import Footage
from ccafl.footage.given import read_detections, read_tracks
from ccafl.footage.ingest import Counts, Plan, Region, finished, ingest_camera, write_manifest
from ccafl.footage.tracking import OverlapTracker
from ccafl.terminal import bar, note

DETECTORS = "auto, motion, torchvision[:NAME[:FILE]], onnx:[LAYOUT:]FILE"
_VERSION = 2  # of what is written; raised when the same footage gives other pictures

DetectorMaker = Callable[[float], Detector]
"""Makes the detector of a camera, from the frames a second that it will see."""


def ingest(
    footage: Sequence[str],
    out: Path,
    *,
    detector: str | DetectorMaker = "auto",
    detections: Sequence[str] = (),
    tracks: Sequence[str] = (),
    starts: Sequence[str] = (),
    cameras: Path | None = None,
    fps: float | None = None,
    regions: Sequence[str] = (),
    crops: int = CROPS,
) -> dict[str, Counts]:
    """Turn footage into pictures with camera, label (the track) and time: ``out/<camera>/<track>/`` and a manifest.

    A camera that is finished in ``out`` is kept; others that it holds stay in the manifest.

    Args:
        footage: ``CAMERA=PATH`` of each camera: a video, a folder of frames or of videos, or a pattern such as
            ``hall-*.mp4``.
        out: the data set's folder.
        detector: one of `DETECTORS`, or what makes a camera's `Detector`, given its frames a second. ``auto`` is
            torchvision where its weights have been downloaded, else motion.
        detections: ``CAMERA=FILE`` in MOTChallenge's form, in place of the detector.
        tracks: ``CAMERA=FILE``, of MOTChallenge, CVAT, COCO or Label Studio, in place of detector and tracker.
        starts: ``CAMERA=TIME``, when a camera's footage begins.
        cameras: table of camera, start, fps.
        fps: frames a second to look at; by default all.
        regions: ``CAMERA=X,Y,WIDTH,HEIGHT`` or ``CAMERA=X,Y;X,Y;X,Y...``: where persons count by their feet.
        crops: pictures kept of a track, at most.

    Returns:
        what became of each camera's footage.

    Raises:
        InputError: something given cannot be used; nothing is written unless the disk is full.
    """
    paths = by_camera(footage, "VIDEO")
    named = {
        what: _known(by_camera(given, what), paths)
        for what, given in (("DETECTIONS", detections), ("TRACKS", tracks), ("TIME", starts), ("REGION", regions))
    }
    tabled, rates = read_camera_table(cameras) if cameras is not None else ({}, {})
    begins = tabled | {camera: parse_time_at(text, f"{camera}={text}") for camera, text in named["TIME"].items()}
    if fps is not None and not fps > 0:
        raise InputError(f"--fps {fps:g}: is not a rate; give the frames a second to look at, such as 5")
    opened, lines = open_cameras(paths, begins, rates)
    if detector == "auto":
        unseen = [camera for camera in paths if camera not in named["TRACKS"] | named["DETECTIONS"]]
        detector, said = _at_hand() if unseen else ("motion", "")
        lines += [said] if said else []
    make, said = _detector_maker(detector)
    plans = [_plan(footage, begins, make, said, named, fps=fps, crops=crops) for footage in opened]
    done = {plan.footage.camera: finished(out, plan.footage.camera, plan.settings) for plan in plans}
    with disk_errors(out, "choose another output"):
        out.mkdir(parents=True, exist_ok=True)
    note(*lines)
    left = [plan for plan in plans if done[plan.footage.camera] is None]
    with bar("frames", sum(plan.footage.expected_frames for plan in left)) as progress:
        for plan in left:
            done[plan.footage.camera] = ingest_camera(out, plan, progress.advance)
    write_manifest(out)
    counts = {camera: count for camera, count in done.items() if count is not None}
    for warning in _warnings(counts):
        note(warning)
    return counts


def parse_region(text: str, where: str) -> Region:
    """``x,y,width,height``, or three corners or more: ``x,y;x,y;x,y``.

    Raises:
        InputError: it is neither.
    """
    try:
        corners = np.array([[float(value) for value in corner.split(",")] for corner in text.split(";")], np.float32)
    except ValueError:
        corners = np.empty(0, np.float32)
    if corners.shape == (1, 4):
        left, top, width, height = corners[0]
        right, bottom = left + width, top + height
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise InputError(f"{where}: is not a region; write x,y,width,height or corners x,y;x,y;x,y in pixels")
    return corners


def _known(given: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    for camera, value in given.items():
        if camera not in paths:
            raise InputError(f"{camera}={value}: no footage of camera {camera} is given; correct the name")
    return dict(given)


def _plan(
    footage: Footage,
    begins: Mapping[str, datetime],
    make: DetectorMaker,
    said: str,
    named: Mapping[str, Mapping[str, str]],
    *,
    fps: float | None,
    crops: int,
) -> Plan:
    """How a camera is ingested, and what its outcome depends on."""
    camera = footage.camera
    rate = min(fps or np.inf, float(np.mean([source.rate for source in footage.sources])))
    settings: dict[str, Any] = {
        "version": _VERSION,
        "footage": [source.fingerprint for source in footage.sources],
        "start": begins[camera].isoformat() if camera in begins else None,
        "fps": fps,
        "region": named["REGION"].get(camera),
        "crops": crops,
    }
    region = settings["region"] and parse_region(settings["region"], f"{camera}={settings['region']}")
    if camera in named["TRACKS"] and camera in named["DETECTIONS"]:
        raise InputError(f"{camera}: has both tracks and detections; give one of the two")
    if camera in named["TRACKS"]:
        given = read_tracks(Path(named["TRACKS"][camera]))
        settings["tracks"] = digest_of(Path(named["TRACKS"][camera]))
        return Plan(footage, given, given, settings, fps, region, crops)
    if camera in named["DETECTIONS"]:
        found: Detector = read_detections(Path(named["DETECTIONS"][camera]))
        settings["detections"] = digest_of(Path(named["DETECTIONS"][camera]))
    else:
        found, settings["detector"] = make(rate), said
    return Plan(footage, found, OverlapTracker(rate), settings, fps, region, crops)


def _at_hand() -> tuple[str, str]:
    """The best detector that needs no download, and a line that says so."""
    from ccafl.footage.torchvision_detector import DEFAULT, weights_at_hand

    if weights_at_hand():
        return "torchvision", f"detector: torchvision's {DEFAULT}"
    return "motion", "detector: motion; torchvision finds people better (--detector torchvision downloads 74 MB once)"


def _detector_maker(detector: str | DetectorMaker) -> tuple[DetectorMaker, str]:
    """What makes a camera's detector, and its name; models are loaded once for all cameras."""
    if not isinstance(detector, str):
        return detector, getattr(detector, "__qualname__", type(detector).__qualname__)
    kind, _, rest = detector.partition(":")
    if kind == "motion" and not rest:
        from ccafl.footage.motion import MotionDetector

        return MotionDetector, detector
    if kind == "torchvision":
        from ccafl.footage.torchvision_detector import DEFAULT, TorchvisionDetector

        name, _, weights = rest.partition(":")
        model: Detector = TorchvisionDetector(name or DEFAULT, Path(weights) if weights else None)
        return (lambda _: model), f"torchvision:{name or DEFAULT}" + (f":{digest_of(Path(weights))}" if weights else "")
    if kind == "onnx" and rest:
        from ccafl.footage.onnx_detector import LAYOUTS, OnnxDetector

        layout, _, file = rest.partition(":")
        if layout not in LAYOUTS or not file:
            layout, file = "", rest
        found = OnnxDetector(Path(file), layout or None)
        return (lambda _: found), f"onnx:{found.layout}:{digest_of(Path(file))}"
    raise InputError(f"--detector {detector}: no such detector; use one of {DETECTORS}")


def _warnings(counts: Mapping[str, Counts]) -> list[str]:
    """A line for each thing that someone should know about."""
    lines = []
    for camera, count in counts.items():
        if count.damaged:
            lines.append(f"{camera}: {count.damaged} damaged frames were left out")
        if count.cut_short:
            lines.append(f"{camera}: {count.cut_short} files end before they should; are they complete?")
        if not count.tracks:
            lines.append(f"{camera}: nobody was found in {count.frames:,} frames")
    return lines
