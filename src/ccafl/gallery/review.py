"""Doubtful joins: which pairs of labels of two cameras people should look at, the most useful first."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ccafl.data.links import CANNOT_LINK, MUST_LINK
from ccafl.errors import InputError
from ccafl.gallery.corrections import linked
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import Tracklet

_DOUBT = 0.05  # an answer that is less likely to change anything is not worth a question
_ALL_PAIRS = 200  # labels of a person; of one with more, only the pairs that are most similar to each other count


@dataclass(frozen=True, slots=True)
class Question:
    """Whether two labels of different cameras are one person.

    Attributes:
        one, other: the labels.
        joined: whether they are joined now.
        similarity: cosine of their mean features, each without its camera's mean.
        probability: that they are one person, as estimated; None where the two are not most similar to each other.
        worth: pairs of labels that an answer puts right, on average.
    """

    one: Tracklet
    other: Tracklet
    joined: bool
    similarity: float
    probability: float | None
    worth: float


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The labels of a gallery, compared across cameras.

    Attributes:
        labels: n of them, sorted.
        centres: (n, D), mean features without the camera's mean, L2-normalised.
        probability: of being one person, by pairs of labels, numbered, the lower first: those of two cameras that are
            most similar to each other.
    """

    labels: list[Tracklet]
    centres: NDArray[np.float32]
    probability: dict[tuple[int, int], float]


def compare(gallery: Gallery) -> Compared:
    """Compare a gallery's labels; takes as long as reading all features.

    Raises:
        InputError: torch, which estimates the probabilities, is missing.
    """
    try:
        import torch

        from ccafl.method.calibrated_association import likely_pairs
    except ImportError as error:
        raise InputError("doubtful joins are found with torch; install it") from error
    sums: dict[Tracklet, NDArray[np.float64]] = {}
    counts: dict[Tracklet, int] = defaultdict(int)
    for rows, features in gallery.all_features():
        places: dict[Tracklet, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            places[row["camera"], row["label"]].append(place)
        for tracklet, own in places.items():
            sums[tracklet] = sums.get(tracklet, 0) + features[own].sum(0, dtype=np.float64)
            counts[tracklet] += len(own)
    labels = sorted(tracklet for tracklet in sums if tracklet[1])
    if not labels:
        return Compared([], np.zeros((0, gallery.dim), np.float32), {})
    cameras = {camera: number for number, camera in enumerate(sorted({camera for camera, _ in labels}))}
    means = {
        camera: np.mean([sums[own] / counts[own] for own in labels if own[0] == camera], axis=0) for camera in cameras
    }
    centres = np.stack([sums[own] / counts[own] - means[own[0]] for own in labels])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True).clip(1e-12)
    of_label = torch.tensor([cameras[camera] for camera, _ in labels])
    pairs, probability = likely_pairs(torch.from_numpy(centres), of_label)
    known = {(min(pair), max(pair)): own for pair, own in zip(pairs.tolist(), probability.tolist(), strict=True)}
    return Compared(labels, centres.astype(np.float32), known)


def questions(gallery: Gallery, compared: Compared) -> list[Question]:
    """What to ask, the answers likely to put most right first; nothing that corrections decide already.

    Of a joined person, the labels are asked about that hold it together, by the most probable pairs; of two persons
    that are apart, the most probable pair.
    """
    number = {label: place for place, label in enumerate(compared.labels)}
    must, cannot = (
        [(number[one], number[other]) for one, other in linked(gallery, kind) if one in number and other in number]
        for kind in (MUST_LINK, CANNOT_LINK)
    )
    groups = _Groups(len(number))
    for pair in must:
        groups.unite(*pair)
    together = [groups.of(place) for place in range(len(number))]
    apart = {frozenset((together[one], together[other])) for one, other in cannot}
    joined = gallery.ledger.identities()
    identity = [joined.get(label) or f"{place}\n" for place, label in enumerate(compared.labels)]  # no name has a \n
    members: dict[str, list[int]] = defaultdict(list)
    for place, person in enumerate(identity):
        members[person].append(place)
    found = []

    def asked(one: int, other: int, weight: int, *, same: bool) -> None:
        probability = compared.probability.get((min(one, other), max(one, other)))
        doubt = 1 - (probability or 0) if same else (probability or 0)
        decided = together[one] == together[other] or frozenset((together[one], together[other])) in apart
        if decided or doubt < _DOUBT or compared.labels[one][0] == compared.labels[other][0]:
            return
        similarity = float(compared.centres[one] @ compared.centres[other])
        pair = compared.labels[one], compared.labels[other]
        found.append(Question(*pair, same, similarity, probability, weight * doubt))

    within: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for pair in compared.probability:
        if identity[pair[0]] == identity[pair[1]]:
            within[identity[pair[0]]].append(pair)
    for person, own in members.items():
        possible = list(combinations(own, 2)) if len(own) <= _ALL_PAIRS else within[person]
        for one, other in sorted(possible, key=lambda pair: _closeness(compared, *pair), reverse=True):
            if weight := groups.unite(one, other):
                asked(one, other, weight, same=True)
    best: dict[frozenset[str], tuple[int, int]] = {}
    for pair in sorted(compared.probability, key=lambda pair: -compared.probability[pair]):
        ends = frozenset(identity[place] for place in pair)
        if len(ends) == 2:
            best.setdefault(ends, pair)
    for one, other in best.values():
        asked(one, other, len(members[identity[one]]) * len(members[identity[other]]), same=False)
    return sorted(found, key=lambda question: (-question.worth, question.one, question.other))


def _closeness(compared: Compared, one: int, other: int) -> tuple[float, float]:
    """Sort key of pairs: by probability, then by similarity."""
    return compared.probability.get((one, other), -1.0), float(compared.centres[one] @ compared.centres[other])


class _Groups:
    """Numbers 0 to n-1 in groups, which are united step by step."""

    def __init__(self, count: int) -> None:
        self._above, self._sizes = list(range(count)), [1] * count

    def of(self, place: int) -> int:
        while self._above[place] != place:
            self._above[place] = place = self._above[self._above[place]]
        return place

    def unite(self, one: int, other: int) -> int:
        """Unite two groups; gives the product of their sizes, 0 if they are one group already."""
        one, other = self.of(one), self.of(other)
        if one == other:
            return 0
        weight = self._sizes[one] * self._sizes[other]
        self._above[other] = one
        self._sizes[one] += self._sizes[other]
        return weight
