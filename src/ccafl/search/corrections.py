"""Joins across cameras corrected by people, and the table of them that training reads back.

Of two corrections that contradict each other the later one holds: however they are chained, must-links never join
tracklets that a cannot-link keeps apart.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import combinations, product

from ccafl.data.links import CANNOT_LINK, MUST_LINK
from ccafl.errors import InputError
from ccafl.search.gallery import Gallery
from ccafl.search.ledger import Tracklet

Pair = tuple[Tracklet, Tracklet]


@dataclass(frozen=True, slots=True)
class Correction:
    """Two tracklets that a person says are, or are not, one person.

    Attributes:
        kind: ``must_link`` or ``cannot_link``.
        camera_a: camera of the one.
        label_a: its label within that camera.
        camera_b: camera of the other.
        label_b: its label.
    """

    kind: str
    camera_a: str
    label_a: str
    camera_b: str
    label_b: str


def merge(gallery: Gallery, keys: Sequence[str]) -> str:
    """These pictures show one person: their identities become one, with all that must-links add to them.

    Must-links between the pictures' tracklets are written; cannot-links within the new identity are taken back.

    Returns:
        the identity that all have now.

    Raises:
        InputError: an unknown picture, one without a label, or fewer than two tracklets.
    """
    tracklets = _tracklets(gallery, keys)
    if len(tracklets) < 2:
        raise InputError("the pictures are of one camera's label, which is one person already; add one of another")
    identities = gallery.ledger.identities()
    members = _together(tracklets, _neighbours(linked(gallery, MUST_LINK), identities))
    had = {identities[tracklet] for tracklet in members if tracklet in identities}
    identity = min(had, key=_order) if had else _new_identity(identities.values())
    links = dict.fromkeys(combinations(tracklets, 2), MUST_LINK)
    undone = [pair for pair in linked(gallery, CANNOT_LINK) if members.issuperset(pair)]
    gallery.ledger.correct(dict.fromkeys(members, identity), links, undone)
    return identity


def split(gallery: Gallery, keys: Sequence[str]) -> str:
    """These pictures do not show the person that they are joined with: their tracklets become an identity of their own.

    Cannot-links to the tracklets that they leave are written; must-links to any other tracklet are taken back.

    Returns:
        the new identity.

    Raises:
        InputError: an unknown picture, one without a label, pictures of several identities, or nobody left behind.
    """
    tracklets = set(_tracklets(gallery, keys))
    identities = gallery.ledger.identities()
    of = {identities.get(tracklet, "") for tracklet in tracklets}
    if len(of) != 1 or "" in of:
        raise InputError("the pictures have not one identity to be split from; choose pictures of one identity")
    left = [tracklet for tracklet, identity in identities.items() if identity in of and tracklet not in tracklets]
    if not left:
        raise InputError("the pictures are all that their identity has; leave those out that are the person")
    identity = _new_identity(identities.values())
    links = dict.fromkeys(product(sorted(tracklets), left), CANNOT_LINK)
    undone = [pair for pair in linked(gallery, MUST_LINK) if len(tracklets.intersection(pair)) == 1]
    gallery.ledger.correct(dict.fromkeys(tracklets, identity), links, undone)
    return identity


def join(gallery: Gallery, identities: Mapping[Tracklet, str]) -> None:
    """Write the identity of each camera's labels, in place of all that there were, as the corrections have it.

    What must-links join becomes one identity; what a cannot-link keeps apart of an identity, as few tracklets as can
    be, becomes one of its own.
    """
    must, cannot = linked(gallery, MUST_LINK), linked(gallery, CANNOT_LINK)
    joined = _apart(_united(identities, must), must, cannot)
    gallery.join(joined)


def corrections(gallery: Gallery) -> list[Correction]:
    """All corrections, by camera and label."""
    return [Correction(*row) for row in gallery.ledger.corrections()]


def corrections_csv(gallery: Gallery) -> str:
    """The table of corrections, as ``data.links`` of a training reads it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.name for column in fields(Correction)])
    rows.writerows(astuple(correction) for correction in corrections(gallery))
    return text.getvalue()


