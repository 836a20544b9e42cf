"""`python -m benchmarks`: the table of docs/performance.md."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import checkpoints, evaluation, footage, method, pictures, processes, runs, scaling, start, steps
from benchmarks.measure import Comparison, Limit, Row, check_limit, compare
from benchmarks.opponents import Opponents, disable_cuda
from ccafl.provenance import commit, hardware

console = Console()
Works = dict[str, Callable[[Opponents], Iterable[Comparison | Limit | Row]]]

WORKS: Works = {
    "memories": method.memories,
    "association": method.association,
    "association-memory": method.association_memory,
    "association-large": lambda _: [method.large_association()],
    "association-calibrated": lambda _: [method.large_calibrated_association()],
    "ranking": evaluation.ranking,
    "ranking-large": lambda _: [evaluation.large_ranking()],
    "reranking": evaluation.reranking,
    "reranking-large": lambda _: [evaluation.large_reranking()],
    "adversarial": method.adversarial,
    "loading": pictures.loading,
    "extraction": pictures.extraction,
    "steps": lambda _: steps.small_steps(),
    "steps-full": lambda _: steps.full_steps(),
    "runs": lambda _: runs.runs(),
    "prompts": method.prompts,
    "digests": lambda _: checkpoints.digests(),
    "processes": lambda _: processes.processes(),
    "start": lambda _: start.start(),
    "ingest": lambda _: footage.speed(),
}


def main(
    opponents: Annotated[
        Path | None,
        typer.Option(envvar="CCAFL_OPPONENTS", help="Folder with their checkouts (docs/performance.md)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the table; a PNG of cost by size beside it.")] = None,
    only: Annotated[str, typer.Option(help=f"Run only these, separated by commas: {', '.join(WORKS)}.")] = "",
    threads: Annotated[int, typer.Option(help="Number of threads for torch.")] = 2,
) -> None:
    """Run both sides on the same inputs, compare and then time them, and print ratios with the bars they must reach."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(threads)
    disable_cuda()
    chosen = only.split(",") if only else list(WORKS)
    unknown = sorted(set(chosen) - set(WORKS))
    if unknown:
        raise typer.BadParameter(f"unknown benchmark {unknown[0]}; choose from {', '.join(WORKS)}")
    about = {"commit": commit(), "hardware": hardware(), "torch": torch.__version__}  # recorded at the start
    rows: list[Row] = []
    for name in chosen:
        for row in _rows(WORKS[name](Opponents(opponents))):
            rows.append(row)
            console.print(_line(row), highlight=False)
            _write(out, about, rows, [])  # an interrupted run keeps its rows
    growths = scaling.growths() if not only else []
    for growth in growths:
        console.print(f"{growth.work}: seconds grow as size to the power {growth.slope:.2f}", highlight=False)
    console.print(_table(rows))
    _write(out, about, rows, growths)
    if out is not None and growths:
        scaling.plot(growths, out.with_suffix(".png"))
    if out is not None and any(row.parts for row in rows):
        runs.plot(rows, out.with_name(f"{out.stem}-runs.png"))


def _rows(works: Iterable[Comparison | Limit | Row]) -> Iterator[Row]:
    for work in works:
        if isinstance(work, Comparison):
            yield compare(work)
        elif isinstance(work, Limit):
            yield from check_limit(work)
        else:
            yield work


def _line(row: Row) -> str:
    verdict = "met" if row.met else "MISSED" if row.equal else "NOT EQUAL"
    return f"{row.ratio:8.2f} x (bar {row.bar:.2f}) {verdict:9} {row.work} / {row.opponent}"


def _table(rows: list[Row]) -> Table:
    table = Table("work", "ours", "against", "theirs", "ratio", "bar", "")
    for row in rows:
        verdict = "met" if row.met else "missed" if row.equal else "not equal"
        figures = (f"{value:.3g} {row.unit}" for value in (row.ours_s, row.opponent_s))
        ours, theirs = figures
        table.add_row(row.work, ours, row.opponent, theirs, f"{row.ratio:.2f}", f"{row.bar:.2f}", verdict)
    return table


def _write(out: Path | None, about: dict[str, str], rows: list[Row], growths: list[scaling.Growth]) -> None:
    if out is not None:
        record = about | {"rows": [asdict(row) for row in rows], "growth": [asdict(growth) for growth in growths]}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
