"""What a test set shows: the CMC curve, scores of pairs with their ROC, and mAP by pair of cameras."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccafl.data.numbering import EvaluationImages, evaluation_images, unmatched_queries
from ccafl.data.records import Source, tested_person
from ccafl.evaluation.bootstrap import drawn_means, interval
from ccafl.evaluation.embedder import Embedder, embed_images
from ccafl.evaluation.pair_scores import PairScores, Roc, calibrated_threshold, pair_scores, roc
from ccafl.evaluation.ranking import CameraPairs, Ranking, rank, rank_by_camera_pair
from ccafl.report.drawing import (
    COLOURS,
    INK,
    SOFT,
    legend_below,
    percent,
    picture,
    plain_label,
    small_axes,
    themed,
)
from ccafl.report.page import Chart
from ccafl.report.results_table import share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEPTH = 20  # ranks of the CMC curve
_SHOWN_BINS = 100  # of the score histograms, from the lowest to the highest score
_LEAST_ACCEPTED = 1e-4  # the left end of the ROC's scale
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True)
class TestSet:
    """Query and gallery with the name of the person in each image, and their features."""

    __test__ = False  # not for pytest

    query: EvaluationImages
    gallery: EvaluationImages
    query_labels: list[str]
    gallery_labels: list[str]
    query_features: Tensor
    gallery_features: Tensor


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on a test set.

    Attributes:
        ranking: of all queries.
        draws: (draws, 4) mAP, rank-1, rank-5 and rank-10 over queries drawn anew.
        cmc: (draws, R) the CMC curve over the same queries.
        scores: of the pairs of pictures from different cameras.
        pairs: mAP by camera of the query and of the gallery.
        queries: what identifies the test set, for comparing runs query by query.
    """

    ranking: Ranking
    draws: Tensor
    cmc: Tensor
    scores: PairScores
    pairs: CameraPairs
    queries: tuple[object, ...]


def embed_test(embedder: Embedder, source: Source) -> TestSet | None:
    """Query and gallery of the data with their features; None if the data have none."""
    if not source.query or not source.gallery:
        return None
    query, gallery = evaluation_images(source.query, source.gallery)
    return TestSet(
        query,
        gallery,
        [tested_person(record) for record in source.query],
        [tested_person(record) for record in source.gallery],
        embed_images(embedder, query, "query"),
        embed_images(embedder, gallery, "gallery"),
    )


def measure(test: TestSet) -> Measures | None:
    """None if no query's person appears in another camera."""
    query, gallery = test.query, test.gallery
    if len(unmatched_queries(query, gallery)) == len(query):
        return None
    truth = (query.persons, query.cameras, gallery.persons, gallery.cameras)
    features = test.query_features, test.gallery_features
    ranking = rank(*features, *truth)
    matched = ranking.first_places.isfinite()
    depth = min(_DEPTH, len(ranking.cmc))
    found = ranking.first_places[matched, None] <= torch.arange(1, depth + 1)
    precisions = ranking.average_precisions[matched, None]
    drawn = drawn_means(torch.cat([precisions, found.double()], 1))
    ranks = [min(rank, depth) for rank in (1, 5, 10)]
    return Measures(
        ranking=ranking,
        draws=drawn[:, [0, *ranks]],
        cmc=drawn[:, 1:],
        scores=pair_scores(*features, *truth),
        pairs=rank_by_camera_pair(*features, *truth, cameras=len(query.camera_names)),
        queries=(query.paths, gallery.paths, *(tuple(part.tolist()) for part in truth)),
    )


def ranking_charts(runs: Mapping[str, Measures], cameras: Mapping[str, Sequence[str]]) -> list[Chart]:
    """The CMC curve of all runs, then mAP by pair of cameras of each on a common scale."""
    rows = []
    for name, measured in runs.items():
        ends = interval(measured.cmc)
        shares = measured.ranking.cmc[: len(ends)].tolist()
        rows += [(name, place, value, *ends[place - 1].tolist()) for place, value in enumerate(shares, start=1)]
    caption = (
        "Queries that show the person among their first results, by how many results one looks at; the band holds "
        "95 % of repetitions with queries drawn anew. The percentages begin at the lowest that is drawn."
    )
    head = ("run", "results", "share", "low", "high")
    what = "Line chart: share of queries found by rank"
    charts = [Chart("CMC curve", what, caption, picture(_cmc(runs)), head, rows)]
    values = [float(value) for one in runs.values() for value in one.pairs.mAP.flatten() if not value.isnan()]
    scale = (min(values, default=0), max(values, default=1))
    for name, measured in runs.items():
        names = cameras[name]
        rows = [
            (names[one], names[other], int(measured.pairs.queries[one, other]), float(measured.pairs.mAP[one, other]))
            for one, other in measured.pairs.queries.nonzero().tolist()
        ]
        title = "mAP by pair of cameras" + (f": {name}" if len(runs) > 1 else "")
        caption = (
            "Queries of one camera, ranked in the pictures of another alone; smaller galleries rank better, so compare "
            "pairs with each other, not with the mAP of the whole. Low pairs are cameras that see people differently."
        )
        drawn = picture(_camera_pairs(measured.pairs, names, scale))
        header = ("query's camera", "gallery's camera", "queries", "mAP")
        charts.append(Chart(title, "Heat map: mAP by camera of query and gallery", caption, drawn, header, rows))
    return charts


