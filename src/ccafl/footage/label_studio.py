"""Tracks in Label Studio's JSON (its tag VideoRectangle): key frames, between which a box moves evenly."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ccafl.footage.detections import PERSON_NAMES, Row


def label_studio_rows(content: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The boxes of persons, in shares of the frame's width and height; of all labels, where none is called a person.

    Tracks are numbered from 1, in the order of the file.

    Raises:
        KeyError, TypeError, ValueError: it is not of that form, or has several videos or annotations.
    """
    if len(content) != 1:
        raise ValueError(f"{len(content)} videos; export each camera alone")
    made = [annotation for annotation in content[0]["annotations"] if not annotation.get("was_cancelled")]
    if len(made) != 1:
        raise ValueError(f"{len(made)} annotations of the video; export one")
    values = [region["value"] for region in made[0]["result"] if region.get("type") == "videorectangle"]
    if not values:
        raise ValueError("no VideoRectangle")
    persons = [value for value in values if any(label.lower() in PERSON_NAMES for label in value.get("labels", ()))]
    return [row for track, value in enumerate(persons or values, start=1) for row in _boxes(track, value)]


def _boxes(track: int, value: Mapping[str, Any]) -> Iterator[Row]:
    """A track's box in each frame: a key frame that is not enabled is the last before a gap."""
    keys = sorted(value["sequence"], key=lambda key: int(key["frame"]))
    if any(key.get("rotation") for key in keys):
        raise ValueError("a rotated box")
    if keys and keys[-1]["enabled"]:  # it stays where it is until the end
        keys.append(keys[-1] | {"frame": max(int(value["framesCount"]), int(keys[-1]["frame"])) + 1})
    elif keys:
        keys.append(keys[-1] | {"frame": int(keys[-1]["frame"]) + 1})
    for key, following in pairwise(keys):
        first, end = int(key["frame"]), int(following["frame"])
        for frame in range(first, end if key["enabled"] else first + 1):
            share = (frame - first) / (end - first)
            left, top, width, height = (
                (float(key[side]) * (1 - share) + float(following[side]) * share) / 100
                for side in ("x", "y", "width", "height")
            )
            yield frame, track, left, top, left + width, top + height, 1.0
