"""What each part of CCAFL is worth: the same data and steps with and without it, over several seeds."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import ccafl
from ccafl.config import Config, InterCamera, IntraCamera, Stage2, dump, merged
from ccafl.errors import InputError
from ccafl.files import write_text
from ccafl.model.network import resolved
from ccafl.pipeline import Results, begin_as, train_run
from ccafl.run_folder import RunFolder
from ccafl.terminal import say
from ccafl.training.schedule import shared_epochs

PLUS = "ccafl-plus"
LADDER = ("intra_l1", "icdl", "associated", "ccafl", "ccafl_plus")
"""Rows of which each adds a part to the one before; ``text`` stands beside ``associated``."""

FIGURES = (
    "mAP",
    "rank1",
    "association_precision",
    "association_recall",
    "association_f1",
    "camera_probe",
    "own_camera_neighbours",
    "same_person_mass_before",
    "same_person_mass",
    "seconds",
)


def rows_of(config: Config) -> dict[str, Config]:
    """The rows of the table: settings by name, the settings of ``config`` where a row's name does not say otherwise.

    A row that would only repeat another, such as CCAFL without a part that ``config`` leaves out, is not there.

    - supervised: the true persons in place of the association, the upper bound
    - intra_l1: intra-camera learning with L_intra1 alone
    - icdl: intra-camera discriminative learning in full (L_intra2 too), the lower bound
    - associated: and then inter-camera learning with the association and the prototype memory
    - text: and both text losses, where ``config`` has none the paper's
    - ccafl: ``config`` itself: ICAL as well
    - without_icdl, without_text: CCAFL with L_intra1 alone, without text losses (without ICAL it is associated or text)
    - ccafl_paper: the paper's association, temperatures, draw and phases at ``config``'s network, batch and steps
    - precise_ics: the peer method
    - ccafl_plus: ``config`` with what goes beyond the paper
    - supervised_plus: the upper bound with the same

    Raises:
        InputError: the mode is not ``ccafl``.
    """
    if config.mode != "ccafl":
        raise InputError(f"mode is {config.mode}: an ablation takes CCAFL apart; set mode=ccafl")
    plus = load_plus(config)
    l1 = {"centre_weight": 1.0}
    silent = _changed(config, intra={"text": False}, inter={"text_from": None})
    rows = {
        "supervised": _mode(config, "supervised"),
        "intra_l1": _mode(_changed(silent, intra=l1), "intra"),
        "icdl": _mode(silent, "intra"),
        "associated": _without_ical(silent),
        "text": _without_ical(config if _has_text(config) else _with_text(config)),
        "ccafl": config,
        "without_icdl": _changed(config, intra=l1),
        "without_text": silent,
        "ccafl_paper": _as_in_the_paper(config),
        "precise_ics": _mode(_changed(silent, intra=l1), "precise_ics"),
        "ccafl_plus": plus,
        "supervised_plus": _mode(plus, "supervised"),
    }
    first = {dump(row): name for name, row in reversed(rows.items())}
    return {name: row for name, row in rows.items() if first[dump(row)] == name}


def load_plus(config: Config) -> Config:
    """``config`` with what goes beyond the paper laid over it."""
    return merged(config, PLUS)


def _changed(
    config: Config,
    *,
    intra: Mapping[str, Any] | None = None,
    inter: Mapping[str, Any] | None = None,
    **stage2: Any,
) -> Config:
    before = config.stage2
    update = {
        "intra_camera": before.intra_camera.model_copy(update=intra),
        "inter_camera": before.inter_camera.model_copy(update=inter),
    }
    return config.model_copy(update={"stage2": before.model_copy(update=update | stage2)})


def _mode(config: Config, mode: str) -> Config:
    return config.model_copy(update={"mode": mode})


def _without_ical(config: Config) -> Config:
    never = {"first_epoch": config.stage2.epochs, "last_epoch": config.stage2.epochs}
    return _changed(config, adversarial=config.stage2.adversarial.model_copy(update=never))


def _has_text(config: Config) -> bool:
    return config.stage2.intra_camera.text or config.stage2.inter_camera.text_from is not None


def _with_text(config: Config) -> Config:
    """Text in the intra-camera phase and through the inter-camera phase."""
    return _changed(config, intra={"text": True}, inter={"text_from": config.stage2.intra_camera.epochs})


def _as_in_the_paper(config: Config) -> Config:
    """The paper's own values; its phases as shares of the epochs."""
    paper, own = Stage2(), config.stage2
    share = own.epochs / paper.epochs

    def at(epoch: int) -> int:
        return round(epoch * share)

    adversarial = {"first_epoch": at(paper.adversarial.first_epoch), "last_epoch": at(paper.adversarial.last_epoch)}
    update = {
        "draw": paper.draw,
        "intra_camera": IntraCamera(epochs=max(1, at(paper.intra_camera.epochs))),
        "association": paper.association,
        "inter_camera": InterCamera(text_from=at(paper.inter_camera.text_from or 0)),
        "adversarial": paper.adversarial.model_copy(update=adversarial),
    }
    return config.model_copy(update={"stage2": own.model_copy(update=update)})


