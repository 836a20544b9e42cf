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
from ccafl.gallery.ledger import Pair, Tracklet


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


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction did.

    Attributes:
        identity: of the pictures now.
        change: its number, for `undo`.
    """

    identity: str
    change: int


def merge(gallery: Gallery, keys: Sequence[str]) -> Corrected:
    """Record that these pictures show one person: their identities become one, with everything must-linked to them.

    Adds must-links between the pictures' tracklets, and removes cannot-links within the new identity.

    Returns:
        the common identity, and the change.

    Raises:
        InputError: an unknown picture, one without a label, or fewer than two tracklets.
    """
    tracklets = _tracklets(gallery, keys)
    if len(tracklets) < 2:
        raise InputError("a merge needs pictures of at least two labels; add a picture with another label")
    return _merge(gallery, tracklets)


def link(gallery: Gallery, one: Tracklet, other: Tracklet, *, same: bool) -> Corrected:
    """Record that two labels show one person, which joins their persons, or that they do not.

    Where they are kept apart, the other labels of their person stay with the one that they resemble more.

    Returns:
        the identity of the first label now, empty for none, and the change.

    Raises:
        InputError: a label that has no picture, the same label twice, or labels to be kept apart that other corrections
            join.
    """
    for camera, label in (one, other):
        if not label or not gallery.of_track(camera, label):
            raise InputError(f"{camera}/{label}: no such label in the gallery; look at the joins again")
    if one == other:
        raise InputError(f"{one[0]}/{one[1]}: is one label; give two")
    if same:
        return _merge(gallery, sorted((one, other)))
    pair = min(one, other), max(one, other)
    others = [own for own in linked(gallery, MUST_LINK) if own != pair]
    if other in _connected([one], _neighbours(others, {})):
        raise InputError("other corrections join these two labels; remove one of those first")
    return Corrected(*_changed(gallery, {pair: CANNOT_LINK}, one))


def undo(gallery: Gallery, change: int) -> None:
    """Take a change of corrections back: links that it made are removed, those that it removed come back.

    Pairs that were changed again since stay as they are, and no link comes back that contradicts the others. Nothing
    happens if it was taken back already, or changed nothing.
    """
    changed = gallery.ledger.change(change)
    if not changed:
        return
    links = gallery.ledger.links()
    undone = {pair: before for pair, (before, after) in changed.items() if links.get(pair) == after}
    kept = {pair: kind for pair, kind in links.items() if pair not in undone}
    for pair, before in undone.items():
        if before is not None and _consistent(kept | {pair: before}):
            kept[pair] = before
    _changed(gallery, {pair: kept.get(pair) for pair in undone}, undone=change)


def remove(gallery: Gallery, one: Tracklet, other: Tracklet) -> Corrected:
    """Remove a correction; the two labels are joined, or not, as the last join said and the others say.

    Raises:
        InputError: there is no such correction.
    """
    pair = min(one, other), max(one, other)
    if pair not in gallery.ledger.links():
        raise InputError("there is no such correction any more; the list shows what is left")
    return Corrected(*_changed(gallery, {pair: None}, one))


def _merge(gallery: Gallery, tracklets: Sequence[Tracklet]) -> Corrected:
    identities = gallery.ledger.identities()
    members = _connected(tracklets, _neighbours(linked(gallery, MUST_LINK), identities))
    previous = {identities[tracklet] for tracklet in members if tracklet in identities}
    identity = min(previous, key=_order) if previous else _new_identity(identities.values())
    undone = dict.fromkeys(pair for pair in linked(gallery, CANNOT_LINK) if members.issuperset(pair))
    links = undone | dict.fromkeys(combinations(tracklets, 2), MUST_LINK)
    return Corrected(identity, gallery.ledger.correct(dict.fromkeys(members, identity), links))


def split(gallery: Gallery, keys: Sequence[str]) -> Corrected:
    """Record that these pictures do not show the person they are joined with: their tracklets get a new identity.

    Adds cannot-links to the tracklets left behind, and removes must-links to any other tracklet.

    Returns:
        the new identity, and the change.

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
    undone = dict.fromkeys(pair for pair in linked(gallery, MUST_LINK) if len(tracklets.intersection(pair)) == 1)
    apart = {(min(pair), max(pair)): CANNOT_LINK for pair in product(tracklets, rest)}
    return Corrected(identity, gallery.ledger.correct(dict.fromkeys(tracklets, identity), undone | apart))


