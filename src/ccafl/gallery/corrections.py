"""People's corrections of joins across cameras, and their table for training.

If two corrections contradict each other, the later one holds: however must-links are chained, they never join
tracklets that a cannot-link keeps apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import combinations, product

from ccafl.data.links import CANNOT_LINK, MUST_LINK
from ccafl.data.tables import table_text
from ccafl.errors import InputError
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import Tracklet

Pair = tuple[Tracklet, Tracklet]


@dataclass(frozen=True, slots=True)
class Correction:
    """Two tracklets that somebody says show, or do not show, the same person.

    Attributes:
        kind: ``must_link`` or ``cannot_link``.
        camera_a: camera of the first.
        label_a: its label within that camera.
        camera_b: camera of the second.
        label_b: its label within that camera.
    """

    kind: str
    camera_a: str
    label_a: str
    camera_b: str
    label_b: str


def merge(gallery: Gallery, keys: Sequence[str]) -> str:
    """Record that these pictures show one person: their identities become one, with everything must-linked to them.

    Adds must-links between the pictures' tracklets, and removes cannot-links within the new identity.

    Returns:
        the common identity.

    Raises:
        InputError: an unknown picture, one without a label, or fewer than two tracklets.
    """
    tracklets = _tracklets(gallery, keys)
    if len(tracklets) < 2:
        raise InputError("a merge needs pictures of at least two labels; add a picture with another label")
    identities = gallery.ledger.identities()
    members = _connected(tracklets, _neighbours(linked(gallery, MUST_LINK), identities))
    previous = {identities[tracklet] for tracklet in members if tracklet in identities}
    identity = min(previous, key=_order) if previous else _new_identity(identities.values())
    links = dict.fromkeys(combinations(tracklets, 2), MUST_LINK)
    undone = [pair for pair in linked(gallery, CANNOT_LINK) if members.issuperset(pair)]
    gallery.ledger.correct(dict.fromkeys(members, identity), links, undone)
    return identity


def split(gallery: Gallery, keys: Sequence[str]) -> str:
    """Record that these pictures do not show the person they are joined with: their tracklets get a new identity.

    Adds cannot-links to the tracklets left behind, and removes must-links to any other tracklet.

    Returns:
        the new identity.

    Raises:
        InputError: an unknown picture, one without a label, pictures of several identities, or no tracklet left behind.
    """
    tracklets = set(_tracklets(gallery, keys))
    identities = gallery.ledger.identities()
    split_from = {identities.get(tracklet, "") for tracklet in tracklets}
    if len(split_from) != 1 or "" in split_from:
        raise InputError("the pictures are not of one identity; choose pictures of the same identity")
    rest = [t for t, identity in identities.items() if identity in split_from and t not in tracklets]
    if not rest:
        raise InputError("these are all pictures of their identity; leave out those that do show the person")
    identity = _new_identity(identities.values())
    links = dict.fromkeys(product(sorted(tracklets), rest), CANNOT_LINK)
    undone = [pair for pair in linked(gallery, MUST_LINK) if len(tracklets.intersection(pair)) == 1]
    gallery.ledger.correct(dict.fromkeys(tracklets, identity), links, undone)
    return identity


def join(gallery: Gallery, identities: Mapping[Tracklet, str]) -> None:
    """Replace the identities of all cameras' labels, applying the corrections.

    Tracklets joined by must-links become one identity; where a cannot-link lies within an identity, as few tracklets
    as possible are moved to a new one.
    """
    must, cannot = linked(gallery, MUST_LINK), linked(gallery, CANNOT_LINK)
    gallery.join(_separated(_united(identities, must), must, cannot))


def corrections(gallery: Gallery) -> list[Correction]:
    """All corrections, sorted by camera and label."""
    return [Correction(*row) for row in gallery.ledger.corrections()]


def corrections_csv(gallery: Gallery) -> str:
    """The table of corrections, as training reads it through ``data.links``."""
    return table_text([column.name for column in fields(Correction)], map(astuple, corrections(gallery)))


def linked(gallery: Gallery, kind: str) -> list[Pair]:
    """The pairs of tracklets with one kind of correction."""
    return [((c.camera_a, c.label_a), (c.camera_b, c.label_b)) for c in corrections(gallery) if c.kind == kind]


def _tracklets(gallery: Gallery, keys: Sequence[str]) -> list[Tracklet]:
    entries = gallery.get(list(dict.fromkeys(keys)))
    if missing := set(keys) - {entry.key for entry in entries}:
        raise InputError(f"{min(missing)}: no such picture in the gallery; search again")
    for entry in entries:
        if not entry.label:
            raise InputError(
                f"{entry.source}: has no label within its camera, so it cannot be joined; add it with a label"
            )
    return sorted({(entry.camera, entry.label) for entry in entries})


def _neighbours(must: Iterable[Pair], identities: Mapping[Tracklet, str]) -> dict[Tracklet, set[Tracklet]]:
    """The graph of tracklets that are one person: must-links, and for each identity links to its first tracklet."""
    neighbours: dict[Tracklet, set[Tracklet]] = defaultdict(set)
    first: dict[str, Tracklet] = {}
    same = ((first.setdefault(identity, tracklet), tracklet) for tracklet, identity in identities.items())
    for one, other in (*must, *same):
        neighbours[one].add(other)
        neighbours[other].add(one)
    return neighbours


def _connected(start: Iterable[Tracklet], neighbours: Mapping[Tracklet, set[Tracklet]]) -> set[Tracklet]:
    """All tracklets reachable from ``start``, which is included."""
    found, fresh = set[Tracklet](), set(start)
    while fresh:
        found |= fresh
        fresh = set[Tracklet]().union(*(neighbours.get(tracklet, ()) for tracklet in fresh)) - found
    return found


def _united(identities: Mapping[Tracklet, str], must: Sequence[Pair]) -> dict[Tracklet, str]:
    """The identities, changed so that must-linked tracklets share one."""
    united, done = dict(identities), set[Tracklet]()
    neighbours = _neighbours(must, identities)
    for tracklet in sorted({tracklet for pair in must for tracklet in pair}):
        if tracklet not in done:
            members = _connected([tracklet], neighbours)
            previous = {identities[member] for member in members if member in identities}
            united |= dict.fromkeys(members, min(previous, key=_order) if previous else _new_identity(united.values()))
            done |= members
    return united


def _separated(identities: Mapping[Tracklet, str], must: Sequence[Pair], cannot: Sequence[Pair]) -> dict[Tracklet, str]:
    """The identities, changed so that cannot-linked tracklets never share one; must-links stay within one."""
    separated = dict(identities)
    conflicts: dict[Tracklet, set[Tracklet]] = defaultdict(set)
    for one, other in cannot:
        if one in separated and separated[one] == separated.get(other):
            conflicts[one].add(other)
            conflicts[other].add(one)
    neighbours = _neighbours(must, {})
    for identity in sorted({separated[tracklet] for tracklet in conflicts}, key=_order):
        members = {tracklet for tracklet, own in separated.items() if own == identity}
        blocks = {frozenset(_connected([tracklet], neighbours)) & members for tracklet in members}
        against = {block: set[Tracklet]().union(*(conflicts[tracklet] for tracklet in block)) for block in blocks}
        parts: list[set[Tracklet]] = []
        for block in sorted(blocks, key=lambda block: (len(against[block]), sorted(block))):  # fewest conflicts first
            part = next((part for part in parts if not part & against[block]), None)
            if part is None:
                parts.append(set(block))
            else:
                part |= block
        for part in parts[1:]:
            separated |= dict.fromkeys(part, _new_identity(separated.values()))
    return separated


def _order(identity: str) -> tuple[int, str]:
    """Sort key: numbers by size, then names."""
    return (int(identity), "") if identity.isdecimal() else (1 << 62, identity)


def _new_identity(identities: Iterable[str]) -> str:
    """The number after the largest in use."""
    return str(max((int(identity) for identity in set(identities) if identity.isdecimal()), default=-1) + 1)
