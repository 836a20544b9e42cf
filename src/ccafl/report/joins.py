"""What joining the cameras' labels came to: persons, their sizes, the least certain joins and, if known, the errors."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ccafl.data.images import load_image
from ccafl.data.numbering import accumulate, persons_of
from ccafl.errors import InputError
from ccafl.evaluation.association_quality import mixed_groups
from ccafl.report import page
from ccafl.report.drawing import COLOURS, legend_below, picture, plain_label, small_axes, themed
from ccafl.report.inputs import Images, OpenedRun
from ccafl.report.page import Chart
from ccafl.report.results_table import share
from ccafl.run_folder import read_association

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Label = tuple[str, str]  # camera and label

_ERRORS = 5  # groups of each kind that are shown
_MEMBERS = 12  # labels shown of a group


@dataclass(frozen=True, slots=True)
class _Shown:
    """Whose labels are shown, and with a picture where it may be."""

    picture: Callable[[Label], Image.Image | None]

    def tile(self, label: Label, lines: Sequence[str] = ()) -> str:
        return page.tile([*lines, *label], picture=self.picture(label))


def read_joins(run: OpenedRun) -> dict[Label, str | None] | None:
    """The run's associated identities by label; None if it joins nothing or has not finished."""
    if run.config.mode != "ccafl":
        return None
    try:
        return read_association(run.folder.association)
    except InputError:
        return None


def joins_section(run: OpenedRun, images: Images | str, *, shown: bool) -> str:
    """How many labels became how many persons, how surely, and where the association errs."""
    if run.config.mode != "ccafl":
        return page.reason(f"The run joins nothing (mode {run.config.mode}).")
    joined = read_joins(run)
    if joined is None:
        return page.reason("The joins are not known: the run has not finished, or its association.csv is damaged.")
    first = {} if isinstance(images, str) else {(r.camera, r.label): r.path for r in reversed(images.source.train)}

    def of_label(label: Label) -> Image.Image | None:
        return load_image(first[label]) if shown and label in first else None

    tiles = _Shown(of_label)
    return (
        page.paragraph(_summary(run.results, joined))
        + page.charts([sizes_chart({"": joined})])
        + _least_certain(run.results, tiles)
        + _errors(joined, images, tiles)
    )


def _summary(results: Mapping[str, Any], joined: Mapping[Label, str | None]) -> str:
    sizes = Counter(identity for identity in joined.values() if identity is not None)
    labels = sum(sizes.values())
    text = (
        f"{labels:,} of {len(joined):,} labels were joined into {len(sizes):,} persons; {len(joined) - labels:,} stay "
        "alone."
    )
    quality = results.get("association") or {}
    if quality.get("estimated_precision") is not None:
        text += (
            f" An estimated {share(quality['estimated_precision'])} of the joined pairs are one person, judged by the "
            "features alone."
        )
    if quality.get("precision") is not None:
        text += f" In truth {share(quality['precision'])} are."
    return text


def sizes_chart(runs: Mapping[str, Mapping[Label, str | None]]) -> Chart:
    """How many persons were joined from how many labels, by run; one with an empty name is not named."""
    counts = {}
    for name, joined in runs.items():
        sizes = Counter(Counter(identity for identity in joined.values() if identity is not None).values())
        sizes[1] = sum(identity is None for identity in joined.values())
        counts[name] = sizes
    most = max((size for sizes in counts.values() for size in sizes), default=1)
    rows = [(name, size, sizes[size]) for name, sizes in counts.items() for size in range(1, most + 1)]
    caption = "Persons by the number of labels that were joined into them; 1: left alone."
    drawn = picture(_sizes(counts, most))
    title = "Sizes of the joined persons"
    return Chart(title, "Bar chart: persons by number of labels", caption, drawn, ("run", "labels", "persons"), rows)


@themed
def _sizes(counts: Mapping[str, Counter[int]], most: int) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure, axes = small_axes()
    width = 0.8 / len(counts)
    for number, (name, sizes) in enumerate(counts.items()):
        places = [size - 0.4 + width * (number + 0.5) for size in range(1, most + 1)]
        values = [sizes[size] for size in range(1, most + 1)]
        label = plain_label(name) if name else None
        bars = axes.bar(places, values, width=0.94 * width, color=COLOURS[number % len(COLOURS)], label=label)
        if len(counts) == 1:
            axes.bar_label(bars, fontsize=9)
    axes.set_xlabel("labels of a person")
    axes.set_ylabel("persons")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    legend_below(figure, axes)
    return figure


def _least_certain(results: Mapping[str, Any], shown: _Shown) -> str:
    joins = results.get("joins")
    found = joins.get("least_certain") if isinstance(joins, dict) else None
    try:
        pairs = [
            ((one["one"][0], one["one"][1]), tuple(one["other"]), float(one["probability"])) for one in found or ()
        ]
        rows = [
            page.tiles(
                f"Joined with probability {share(chance)}",
                [shown.tile((str(a), str(b)), [share(chance)]), shown.tile((str(other[0]), str(other[1])))],
            )
            for (a, b), other, chance in pairs
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        return ""
    if not rows:
        return ""
    header = ("probability", "camera", "label", "other camera", "other label")
    data = [(chance, *map(str, one), *map(str, other)) for one, other, chance in pairs]
    intro = page.paragraph("Look at these first: two labels each, and how probably they are one person.")
    link = f"<p>{page.download('least certain joins', header, data)}</p>"
    return page.heading("Least certain joins") + intro + page.side_by_side(rows) + link


def _errors(joined: Mapping[Label, str | None], images: Images | str, shown: _Shown) -> str:
    """The worst mixed and torn persons, if the true persons are known and the images are those of the run."""
    if isinstance(images, str) or not images.source.train:
        return ""
    found, persons = accumulate(images.source.train), persons_of(images.source.train)
    if persons is None or set(found.names) != set(joined):
        return ""
    person_of = {(record.camera, record.label): record.person for record in images.source.train}
    numbers = {
        identity: number for number, identity in enumerate(dict.fromkeys(joined.values())) if identity is not None
    }
    association = torch.tensor([numbers.get(joined[label] or "", -1) for label in found.names])
    alone = torch.where(association >= 0, association, torch.arange(len(association)) + len(association))

    def rows(groups: Sequence[Tensor], line: Callable[[int], str]) -> str:
        return page.side_by_side(
            page.tiles(
                f"{len(members)} labels",
                [shown.tile(found.names[at], [line(at)]) for at in members[:_MEMBERS].tolist()],
            )
            for members in groups
        )

    mixed, mixed_count = mixed_groups(association, persons, _ERRORS)
    torn, torn_count = mixed_groups(persons, alone, _ERRORS)
    body = ""
    if mixed:
        intro = f"{mixed_count:,} of the joined persons contain labels of several. The {len(mixed)} worst, a row each:"
        body += page.heading("Different persons joined") + page.paragraph(f"{intro} each tile names the true person.")
        body += rows(mixed, lambda at: str(person_of[found.names[at]]))
    if torn:
        intro = f"{torn_count:,} persons were not joined whole. The {len(torn)} worst, a row each:"
        body += page.heading("One person not joined") + page.paragraph(
            f"{intro} each tile says what it was joined into."
        )
        body += rows(torn, lambda at: f"joined as {association[at]}" if association[at] >= 0 else "left alone")
    return body