def linked(gallery: Gallery, kind: str) -> list[Pair]:
    """The pairs of tracklets of one kind of correction."""
    return [((c.camera_a, c.label_a), (c.camera_b, c.label_b)) for c in corrections(gallery) if c.kind == kind]


def _tracklets(gallery: Gallery, keys: Sequence[str]) -> list[Tracklet]:
    entries = gallery.get(list(dict.fromkeys(keys)))
    if missing := set(keys) - {entry.key for entry in entries}:
        raise InputError(f"{min(missing)}: no such picture in the gallery; search anew")
    for entry in entries:
        if not entry.label:
            raise InputError(f"{entry.source}: has no label within its camera, so it cannot be joined; add it with one")
    return sorted({(entry.camera, entry.label) for entry in entries})


def _neighbours(must: Iterable[Pair], identities: Mapping[Tracklet, str]) -> dict[Tracklet, set[Tracklet]]:
    """Who is one person with whom: by must-link, or by identity, whose first tracklet stands for it."""
    neighbours: dict[Tracklet, set[Tracklet]] = defaultdict(set)
    first: dict[str, Tracklet] = {}
    alike = ((first.setdefault(identity, tracklet), tracklet) for tracklet, identity in identities.items())
    for one, other in (*must, *alike):
        neighbours[one].add(other)
        neighbours[other].add(one)
    return neighbours


def _together(start: Iterable[Tracklet], neighbours: Mapping[Tracklet, set[Tracklet]]) -> set[Tracklet]:
    """All that is one person with ``start``, itself among it."""
    found, fresh = set[Tracklet](), set(start)
    while fresh:
        found |= fresh
        fresh = set[Tracklet]().union(*(neighbours.get(tracklet, ()) for tracklet in fresh)) - found
    return found


def _united(identities: Mapping[Tracklet, str], must: Sequence[Pair]) -> dict[Tracklet, str]:
    """Identities where tracklets with a must-link have one."""
    united, done = dict(identities), set[Tracklet]()
    neighbours = _neighbours(must, identities)
    for tracklet in sorted({tracklet for pair in must for tracklet in pair}):
        if tracklet not in done:
            members = _together([tracklet], neighbours)
            had = {identities[member] for member in members if member in identities}
            united |= dict.fromkeys(members, min(had, key=_order) if had else _new_identity(united.values()))
            done |= members
    return united


def _apart(identities: Mapping[Tracklet, str], must: Sequence[Pair], cannot: Sequence[Pair]) -> dict[Tracklet, str]:
    """Identities where no two tracklets with a cannot-link share one; what must-links join stays together."""
    apart = dict(identities)
    enemies: dict[Tracklet, set[Tracklet]] = defaultdict(set)
    for one, other in cannot:
        if one in apart and apart[one] == apart.get(other):
            enemies[one].add(other)
            enemies[other].add(one)
    neighbours = _neighbours(must, {})
    for identity in sorted({apart[tracklet] for tracklet in enemies}, key=_order):
        members = {tracklet for tracklet, own in apart.items() if own == identity}
        whole = {frozenset(_together([tracklet], neighbours)) & members for tracklet in members}
        foes = {some: set[Tracklet]().union(*(enemies[tracklet] for tracklet in some)) for some in whole}
        parts: list[set[Tracklet]] = []
        for some in sorted(whole, key=lambda some: (len(foes[some]), sorted(some))):  # who has the fewest foes stays
            part = next((part for part in parts if not part & foes[some]), None)
            if part is None:
                parts.append(set(some))
            else:
                part |= some
        for part in parts[1:]:
            apart |= dict.fromkeys(part, _new_identity(apart.values()))
    return apart


def _order(identity: str) -> tuple[int, str]:
    """Numbers by size, before names."""
    return (int(identity), "") if identity.isdecimal() else (1 << 62, identity)


def _new_identity(identities: Iterable[str]) -> str:
    """The number after the largest."""
    return str(max((int(identity) for identity in set(identities) if identity.isdecimal()), default=-1) + 1)
