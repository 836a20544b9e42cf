"""Figure 5 of the paper: where the global ID classifier puts its probability, before and after ICAL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccafl.data.records import LabelledImages
from ccafl.evaluation.camera_agnosticism import same_person_mass

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OTHERS = 4  # identities of other persons that are drawn beside


@dataclass(frozen=True, slots=True)
class Sample:
    """One image's probabilities: (name, before, after, kind) of its own identity, the same person's, some others."""

    name: str
    bars: list[tuple[str, float, float, str]]


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Figure 5 in numbers.

    Attributes:
        samples: a few images of persons that many cameras saw.
        mass_before, mass_after: mean probability of the same person in other cameras, over all images given.
    """

    samples: list[Sample]
    mass_before: float
    mass_after: float


def probabilities(
    before: Tensor, after: Tensor, chosen: Tensor, images: LabelledImages, persons: Tensor, scale: float, count: int = 4
) -> Probabilities:
    """Compare the classifier's cosines of the same images before and after.

    Args:
        before, after: (n, N) cosines of the chosen images.
        chosen: (n,) indices among ``images``.
        images: the training images.
        persons: (N,) int64 person of every accumulated identity.
        scale: the classifier's.
        count: samples to show.
    """
    identities = images.identities[chosen]
    cameras_of = torch.bincount(persons)[persons[identities]]
    shown: dict[int, int] = {}
    for row in cameras_of.argsort(descending=True, stable=True).tolist():
        shown.setdefault(int(persons[identities[row]]), row)
        if len(shown) == count:
            break
    old, new = ((scale * cosines).softmax(1) for cosines in (before, after))
    return Probabilities(
        [_sample(row, old[row], new[row], identities, images, persons) for row in shown.values()],
        float(same_person_mass(before, identities, persons, scale).mean()),
        float(same_person_mass(after, identities, persons, scale).mean()),
    )


def _sample(row: int, old: Tensor, new: Tensor, identities: Tensor, images: LabelledImages, persons: Tensor) -> Sample:
    own = int(identities[row])
    same = [n for n in (persons == persons[own]).nonzero().squeeze(1).tolist() if n != own]
    strangers = torch.maximum(old, new).masked_fill(persons == persons[own], -1)
    others = strangers.topk(min(_OTHERS, int((persons != persons[own]).sum()))).indices.tolist()

    def camera(identity: int) -> str:
        return images.camera_names[int(images.identity_cameras[identity])]

    kinds = [(own, "own"), *((n, "same person") for n in same), *((n, "another person") for n in others)]
    bars = [(camera(n), float(old[n]), float(new[n]), kind) for n, kind in kinds]
    return Sample(f"a picture of camera {camera(own)}", bars)


_LOOK = {"own": ("#0b5cad", ""), "same person": ("#2d7d46", "//"), "another person": ("#9a9a9a", "..")}


def probability_figure(found: Probabilities) -> "Figure":
    """Rows: samples; left before, right after ICAL; the same identities in the same places."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    drawn = Figure(figsize=(10, 2.1 * len(found.samples) + 0.5), layout="constrained")
    for row, sample in enumerate(found.samples):
        top = max(max(old, new) for _, old, new, _ in sample.bars)
        for column, title in enumerate(("before ICAL", "after ICAL")):
            axes = drawn.add_subplot(len(found.samples), 2, 2 * row + column + 1)
            for place, (_, old, new, kind) in enumerate(sample.bars):
                colour, hatch = _LOOK[kind]
                axes.bar(place, (old, new)[column], color=colour, hatch=hatch, edgecolor="white")
            axes.set_xticks(range(len(sample.bars)), [camera for camera, *_ in sample.bars], fontsize=8)
            axes.set_ylim(0, 1.08 * top)
            axes.set_title(f"{title}: {sample.name}", fontsize=9)
            axes.set_ylabel("probability", fontsize=8)
            axes.tick_params(axis="y", labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=kind) for kind, (colour, hatch) in _LOOK.items()
    ]
    drawn.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    return drawn