@themed
def _cmc(runs: Mapping[str, Measures]) -> "Figure":
    figure, axes = small_axes()
    deepest = max(len(measured.cmc[0]) for measured in runs.values())
    for number, (name, measured) in enumerate(runs.items()):
        low, high = interval(measured.cmc).T.tolist()
        places = range(1, len(low) + 1)
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
        label = plain_label(name) if len(runs) > 1 else None
        shares = measured.ranking.cmc[: len(low)].tolist()
        axes.plot(places, shares, color=colour, label=label, marker=".", linestyle=_DASHES[number // 8 % 4])
    axes.set_ylim(top=1.005)
    axes.set_xlabel("first results looked at")
    axes.set_xticks([1, *range(5, deepest + 1, 5)] if deepest > 5 else range(1, deepest + 1))
    percent(axes.yaxis)
    axes.grid(True)
    legend_below(figure, axes)
    return figure


@themed
def _camera_pairs(pairs: CameraPairs, names: Sequence[str], scale: tuple[float, float]) -> "Figure":
    from matplotlib.ticker import FuncFormatter

    figure, axes = small_axes()
    count = len(names)
    figure.set_figheight(min(5.2, 1.6 + 0.42 * count))
    low, high = scale if scale[0] < scale[1] else (scale[0] - 0.01, scale[1] + 0.01)
    cells = axes.pcolormesh(pairs.mAP.numpy(), cmap="viridis", vmin=low, vmax=high)
    if count <= 10:
        for one, other in pairs.queries.nonzero().tolist():
            value = float(pairs.mAP[one, other])
            colour = "black" if value > (low + high) / 2 else "white"
            axes.text(other + 0.5, one + 0.5, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    ticks = [place + 0.5 for place in range(count)]
    labels = [plain_label(name if len(name) <= 12 else f"{name[:11]}…") for name in names]
    size = 9 if count <= 10 else 7
    axes.set_xticks(ticks, labels, rotation=0 if max(map(len, labels)) <= 4 else 45, fontsize=size)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.invert_yaxis()
    axes.set_xlabel("camera of the gallery")
    axes.set_ylabel("camera of the query")
    figure.colorbar(cells, ax=axes, format=FuncFormatter(lambda value, _: f"{100 * value:.10g} %"))
    return figure


def score_charts(runs: Mapping[str, Measures]) -> list[Chart]:
    """Histograms of every run's scores on common scales, then the ROC of all; runs without one kind are left out."""
    runs = {name: one for name, one in runs.items() if one.scores.same.sum() and one.scores.different.sum()}
    if not runs:
        return []
    low, high = _range([measured.scores for measured in runs.values()])
    heights = {name: _heights(measured.scores, low, high) for name, measured in runs.items()}
    top = max(float(part.max()) for _, *parts in heights.values() for part in parts)
    curves = {name: roc(measured.scores) for name, measured in runs.items()}
    thresholds = {name: calibrated_threshold(measured.scores) for name, measured in runs.items()}
    charts = []
    for name, (lefts, same, different) in heights.items():
        scores, threshold = runs[name].scores, thresholds[name]
        found, mistaken = curves[name].at(threshold)
        caption = (
            f"Cosines of {int(scores.same.sum()):,} pairs of pictures of one person and "
            f"{int(scores.different.sum()):,} of two, all from different cameras; each kind adds up to 100 %. The "
            f"line is the threshold that calibration chooses, {threshold:.3f}: there a logistic curve, fitted with "
            f"equal weight to both kinds, says one half. Above it lie {share(found)} of the pairs of one person and "
            f"{share(mistaken)} of the others."
        )
        title = "Scores of same and different persons" + (f": {name}" if len(runs) > 1 else "")
        header = ("cosine from", "same person", "different persons")
        rows = list(zip(lefts.tolist(), same.tolist(), different.tolist(), strict=True))
        drawn = picture(_histogram(lefts, same, different, threshold, top))
        charts.append(Chart(title, "Histograms of cosines of both kinds of pairs", caption, drawn, header, rows))
    return [*charts, _roc_chart(curves, thresholds)]


def _range(scores: Sequence[PairScores]) -> tuple[int, int]:
    """The first and one past the last bin in use, as many bins as whole bars take."""
    used = torch.stack([one.same + one.different for one in scores]).sum(0).nonzero().squeeze(1)
    low, high = int(used.min()), int(used.max()) + 1
    return low, high


def _heights(scores: PairScores, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
    """Left edges of at most `_SHOWN_BINS` bars, and the share of each kind in them."""
    width = -(-(high - low) // _SHOWN_BINS)
    edges = torch.arange(low, high, width)
    places = (torch.arange(low, high) - low) // width

    def shares(counts: Tensor) -> Tensor:
        return torch.zeros(len(edges), dtype=torch.float64).index_add_(
            0, places, counts[low:high].double() / counts.sum()
        )

    return edges * (2 / len(scores.same)) - 1, shares(scores.same), shares(scores.different)


@themed
def _histogram(lefts: Tensor, same: Tensor, different: Tensor, threshold: float, top: float) -> "Figure":
    figure, axes = small_axes()
    width = float(lefts[1] - lefts[0]) if len(lefts) > 1 else 0.001
    edges = [*lefts.tolist(), float(lefts[-1]) + width]
    for values, name, colour, hatch in (
        (different, "different persons", COLOURS[1], "///"),
        (same, "same person", COLOURS[0], ""),
    ):
        axes.stairs(values.tolist(), edges, fill=True, color=colour, alpha=0.3, hatch=hatch, linewidth=0)
        axes.stairs(values.tolist(), edges, color=colour, linewidth=1.5, label=name)
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set_ylim(0, 1.05 * top)
    axes.set_xlabel("cosine")
    axes.set_ylabel("share of the pairs")
    percent(axes.yaxis)
    legend_below(figure, axes, columns=3)
    return figure


def _roc_chart(curves: Mapping[str, Roc], thresholds: Mapping[str, float]) -> Chart:
    rows: list[tuple[object, ...]] = []
    words = []
    for name, curve in curves.items():
        columns = (curve.thresholds, curve.accepted_different, curve.accepted_same)
        moves = torch.cat([torch.tensor([True]), (curve.accepted_different.diff() + curve.accepted_same.diff()) > 0])
        rows += [(name, *values) for values in zip(*(column[moves].tolist() for column in columns), strict=True)]
        found = ", ".join(f"{share(curve.found_at(accepted))} at {share(accepted)}" for accepted in (0.01, 0.001))
        words.append((f"{name}: area" if len(curves) > 1 else "Area") + f" {100 * curve.area:.2f} %; {found}.")
    caption = (
        "Pairs of one person that a threshold accepts, by how many pairs of two it accepts with them; dots are the "
        "thresholds that calibration chooses. The area is how often a pair of one person scores higher than one of "
        "two. " + " ".join(words)
    )
    drawn = picture(_roc_figure(curves, thresholds))
    header = ("run", "threshold", "accepted of different persons", "accepted of the same person")
    return Chart("ROC curve", "Line chart: pairs of one person accepted, by those of two", caption, drawn, header, rows)


@themed
def _roc_figure(curves: Mapping[str, Roc], thresholds: Mapping[str, float]) -> "Figure":
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = small_axes()
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        label = plain_label(name) if len(curves) > 1 else None
        axes.plot(
            curve.accepted_different.tolist(),
            curve.accepted_same.tolist(),
            color=colour,
            label=label,
            linestyle=_DASHES[number // 8 % 4],
        )
        found, mistaken = curve.at(thresholds[name])
        axes.plot([max(mistaken, _LEAST_ACCEPTED)], [found], marker="o", color=colour)
    axes.set_xscale("log")
    axes.set_xlim(_LEAST_ACCEPTED, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.set_xlabel("different persons accepted")
    axes.set_ylabel("same person accepted")
    axes.grid(True, color=SOFT, alpha=0.3)
    legend_below(figure, axes)
    return figure