def join(gallery: Gallery, identities: Mapping[Tracklet, str]) -> None:
    """Replace the identities of all cameras' labels, applying the corrections.

    Tracklets joined by must-links become one identity; where a cannot-link lies within an identity, it becomes several,
    and each other tracklet goes to the one that it resembles most.
    """
    gallery.join(_corrected(gallery, identities, gallery.ledger.links()), identities)


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


def _corrected(gallery: Gallery, joined: Mapping[Tracklet, str], links: Mapping[Pair, str]) -> dict[Tracklet, str]:
    """The identities of a join, changed as the links say."""
    must, cannot = ([pair for pair, own in links.items() if own == kind] for kind in (MUST_LINK, CANNOT_LINK))
    return _separated(gallery, _united(joined, must), must, cannot)


def _changed(
    gallery: Gallery, links: Mapping[Pair, str | None], one: Tracklet = ("", ""), undone: int | None = None
) -> tuple[str, int]:
    """Write links, None for none, and the identities that follow: that of ``one``, and the number of the change.

    Persons who stay as they are keep their identity.
    """
    ledger = gallery.ledger
    wanted = {pair: kind for pair, kind in (ledger.links() | dict(links)).items() if kind is not None}
    before, now = ledger.identities(), _corrected(gallery, ledger.joined(), wanted)
    same = {members: identity for identity, members in _persons(before).items()}
    persons = _persons(now)
    kept = {members: same[members] for members in persons.values() if members in same}
    used = set(kept.values())
    for identity, members in persons.items():
        if members not in kept:
            kept[members] = (
                identity if identity not in used else _new_identity([*used, *now.values(), *before.values()])
            )
            used.add(kept[members])
    identities = {tracklet: identity for members, identity in kept.items() for tracklet in members}
    different = {t: identities.get(t, "") for t in before | identities if before.get(t) != identities.get(t)}
    return identities.get(one, ""), ledger.correct(different, links, undone)


def _persons(identities: Mapping[Tracklet, str]) -> dict[str, frozenset[Tracklet]]:
    members: dict[str, set[Tracklet]] = defaultdict(set)
    for tracklet, identity in identities.items():
        members[identity].add(tracklet)
    return {identity: frozenset(own) for identity, own in members.items()}


def _consistent(links: Mapping[Pair, str]) -> bool:
    """Whether no must-links join what a cannot-link keeps apart."""
    neighbours = _neighbours((pair for pair, kind in links.items() if kind == MUST_LINK), {})
    return not any(kind == CANNOT_LINK and b in _connected([a], neighbours) for (a, b), kind in links.items())


def _separated(
    gallery: Gallery, identities: Mapping[Tracklet, str], must: Sequence[Pair], cannot: Sequence[Pair]
) -> dict[Tracklet, str]:
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
        sought = sorted(blocks, key=lambda block: (not against[block], len(against[block]), sorted(block)))
        for block in sought:  # fewest conflicts first, then those without any, which follow those they resemble
            possible = [part for part in parts if not part & against[block]]
            if not possible:
                parts.append(set(block))
            elif against[block]:
                possible[0].update(block)
            else:
                _nearest(gallery, block, possible).update(block)
        for part in sorted(parts, key=len, reverse=True)[1:]:  # most tracklets keep the identity
            separated |= dict.fromkeys(part, _new_identity(separated.values()))
    return separated


def _nearest(gallery: Gallery, block: frozenset[Tracklet], parts: Sequence[set[Tracklet]]) -> set[Tracklet]:
    """The part whose most similar tracklet is most similar to one of the block's; the first of equal ones."""
    own = gallery.centres(sorted(block))
    alike = [round(float((own @ gallery.centres(sorted(part)).T).max()), 6) for part in parts]
    return parts[alike.index(max(alike))]


def _order(identity: str) -> tuple[int, str]:
    """Sort key: numbers by size, then names."""
    return (int(identity), "") if identity.isdecimal() else (1 << 62, identity)


def _new_identity(identities: Iterable[str]) -> str:
    """The number after the largest in use."""
    return str(max((int(identity) for identity in set(identities) if identity.isdecimal()), default=-1) + 1)
