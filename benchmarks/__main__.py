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

from benchmarks import evaluation, method, pictures, processes, scaling, start, steps
from benchmarks.measure import Comparison, Limit, Row, compared, limited
from benchmarks.opponents import Opponents, on_the_cpu
from ccafl.ablation import commit, hardware

console = Console()
Works = dict[str, Callable[[Opponents], Iterable[Comparison | Limit | Row]]]

WORKS: Works = {
    "memories": method.memories,
    "association": method.association,
    "association-memory": method.association_memory,
    "association-large": lambda _: [method.large_association()],
    "ranking": evaluation.ranking,
    "ranking-large": lambda _: [evaluation.large_ranking()],
    "reranking": evaluation.reranking,
    "reranking-large": lambda _: [evaluation.large_reranking()],
    "adversarial": method.adversarial,
    "loading": pictures.loading,
    "extraction": pictures.extraction,
    "steps": lambda _: steps.tiny_steps(),
    "steps-full": lambda _: steps.full_steps(),
    "prompts": method.prompts,
    "processes": lambda _: processes.processes(),
    "start": lambda _: start.start(),
}


def main(
    opponents: Annotated[
        Path | None,
        typer.Option(envvar="CCAFL_OPPONENTS", help="Folder of their checkouts, as docs/performance.md says."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as JSON, costs by size as PNG beside it.")] = None,
    only: Annotated[str, typer.Option(help=f"Some works, such as memories,ranking, of {', '.join(WORKS)}.")] = "",
    threads: Annotated[int, typer.Option(help="Torch's threads.")] = 2,
) -> None:
    """Both sides on the same inputs, compared before they are timed; ratios with the bars they should reach."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(threads)
    on_the_cpu()
    chosen = only.split(",") if only else list(WORKS)
    unknown = sorted(set(chosen) - set(WORKS))
    if unknown:
        raise typer.BadParameter(f"unknown work {unknown[0]}; choose of {', '.join(WORKS)}")
    about = {"commit": commit(), "hardware": hardware(), "torch": torch.__version__}  # of the code as it begins
    rows: list[Row] = []
    for name in chosen:
        for row in _rows(WORKS[name](Opponents(opponents))):
            rows.append(row)
            console.print(_line(row), highlight=False)
            _write(out, about, rows, [])  # what is stopped keeps what it has
    grown = scaling.growths() if not only else []
    for growth in grown:
        console.print(f"{growth.work}: seconds grow as size to the {growth.slope:.2f}", highlight=False)
    console.print(_table(rows))
    _write(out, about, rows, grown)
    if out is not None and grown:
        scaling.plot(grown, out.with_suffix(".png"))


def _rows(works: Iterable[Comparison | Limit | Row]) -> Iterator[Row]:
    for work in works:
        if isinstance(work, Comparison):
            yield compared(work)
        elif isinstance(work, Limit):
            yield from limited(work)
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


def _write(out: Path | None, about: dict[str, str], rows: list[Row], grown: list[scaling.Growth]) -> None:
    if out is not None:
        record = about | {"rows": [asdict(row) for row in rows], "growth": [asdict(growth) for growth in grown]}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
