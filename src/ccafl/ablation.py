"""What each part of CCAFL is worth: training on the same data with and without it, for several seeds."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ccafl.config import Config, changed, load_config, merged
from ccafl.errors import InputError
from ccafl.files import disk_errors, lock, write_json, write_text
from ccafl.model.network import has_text_tower, resolved
from ccafl.own import with_prompts
from ccafl.pipeline import Results, begin_as, train_run
from ccafl.provenance import commit, hardware
from ccafl.run_folder import RunFolder
from ccafl.terminal import say
from ccafl.training.schedule import shared_epochs

PLUS = "ccafl-plus"

FIGURES = (
    "mAP",
    "rank1",
    "association_precision",
    "association_estimated_precision",
    "association_recall",
    "association_f1",
    "camera_probe",
    "own_camera_neighbours",
    "same_person_mass_before",
    "same_person_mass",
    "seconds",
)

_FIRST_LOSS_ONLY = {"intra_camera": {"centre_weight": 1.0}}
_NO_TEXT = {"intra_camera": {"text": False}, "inter_camera": {"text_from": None}}


def rows_of(config: Config) -> dict[str, Config]:
    """The rows of the table: settings by name, those of ``config`` except where the row's name says otherwise.

    A row that would train exactly like another one is left out.

    - supervised: the true persons instead of the association, without ICAL
    - supervised_ical: the same with ``config``'s ICAL, the upper bound with everything that CCAFL has
    - intra_l1: intra-camera learning with L_intra1 alone
    - icdl: all of intra-camera discriminative learning (L_intra2 as well), the lower bound
    - associated: inter-camera learning as well, with the association and the prototype memory
    - text: the text losses as well; the paper's if ``config`` has none
    - ccafl: ``config`` itself, which adds ICAL
    - without_icdl, without_text: CCAFL with L_intra1 alone, and without text losses
    - ccafl_paper: the recipe that ``config.paper`` names, with ``config``'s network, batch, learning rate and steps
    - precise_ics: the peer method
    - ccafl_plus: ``config`` with what goes beyond the paper
    - supervised_plus: the true persons instead of the association, otherwise as ccafl_plus

    Raises:
        InputError: the mode is not ``ccafl``, or there is no configuration ``config.paper``.
    """
    if config.mode != "ccafl":
        raise InputError(f"mode is {config.mode}: an ablation removes parts of CCAFL; set mode=ccafl")
    textless, supervised, plus = _stage2(config, **_NO_TEXT), _mode(config, "supervised"), load_plus(config)
    rows = {
        "supervised": _without_ical(supervised),
        "supervised_ical": supervised,
        "intra_l1": _mode(_stage2(textless, **_FIRST_LOSS_ONLY), "intra"),
        "icdl": _mode(textless, "intra"),
        "associated": _without_ical(textless),
        **({"text": _without_ical(_with_text(config))} if has_text_tower(config.model) else {}),
        "ccafl": config,
        "without_icdl": _stage2(config, **_FIRST_LOSS_ONLY),
        "without_text": textless,
        **({} if config.paper is None else {"ccafl_paper": _as_in_the_paper(config, config.paper)}),
        "precise_ics": _mode(_stage2(textless, **_FIRST_LOSS_ONLY), "precise_ics"),
        "ccafl_plus": plus,
        "supervised_plus": _mode(plus, "supervised"),
    }
    different: dict[str, Config] = {"ccafl": config}
    for name, row in rows.items():
        if not any(shared_epochs(row, other) == row.stage2.epochs for other in different.values()):
            different[name] = row
    return {name: row for name, row in rows.items() if name in different}


def ladder_of(config: Config) -> list[str]:
    """The rows in which each adds one part to the row before it; ``text`` is one if ``config`` has text losses."""
    text = ["text"] if config.stage2.text_losses else []
    return ["intra_l1", "icdl", "associated", *text, "ccafl", "ccafl_plus"]


def load_plus(config: Config) -> Config:
    """``config`` with what goes beyond the paper on top."""
    return merged(config, PLUS)


def _stage2(config: Config, **settings: Any) -> Config:
    return changed(config, {"stage2": settings})


def _mode(config: Config, mode: str) -> Config:
    return changed(config, {"mode": mode})


def _without_ical(config: Config) -> Config:
    return _stage2(config, adversarial={"first_epoch": config.stage2.epochs, "last_epoch": config.stage2.epochs})


def _with_text(config: Config) -> Config:
    """``config`` with its text losses or, if it has none, with both from the beginning, and prompts for them."""
    if config.stage2.text_losses:
        return config
    return with_prompts(
        _stage2(config, intra_camera={"text": True}, inter_camera={"text_from": config.stage2.intra_camera.epochs})
    )


def _as_in_the_paper(config: Config, recipe: str) -> Config:
    """``config`` with a recipe's draw, association, losses and, as shares of the epochs, its phases and milestones.

    Its text losses are left out if the text tower is random: they would teach noise.
    """
    paper, epochs = load_config(recipe).stage2, config.stage2.epochs

    def at(epoch: int) -> int:
        return round(epoch * epochs / paper.epochs)

    text_from, ical = paper.inter_camera.text_from, paper.adversarial
    row = _stage2(
        config,
        draw=paper.draw,
        milestones=[at(epoch) for epoch in paper.milestones],
        intra_camera=paper.intra_camera.model_dump() | {"epochs": max(1, at(paper.intra_camera.epochs))},
        association=paper.association.model_dump(),
        inter_camera=paper.inter_camera.model_dump() | {"text_from": None if text_from is None else at(text_from)},
        adversarial=ical.model_dump() | {"first_epoch": at(ical.first_epoch), "last_epoch": at(ical.last_epoch)},
    )
    trained_text = config.model.weights is not None and has_text_tower(config.model)
    return row if trained_text else _stage2(row, **_NO_TEXT)


def ablate(
    config: Config,
    data: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    command: str,
    only: Sequence[str] | None = None,
    kind: str | None = None,
    outside: bool = False,
    skip_unreadable: bool = False,
) -> Results:
    """Train every row with every seed, in ``out/seed-S/ROW``, and write the table after each run.

    Finished runs are not trained again. Where two rows of a seed begin alike, the second continues from a state that
    the first one kept, and ends exactly as if it had been trained alone.

    Args:
        config: CCAFL's settings for this data.
        data, kind, outside, skip_unreadable: as for `train_run`.
        out: a new folder, or that of an unfinished ablation.
        seeds: every row is trained with each.
        command: the command line, for the record.
        only: names of rows; None for all.

    Returns:
        The content of ``out/ablation.json``: commit, hardware, command, seeds, ladder (`ladder_of`), camera_chance,
        steps, and rows, which holds for each row every figure of `FIGURES` as a list with one value per seed.

    Raises:
        InputError: a row is unknown, or as `train_run` does.
    """
    rows = _chosen(rows_of(config), only)
    record: Results = {"commit": commit(), "hardware": hardware(), "command": command, "seeds": list(seeds)}
    record["ladder"] = ladder_of(config)
    results: dict[str, list[Results]] = {name: [] for name in rows}
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with lock(out / "lock"):
        for seed in seeds:
            seeded = {name: row.model_copy(update={"seed": seed}) for name, row in rows.items()}
            plan = fork_plan(seeded)
            for number, (name, row) in enumerate(seeded.items(), start=1):
                folder = out / f"seed-{seed}"
                finished = _finished(folder / name, row)
                if finished is None:
                    say(f"seed {seed}, row {number} of {len(seeded)}: {name}")
                    parent, epoch = plan[name]
                    keep = sorted({epoch for other, epoch in plan.values() if other == name})
                    if parent is not None:
                        begin_as(folder / parent, epoch, folder / name, row)
                    finished = train_run(
                        row,
                        data,
                        folder / name,
                        kind=kind,
                        outside=outside,
                        resume=True,
                        skip_unreadable=skip_unreadable,
                        keep=keep,
                    )
                results[name].append(finished)
                table = _table(record, results)
                write_json(out / "ablation.json", table)
                write_text(out / "ablation.md", markdown(table))
    return table


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` as numbers.

    Raises:
        InputError: the text is not a list of different whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text}: is not a list of different whole numbers; give, for example, 0,1,2")
    return [int(part) for part in parts]


def fork_plan(rows: Mapping[str, Config]) -> dict[str, tuple[str | None, int]]:
    """For each row, an earlier row that begins alike and for how many epochs, or (None, 0)."""
    plan: dict[str, tuple[str | None, int]] = {}
    for name, row in rows.items():
        shared = {other: shared_epochs(rows[other], row) for other in plan}
        best = max(shared, key=lambda other: shared[other], default=None)
        plan[name] = (best, shared[best]) if best is not None and shared[best] else (None, 0)
    return plan


def _chosen(rows: dict[str, Config], only: Sequence[str] | None) -> dict[str, Config]:
    unknown = [name for name in only or [] if name not in rows]
    if unknown:
        raise InputError(f"--rows {unknown[0]}: no such row; choose from {', '.join(rows)}")
    return rows if only is None else {name: row for name, row in rows.items() if name in only}


def _finished(run: Path, row: Config) -> Results | None:
    """The results of a finished run with these settings; None if it has not finished."""
    folder = RunFolder(run)
    results: Results | None = folder.read_results()
    if results is not None and folder.differences(row.model_copy(update={"model": resolved(row.model)})):
        raise InputError(f"{run}: was trained with other settings; remove it, or give another --out")
    return results


def _table(record: Results, results: Mapping[str, Sequence[Results]]) -> Results:
    done = {name: runs for name, runs in results.items() if runs}
    chance = [run["camera_chance"] for runs in done.values() for run in runs if "camera_chance" in run]
    rows = {name: {figure: _values(runs, figure) for figure in FIGURES} for name, runs in done.items()}
    steps = sorted({run["steps"] for runs in done.values() for run in runs if "steps" in run})
    return record | {"camera_chance": chance[0] if chance else None, "steps": steps, "rows": rows}


def _values(runs: Sequence[Results], figure: str) -> list[float]:
    """One per seed; empty if a run does not have the figure."""
    found = [_value(run, figure) for run in runs]
    values = [value for value in found if value is not None]
    return values if len(values) == len(found) else []


def _value(run: Results, figure: str) -> float | None:
    if figure.startswith("association_"):
        quality = run.get("association") if run.get("mode") != "supervised" else None
        return None if quality is None else quality.get(figure.removeprefix("association_"))
    value: float | None = run.get(figure)
    return value


_COLUMNS: dict[str, Callable[[Mapping[str, list[float]]], str]] = {
    "mAP": lambda row: _percent(row["mAP"]),
    "rank-1": lambda row: _percent(row["rank1"]),
    "association precision": lambda row: _percent(row["association_precision"]),
    "estimated": lambda row: _percent(row["association_estimated_precision"]),
    "recall": lambda row: _percent(row["association_recall"]),
    "F1": lambda row: _percent(row["association_f1"]),
    "camera probe": lambda row: _percent(row["camera_probe"]),
    "own-camera neighbours": lambda row: _percent(row["own_camera_neighbours"]),
    "same-person mass": lambda row: _mass(row),
    "seconds": lambda row: f"{mean(row['seconds']):,.0f}" if row["seconds"] else "-",
}


def markdown(table: Results) -> str:
    """The table as Markdown: mean ± standard deviation over the seeds, in percent, and what each part adds."""
    rows: Mapping[str, Mapping[str, list[float]]] = table["rows"]
    lines = [
        f"| row | {' | '.join(_COLUMNS)} |",
        "|---" * (len(_COLUMNS) + 1) + "|",
        *(f"| `{name}` | {' | '.join(cell(row) for cell in _COLUMNS.values())} |" for name, row in rows.items()),
    ]
    ladder = [name for name in table["ladder"] if name in rows]
    effects = [
        f"| `{after}` - `{before}` | {_difference(rows[before], rows[after], 'mAP')} "
        f"| {_difference(rows[before], rows[after], 'association_f1')} |"
        for before, after in pairwise(ladder)
    ]
    reached = {
        name: mean(row["mAP"]) / mean(rows["supervised"]["mAP"])
        for name, row in rows.items()
        if "supervised" in rows and name != "supervised" and row["mAP"] and rows["supervised"]["mAP"]
    }
    upper = [f"- `{name}`: {100 * share:.1f} % of `supervised`'s mAP" for name, share in reached.items()]
    chance = table["camera_chance"]
    about = [
        f"Seeds {', '.join(map(str, table['seeds']))}; {' or '.join(f'{steps:,}' for steps in table['steps'])} steps; "
        "percent, mean ± standard deviation over the seeds. "
        + (f"The camera probe at chance level: {100 * chance:.1f}. " if chance else "")
        + "Same-person mass: the probability that the global ID classifier gives to a person's identities in other "
        "cameras, before ICAL → at the end. The association of intra-camera rows is measured but not used.",
        "",
        f"`{table['command']}`, commit {table['commit']}, {table['hardware']}.",
    ]
    paired = ["", "| paired difference | mAP | association F1 |", "|---|---|---|", *effects] if effects else []
    return "\n".join([*lines, *paired, "", *upper, "", *about, ""])


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def _mass(row: Mapping[str, list[float]]) -> str:
    before, after = row["same_person_mass_before"], row["same_person_mass"]
    return f"{_percent(before)} → {_percent(after)}" if before else _percent(after)


def _difference(before: Mapping[str, list[float]], after: Mapping[str, list[float]], figure: str) -> str:
    if len(before[figure]) != len(after[figure]):
        return "-"
    differences = [100 * (new - old) for old, new in zip(before[figure], after[figure], strict=True)]
    spread = f" ± {stdev(differences):.1f}" if len(differences) > 1 else ""
    return f"{mean(differences):+.1f}{spread}" if differences else "-"