def ablate(
    config: Config,
    data: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    command: str,
    only: Sequence[str] | None = None,
    kind: str | None = None,
    skip_unreadable: bool = False,
) -> Results:
    """Train every row with every seed, below ``out/seed-S/ROW``; the table is written after each.

    Rows and runs that are finished are not trained again. Where two rows of a seed begin alike, the second goes on
    from the first one's state, which ends as if it had been trained alone.

    Args:
        config: CCAFL's settings for this data.
        data, kind, skip_unreadable: as `train_run` takes them.
        out: a new folder or an unfinished ablation's.
        seeds: of the runs; every row gets the same.
        command: what was asked, for the record.
        only: names of rows; None for all.

    Returns:
        What ``out/ablation.json`` holds (docs: "Recorded results").

    Raises:
        InputError: an unknown row, or what `train_run` raises.
    """
    rows = _chosen(rows_of(config), only)
    record: Results = {"commit": commit(), "hardware": hardware(), "command": command, "seeds": list(seeds)}
    results: dict[str, list[Results]] = {name: [] for name in rows}
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
                    row, data, folder / name, kind=kind, resume=True, skip_unreadable=skip_unreadable, keep=keep
                )
            results[name].append(finished)
            table = _table(record, results)
            write_text(out / "ablation.json", json.dumps(table, indent=2) + "\n")
            write_text(out / "ablation.md", markdown(table))
    return table


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` as numbers.

    Raises:
        InputError: it is not that.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text}: is not a list of different whole numbers; give such as 0,1,2")
    return [int(part) for part in parts]


def fork_plan(rows: Mapping[str, Config]) -> dict[str, tuple[str | None, int]]:
    """For every row the earlier row it begins as, and for how many epochs: (None, 0) where it begins like none."""
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
    """The results of a finished run of these settings."""
    folder = RunFolder(run)
    results: Results | None = folder.read_results()
    if results is not None and folder.read_config() != row.model_copy(update={"model": resolved(row.model)}):
        raise InputError(f"{run}: was trained with other settings; remove it, or give another --out")
    return results


def _table(record: Results, results: Mapping[str, Sequence[Results]]) -> Results:
    done = {name: runs for name, runs in results.items() if runs}
    chance = [run["camera_chance"] for runs in done.values() for run in runs if "camera_chance" in run]
    rows = {name: {figure: _values(runs, figure) for figure in FIGURES} for name, runs in done.items()}
    steps = sorted({run["steps"] for runs in done.values() for run in runs})
    return record | {"camera_chance": chance[0] if chance else None, "steps": steps, "rows": rows}


def _values(runs: Sequence[Results], figure: str) -> list[float]:
    """One a seed; empty where the figure is not to be had."""
    found = [_value(run, figure) for run in runs]
    values = [value for value in found if value is not None]
    return values if len(values) == len(found) else []


def _value(run: Results, figure: str) -> float | None:
    if figure.startswith("association_"):
        quality = run["association"] if run["mode"] != "supervised" else None
        return None if quality is None else quality[figure.removeprefix("association_")]
    value: float | None = run.get(figure)
    return value


_COLUMNS: dict[str, Callable[[Mapping[str, list[float]]], str]] = {
    "mAP": lambda row: _percent(row["mAP"]),
    "rank-1": lambda row: _percent(row["rank1"]),
    "association precision": lambda row: _percent(row["association_precision"]),
    "recall": lambda row: _percent(row["association_recall"]),
    "F1": lambda row: _percent(row["association_f1"]),
    "camera probe": lambda row: _percent(row["camera_probe"]),
    "own-camera neighbours": lambda row: _percent(row["own_camera_neighbours"]),
    "same-person mass": lambda row: _mass(row),
    "seconds": lambda row: f"{mean(row['seconds']):,.0f}",
}


def markdown(table: Results) -> str:
    """The table for people: mean ± standard deviation over the seeds, in percent, and what each step adds."""
    rows: Mapping[str, Mapping[str, list[float]]] = table["rows"]
    lines = [
        f"| row | {' | '.join(_COLUMNS)} |",
        "|---" * (len(_COLUMNS) + 1) + "|",
        *(f"| `{name}` | {' | '.join(cell(row) for cell in _COLUMNS.values())} |" for name, row in rows.items()),
    ]
    ladder = [name for name in LADDER if name in rows]
    effects = [
        f"| `{after}` - `{before}` | {_difference(rows[before], rows[after], 'mAP')} "
        f"| {_difference(rows[before], rows[after], 'association_f1')} |"
        for before, after in pairwise(ladder)
    ]
    reached = {
        name: mean(row["mAP"]) / mean(rows["supervised"]["mAP"])
        for name, row in rows.items()
        if "supervised" in rows and name != "supervised"
    }
    upper = [f"- `{name}`: {100 * share:.1f} % of `supervised`'s mAP" for name, share in reached.items()]
    chance = table["camera_chance"]
    about = [
        f"Seeds {', '.join(map(str, table['seeds']))}; {' or '.join(f'{steps:,}' for steps in table['steps'])} steps; "
        "percent, mean ± standard deviation over the seeds. "
        + (f"The camera probe's chance is {100 * chance:.1f}. " if chance else "")
        + "Same-person mass: probability the global ID classifier gives to a person's identities in other cameras, "
        "before ICAL → at the end. The association of intra-camera rows is measured, not used.",
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


def commit() -> str:
    """The commit of the code that runs, "+" where it was changed since; its version where there is no repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        asked = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        return asked.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {ccafl.__version__}"


def hardware() -> str:
    """The machine, in words."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} cores of {name}, {torch.get_num_threads()} torch threads, {', '.join(gpus) or 'no GPU'}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
