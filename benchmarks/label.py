"""What answers in `ccafl label` are worth, on synthetic footage, of which everything is known.

`python -m benchmarks.label WORLD SITE...`, with what `ccafl data synthesize WORLD --footage` draws and what `ccafl ingest`
makes of it, with the names of the world's cameras.
"""

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.footage import FOUND, ious, true_tracks
from ccafl.ablation import commit, hardware
from ccafl.data.manifest import table_of
from ccafl.evaluation.association_quality import association_quality
from ccafl.files import write_text
from ccafl.footage.cameras import open_cameras, read_camera_table
from ccafl.footage.given import read_tracks

Label = tuple[str, str]


def true_persons(world: Path, site: Path) -> dict[Label, str]:
    """The person whom most of each label's pictures show, by camera and label; "" for nobody."""
    starts, rates = read_camera_table(world / "cameras.csv")
    footage, _ = open_cameras({camera: str(world / f"{camera}.mp4") for camera in starts}, starts, rates)
    boxes = {each.camera: true_tracks(each, read_tracks(world / f"{each.camera}.txt")) for each in footage}
    with (world / "persons.csv").open(encoding="utf-8", newline="") as file:
        persons = {(row["camera"], int(row["track"])): row["person"] for row in csv.DictReader(file)}
    shown: dict[Label, Counter[str]] = defaultdict(Counter)
    with table_of(site).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            left, top, width, height = (float(side) for side in row["box"].split(","))
            box = np.array([[left, top, left + width, top + height]], np.float32)
            nobody = (np.empty(0, np.int64), np.empty((0, 4), np.float32))
            tracks, there = boxes[row["camera"]].get(int(row["frame"]), nobody)
            over = ious(box, there)[0]
            found = over.max(initial=0) >= FOUND
            person = persons[row["camera"], int(tracks[over.argmax()])] if found else ""
            shown[row["camera"], row["label"]][person] += 1
    return {label: counts.most_common(1)[0][0] for label, counts in shown.items()}
