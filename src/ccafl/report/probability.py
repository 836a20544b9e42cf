"""Figure 5 of the paper: how the global ID classifier distributes its probability before and after ICAL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccafl.data.numbering import LabelledImages
from ccafl.evaluation.camera_agnosticism import same_person_mass
from ccafl.report.drawing import COLOURS, GROUND, SOFT, percent, plain_label, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OTHERS = 4  # identities of other persons in each plot
OWN, SAME, OTHER = "own identity", "same person, other camera", "another person"


@dataclass(frozen=True, slots=True)
class Bar:
    """Probability of one accumulated identity in ``camera``; ``kind`` is `OWN`, `SAME` or `OTHER`."""

    camera: str
    before: float
    after: float
    kind: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One image's probabilities: of its own identity, the same person's, the likeliest others, and the rest."""

    camera: str
    bars: list[Bar]
    rest_before: float
    rest_after: float


@dataclass(frozen=True, slots=True)
class Mass:
    """Mean probability over images: of the own identity, the same person in other cameras, and all others."""

    own: float
    same: float
    others: float


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The numbers behind figure 5.

    Attributes:
        samples: a few images of persons seen by many cameras.
        before, after: means over all images compared.
    """

    samples: list[Sample]
    before: Mass
    after: Mass


def probabilities(
    before: Tensor, after: Tensor, chosen: Tensor, images: LabelledImages, persons: Tensor, scale: float, count: int = 6
) -> Probabilities:
    """Compare the classifier's cosines for the same images before and after ICAL.

    Args:
        before, after: (n, N) cosines of the chosen images.
        chosen: (n,) indices among ``images``.
        images: the training images.
        persons: (N,) int64, the person of every accumulated identity.
        scale: the classifier's scale.
        count: number of samples to show.
    """
    identities = images.identities[chosen]
    samples = []
    for row in _rows(identities, images.identity_cameras, persons, count):
        old, new = ((scale * cosines[row]).softmax(0) for cosines in (before, after))
        samples.append(_sample(int(identities[row]), old, new, images, persons))
    return Probabilities(samples, _mass(before, identities, persons, scale), _mass(after, identities, persons, scale))


def _rows(identities: Tensor, identity_cameras: Tensor, persons: Tensor, count: int) -> list[int]:
    """One row per person, for the persons seen by the most cameras; the cameras take turns."""
    seen_by = torch.bincount(persons)[persons[identities]]
    rows_of: dict[int, list[int]] = {}
    for row in seen_by.argsort(descending=True, stable=True).tolist():
        rows_of.setdefault(int(persons[identities[row]]), []).append(row)
    turns = torch.zeros(int(identity_cameras.max()) + 1, dtype=torch.int64)
    rows = []
    for candidates in list(rows_of.values())[:count]:
        cameras = identity_cameras[identities[candidates]]
        best = int(turns[cameras].argmin())
        turns[cameras[best]] += 1
        rows.append(candidates[best])
    return rows


def _mass(cosines: Tensor, identities: Tensor, persons: Tensor, scale: float) -> Mass:
    own = float((scale * cosines).softmax(1).gather(1, identities[:, None]).mean())
    same = float(same_person_mass(cosines, identities, persons, scale).mean())
    return Mass(own, same, 1 - own - same)


def _sample(own: int, old: Tensor, new: Tensor, images: LabelledImages, persons: Tensor) -> Sample:
    same = [n for n in (persons == persons[own]).nonzero().squeeze(1).tolist() if n != own]
    strangers = torch.maximum(old, new).masked_fill(persons == persons[own], -1)
    others = strangers.topk(min(_OTHERS, int((persons != persons[own]).sum()))).indices.tolist()

    def camera(identity: int) -> str:
        return images.camera_names[int(images.identity_cameras[identity])]

    kinds = [(own, OWN), *((n, SAME) for n in same), *((n, OTHER) for n in others)]
    bars = [Bar(camera(n), float(old[n]), float(new[n]), kind) for n, kind in kinds]
    rest_before, rest_after = 1 - sum(bar.before for bar in bars), 1 - sum(bar.after for bar in bars)
    return Sample(camera(own), bars, max(rest_before, 0.0), max(rest_after, 0.0))


_LOOK = {OWN: (COLOURS[0], ""), SAME: (COLOURS[2], "//"), OTHER: (SOFT, "..")}


@themed
def probability_figure(samples: Sequence[Sample]) -> "Figure":
    """One row per sample: left before, right after ICAL, the same identities in the same places."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(10, 1.9 * len(samples) + 0.5), layout="constrained")
    for row, sample in enumerate(samples):
        top = max(max(bar.before, bar.after) for bar in sample.bars)
        for column, title in enumerate(("before ICAL", "after ICAL")):
            axes = figure.add_subplot(len(samples), 2, 2 * row + column + 1)
            for place, bar in enumerate(sample.bars):
                colour, hatch = _LOOK[bar.kind]
                axes.bar(place, (bar.before, bar.after)[column], color=colour, hatch=hatch, edgecolor=GROUND)
            rest = (sample.rest_before, sample.rest_after)[column]
            axes.text(
                0.99, 0.95, f"not drawn: {100 * rest:.0f} %", transform=axes.transAxes, fontsize=9, ha="right", va="top"
            )
            axes.set_xticks(range(len(sample.bars)), [plain_label(bar.camera) for bar in sample.bars])
            axes.set_ylim(0, 1.15 * top)
            axes.set_title(plain_label(f"{title}: a picture of camera {sample.camera}"))
            axes.set_ylabel("probability")
            percent(axes.yaxis)
            if row + 1 == len(samples):
                axes.set_xlabel("camera of the accumulated identity")
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=GROUND, label=kind) for kind, (colour, hatch) in _LOOK.items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3)
    return figure
