"""What answers in `ccafl label` are worth, on synthetic footage, of which everything is known.

`python -m benchmarks.label WORLD SITE...`, with what `ccafl data synthesize WORLD --footage` draws and what `ccafl
ingest` makes of it, with the names of the world's cameras.
"""

import csv
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.footage import FOUND, ious, true_tracks
from ccafl.data.manifest import table_of
from ccafl.evaluation.association_quality import association_quality
from ccafl.files import write_text
from ccafl.footage.cameras import open_cameras, read_camera_table
from ccafl.footage.given import read_tracks
from ccafl.labelling.opening import open_session
from ccafl.labelling.session import LabellingSession, Question
from ccafl.provenance import commit, hardware

ANSWERS = (0, 10, 30, 100)

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


def main(
    world: Annotated[Path, typer.Argument(help="Synthetic footage.")],
    sites: Annotated[list[Path], typer.Argument(help="What ccafl ingest made of it.")],
    encoder: Annotated[str, typer.Option(help="What compares the tracks.")] = "clip-synth",
    out: Annotated[Path | None, typer.Option(help="JSON file for the table.")] = None,
) -> None:
    """F1 of the identities within cameras, by number of answers."""
    rows = [row for site in sites for row in by_answers(world, site, encoder)]
    table = Table("site", "answers", "precision", "recall", "F1", "yes", "seconds an answer")
    for row in rows:
        figures = (f"{100 * row[name]:.1f}" for name in ("precision", "recall", "f1"))
        table.add_row(row["site"], str(row["answers"]), *figures, str(row["yes"]), f"{row['seconds']:.2f}")
    Console().print(table)
    if out is not None:
        write_text(out, json.dumps({"commit": commit(), "hardware": hardware(), "rows": rows}, indent=2) + "\n")


def by_answers(world: Path, site: Path, encoder: str) -> Iterator[dict[str, Any]]:
    """A row for each number of answers, true ones, to the questions of all cameras together, the worthiest first."""
    known = true_persons(world, site)
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(site, Path(folder) / "links.csv", encoder=encoder)
        names = session.images.names
        persons = [(camera, known[camera, label] or label) for camera, label in names]
        number = {person: index for index, person in enumerate(dict.fromkeys(persons))}
        truth = torch.tensor([number[person] for person in persons])
        given, yes, began = 0, 0, time.monotonic()
        for answers in ANSWERS:
            while given < answers and (question := _worthiest(session)) is not None:
                same = bool(truth[question.one] == truth[question.other])
                session.answer(question.one, question.other, "yes" if same else "no")
                given, yes = given + 1, yes + same
            quality = association_quality(session.groups, truth)
            yield {
                "site": site.name,
                "answers": given,
                "precision": quality.precision,
                "recall": quality.recall,
                "f1": quality.f1,
                "yes": yes,
                "seconds": (time.monotonic() - began) / max(given, 1),
            }


def _worthiest(session: LabellingSession) -> Question | None:
    asked = [session.question(camera) for camera in range(len(session.images.camera_names))]
    return max((question for question in asked if question), key=lambda question: question.worth, default=None)


if __name__ == "__main__":
    typer.run(main)
