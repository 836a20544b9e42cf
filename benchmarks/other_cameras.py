"""How CCAFL does where other people's cameras differ from Market-1501's: a row for each of several synthetic worlds.

`python -m benchmarks.other_cameras --out DIR`
"""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import typer

from ccafl.ablation import ablate
from ccafl.data.records import Record
from ccafl.data.source import read_source
from ccafl.files import write_text
from ccafl.pipeline import Results, choose_config
from ccafl.run_folder import RunFolder
from ccafl.synthetic.write import synthesize

SEED = 0  # of training
SIZE = (64, 32)
WORLDS: dict[str, dict[str, Any]] = {
    "usual": {"seed": 1, "persons": 150, "cameras": 10, "images": 3},
    "pairs": {"seed": 2, "persons": 450, "cameras": 10, "images": 3, "visits": "pairs"},
    "chain": {"seed": 3, "persons": 405, "cameras": 10, "images": 3, "visits": "chain"},
    "apart": {"seed": 4, "persons": 234, "cameras": 10, "images": 3, "visits": "apart"},
    "twenty": {"seed": 5, "persons": 97, "cameras": 20, "images": 3},
    "uneven": {"seed": 6, "persons": 180, "cameras": 10, "images": 3, "visits": "uneven"},
    "one_image": {"seed": 7, "persons": 150, "cameras": 10, "images": 1},
    "ten_labels": {"seed": 8, "persons": 64, "cameras": 8, "images": 4, "test_fraction": 0.75},
    "half": {"seed": 9, "persons": 240, "cameras": 6, "images": 3, "visits": "half"},
}
HEAD = (
    "| world | cameras | labels a camera | persons | queries | true links % | `icdl` mAP | `text` mAP | `ccafl` mAP "
    "| association F1 | precision | recall | estimated precision |"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a world holds; all but ``queries`` of its training part."""

    cameras: int
    labels: tuple[int, int]  # fewest and most in a camera
    persons: int
    queries: int
    links: float  # share of the pairs of labels from different cameras that are one person


def main(
    out: Annotated[Path, typer.Option(help="Folder for the runs and table.md; finished runs are kept.")],
    worlds: Annotated[str, typer.Option(help=f"Some of {','.join(WORLDS)}.")] = ",".join(WORLDS),
    rows: Annotated[str, typer.Option(help="Rows of the ablation.")] = "icdl,text,ccafl",
    config: Annotated[str, typer.Option(help="Name of a shipped configuration, or a YAML file.")] = "own",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a setting, as in ccafl ablate.")] = None,
    told: Annotated[bool, typer.Option(help="Tell which cameras share persons: OUT/WORLD-told.")] = False,
    drawn: Annotated[Path | None, typer.Option(help="Folder of the worlds, drawn if missing; OUT/worlds.")] = None,
) -> None:
    """Train the rows on each world and write a table of all worlds whose rows are finished in OUT."""
    chosen = worlds.split(",")
    unknown = [name for name in chosen if name not in WORLDS]
    if unknown:
        raise typer.BadParameter(f"unknown world {unknown[0]}; choose from {', '.join(WORLDS)}")
    drawn = drawn or out / "worlds"
    size = f"model.image_size=[{SIZE[0]},{SIZE[1]}]"
    command = shlex.join(["python", "-m", "benchmarks.other_cameras", *sys.argv[1:]])
    for name in chosen:
        world = draw(name, drawn / name)
        known = [f"data.topology={tell(world, out / f'{name}.csv')}"] if told else []
        trained, _ = choose_config(config, [size, *known, *(settings or [])], world, camera_statistics=False)
        runs = out / (f"{name}-told" if told else name)
        ablate(trained, world, runs, seeds=[SEED], command=command, only=rows.split(","))
        write_text(out / "table.md", table(drawn, out))


def draw(name: str, folder: Path) -> Path:
    """Draw a world unless it is there already; returns its folder."""
    if not (folder / "manifest.csv").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        synthesize(folder, **WORLDS[name], size=SIZE)
    return folder


def tell(world: Path, path: Path) -> Path:
    """Write which cameras share persons in training, and that no others do, as a topology; returns its path."""
    cameras_of: dict[str | None, set[str]] = {}
    for record in read_source(world).train:
        cameras_of.setdefault(record.person, set()).add(record.camera)
    sharing = sorted({pair for cameras in cameras_of.values() for pair in combinations(sorted(cameras), 2)})
    lines = ["camera_a,camera_b,shared", *(f"{one},{other},yes" for one, other in sharing), "*,*,never", ""]
    write_text(path, "\n".join(lines))
    return path


def table(drawn: Path, out: Path) -> str:
    """The Markdown table of all worlds in ``drawn`` of which ``out`` holds finished runs."""
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for name in WORLDS:
        for place, title in ((name, name), (f"{name}-told", f"{name}, cameras told")):
            runs = {run.name: RunFolder(run).read_results() for run in sorted((out / place / f"seed-{SEED}").glob("*"))}
            finished = {row: results for row, results in runs.items() if results is not None}
            if finished:
                source = read_source(drawn / name)
                lines.append(line(title, facts_of(source.train, len(source.query)), finished))
    return "\n".join([*lines, ""])


def facts_of(training: list[Record], queries: int) -> Facts:
    """Count labels, persons and the pairs of labels to be joined."""
    person_of = {(record.camera, record.label): record.person for record in training}
    labels = Counter(camera for camera, _ in person_of)
    persons = Counter(person_of.values())
    candidates = _pairs(len(person_of)) - sum(map(_pairs, labels.values()))
    links = sum(map(_pairs, persons.values())) / candidates
    return Facts(len(labels), (min(labels.values()), max(labels.values())), len(persons), queries, links)


def line(name: str, facts: Facts, rows: Mapping[str, Results]) -> str:
    """The world's line of the table; the association is that of row ``ccafl``."""
    association: Results = rows.get("ccafl", {}).get("association") or {}
    cells = [
        name,
        str(facts.cameras),
        f"{facts.labels[0]} to {facts.labels[1]}",
        str(facts.persons),
        str(facts.queries),
        f"{100 * facts.links:.2f}",
        *(_percent(rows.get(row, {}).get("mAP")) for row in ("icdl", "text", "ccafl")),
        *(_percent(association.get(figure)) for figure in ("f1", "precision", "recall", "estimated_precision")),
    ]
    return f"| {' | '.join(cells)} |"


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    typer.run(main)
