"""What the pages of one run and of several have in common, and the page that compares several."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ccafl.evaluation.embedder import Embedder
from ccafl.provenance import commit, hardware, versions
from ccafl.report import page
from ccafl.report.curves import loss_charts, phases, quality_charts
from ccafl.report.inputs import Images, OpenedRun
from ccafl.report.joins import read_joins, sizes_chart
from ccafl.report.measured_test_set import Measures, TestSet, embed_test, measure, ranking_charts, score_charts
from ccafl.report.page import Row, Section
from ccafl.report.results_table import Column, facts_table, measures_table
from ccafl.run_folder import flattened

_SAME_FIGURE = 5e-4  # up to here, a figure measured again is the one in results.json


def comparison(runs: Sequence[OpenedRun], images: Sequence[Images | str]) -> str:
    """The page that compares several runs, on common scales; it shows no pictures."""
    named = dict(zip(names_of(runs), runs, strict=True))
    opened = {name: opened_test(run, of_run) for (name, run), of_run in zip(named.items(), images, strict=True)}
    tests = {name: test for name, (test, _) in opened.items() if not isinstance(test, str)}
    measured = {name: one for name, (_, one) in opened.items() if not isinstance(one, str)}
    missing = "".join(
        page.reason(f"{name}: {one}") for name, (_, one) in opened.items() if isinstance(one, str)
    )  # a line for every run that could not be measured
    columns = [column(name, run, opened[name][1]) for name, run in named.items()]
    joins = {name: joined for name, run in named.items() if (joined := read_joins(run)) is not None}
    cameras = {name: tests[name].query.camera_names for name in measured}
    sections = [
        Section("results", "Results", _results(columns, named)),
        Section("losses", "Losses", losses(runs, list(named))),
        Section("quality", "Ranking, association and cameras by epoch", quality(runs, list(named))),
        Section("joins", "Joins", page.charts([sizes_chart(joins)]) if joins else page.reason("No run joins labels.")),
        Section(
            "ranking", "Ranking", missing + page.charts(ranking_charts(measured, cameras)) if measured else missing
        ),
        Section("scores", "Scores of pairs", missing + page.charts(score_charts(measured)) if measured else missing),
    ]
    head = [f"{name}: {subtitle(run)}" for name, run in named.items()]
    head.append("Rank lists, maps and figure 5 are on the page of each run: ccafl report RUN.")
    return page.page(f"{len(named)} runs of ccafl compared", head, sections)


def names_of(runs: Sequence[OpenedRun]) -> list[str]:
    """A name for every run: its folder, with as many of those around it as tell the runs apart."""
    paths = [run.folder.path.resolve() for run in runs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = [str(Path(*path.parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {path}" for number, path in enumerate(paths, start=1)]  # one run given twice


def opened_test(run: OpenedRun, images: Images | str) -> tuple[TestSet | str, Measures | str]:
    """The run's test set with its features, and what was measured on it; or why there is none."""
    if isinstance(run.embedder, str) or isinstance(images, str):
        why = str(run.embedder if isinstance(run.embedder, str) else images)
        return why, why
    return _measured(run.embedder, images)


def _measured(embedder: Embedder, images: Images) -> tuple[TestSet | str, Measures | str]:
    test = embed_test(embedder, images.source)
    if test is None:
        why = "The data have no query and gallery."
        return why, why
    return test, measure(test) or (
        "No query's person appears in the gallery in another camera, so nothing can be ranked."
    )


def column(name: str, run: OpenedRun, measured: Measures | str) -> Column:
    """A run in the table of results, with intervals if the figures there are those measured here."""
    recorded = run.results.get("mAP")
    if isinstance(measured, str) or recorded is None or abs(recorded - measured.ranking.mAP) > _SAME_FIGURE:
        return Column(name, run.results)
    return Column(name, run.results, measured.draws, measured.queries)


def subtitle(run: OpenedRun) -> str:
    """What was trained, in a line."""
    config, stage2 = run.config, run.config.stage2
    height, width = config.model.image_size
    done = sum(event["stage"] == 2 for event in run.events)
    seconds = run.results.get("seconds", sum(event.get("seconds", 0) for event in run.events))
    parts = [
        f"{run.results['dataset']}" if "dataset" in run.results else "not finished",
        f"mode {config.mode}",
        f"{config.model.architecture} at {height}x{width}",
        f"{done} of {stage2.epochs} epochs, {done * stage2.steps_per_epoch:,} steps",
        f"{seconds / 60:,.1f} minutes",
        f"seed {config.seed}",
    ]
    return " · ".join(parts)


def losses(runs: Sequence[OpenedRun], names: Sequence[str] = ("run",)) -> str:
    """The losses of all runs."""
    drawn = loss_charts({name: run.events for name, run in zip(names, runs, strict=True)})
    if not drawn:
        return page.reason("No epoch has ended yet.")
    text = "Mean loss per epoch; the scale is logarithmic where a loss changes tenfold or more."
    return page.paragraph(text + _phases(runs)) + page.charts(drawn)


def quality(runs: Sequence[OpenedRun], names: Sequence[str] = ("run",)) -> str:
    """What was measured by epoch, of all runs."""
    drawn = quality_charts({name: run.events for name, run in zip(names, runs, strict=True)})
    if not drawn:
        return page.reason("Nothing was measured: no query and gallery, no true persons, or no measured epoch yet.")
    return page.paragraph("All measures there are, as they were while training." + _phases(runs)) + page.charts(drawn)


def _phases(runs: Sequence[OpenedRun]) -> str:
    """What the dashed lines mark, which are drawn if all runs have the same phases."""
    found = [phases(run.events) for run in runs]
    if any(other != found[0] for other in found):
        return ""
    marked = ", ".join(f"{name} from epoch {epoch}" for epoch, name in found[0])
    return f" Dashed lines mark the phases of stage 2 ({marked or 'none yet'})."


def environments(runs: Mapping[str, OpenedRun]) -> str:
    """The code, machine and libraries of the runs and of this page, one column each."""
    here = {"commit": commit(), "hardware": hardware(), "versions": versions()}
    recorded = [flattened(run.folder.read_environment(), " ") for run in runs.values()] + [flattened(here, " ")]
    keys = dict.fromkeys(key for found in recorded for key in found)
    rows = [
        Row(key.removeprefix("versions "), [str(found.get(key, "not recorded")) for found in recorded]) for key in keys
    ]
    header = ["", *(f"training {name}".strip() for name in runs), "this page"]
    return page.folded("Commit, hardware and versions", page.table("What the figures were made with", rows, header))


def _results(columns: Sequence[Column], runs: Mapping[str, OpenedRun]) -> str:
    caption = "Every run beside the first. Differences have an interval where both ranked the same queries and gallery."
    finished = [one for one in columns if one.results]
    unfinished = "".join(
        page.reason(f"{one.name}: no results; the run has not finished, or its results.json is damaged.")
        for one in columns
        if not one.results
    )
    if not finished:
        return unfinished + _settings(runs) + environments(runs)
    table = measures_table(finished, caption) + facts_table(finished)
    return unfinished + table + _settings(runs) + environments(runs)


def _settings(runs: Mapping[str, OpenedRun]) -> str:
    """The settings in which the runs differ."""
    flat = [flattened(run.config.model_dump(mode="json"), ".") for run in runs.values()]
    keys = [key for key in flat[0] if any(settings.get(key) != flat[0][key] for settings in flat)]
    rows = [Row(key, [str(settings.get(key)) for settings in flat]) for key in keys]
    if not rows:
        return page.paragraph("All settings are the same.")
    return page.table("Settings that differ", rows, ["setting", *runs])
