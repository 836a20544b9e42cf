"""Tracks in COCO's JSON, with a track for each box: ``track_id`` or ``instance_id``, or CVAT's attribute ``track_id``.

A frame's number is its ``frame_id`` or ``frame_index``, from 0 or from 1; without one, frames are in the order of their
file names, as in a folder of frames.
"""

from collections.abc import Mapping
from typing import Any

from ccafl.footage.detections import PERSON_NAMES, Row

_FRAME, _TRACK = ("frame_id", "frame_index"), ("track_id", "instance_id")


def coco_rows(content: Mapping[str, Any]) -> list[Row]:
    """The boxes of persons that have a track; of all classes, where none is called a person.

    Raises:
        KeyError, TypeError, ValueError: it is not of that form, or is of several videos.
    """
    images = content["images"]
    if len({image.get("video_id") for image in images}) > 1:
        raise ValueError("several videos; export each camera alone")
    numbers = _frame_numbers(images)
    names = {category["id"]: str(category["name"]).lower() for category in content.get("categories", [])}
    persons = {number for number, name in names.items() if name in PERSON_NAMES} or set(names)
    rows = []
    for box in content["annotations"]:
        track = _first(box, _TRACK)
        track = _first(box.get("attributes") or {}, _TRACK) if track is None else track
        if track is None or (names and box["category_id"] not in persons):
            continue
        left, top, width, height = map(float, box["bbox"])
        rows.append((numbers[box["image_id"]], int(track), left, top, left + width, top + height, 1.0))
    if content["annotations"] and not rows:
        raise ValueError("no person has a track_id or instance_id")
    return rows


def _frame_numbers(images: list[Mapping[str, Any]]) -> dict[Any, int]:
    """Of each image by its id, from 1."""
    given = {image["id"]: _first(image, _FRAME) for image in images}
    if all(number is not None for number in given.values()):
        first = 1 if any(int(number) == 0 for number in given.values()) else 0
        return {image: int(number) + first for image, number in given.items()}
    ordered = sorted(images, key=lambda image: str(image["file_name"]))
    return {image["id"]: number for number, image in enumerate(ordered, start=1)}


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)
