"""Corrections by people, a CSV table: columns kind, camera_a, label_a, camera_b, label_b.

A row says of two labels, each of a camera, that they are one person (kind ``must_link``) or two (``cannot_link``). The
table can be read without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ccafl.data.manifest import rows_of_csv
from ccafl.data.records import LabelledImages
from ccafl.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MUST_LINK, CANNOT_LINK = "must_link", "cannot_link"
KINDS = (MUST_LINK, CANNOT_LINK)
COLUMNS = ("kind", "camera_a", "label_a", "camera_b", "label_b")

Label = tuple[str, str]
"""A camera's name and a label within it."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a person says of two labels.

    Attributes:
        kind: ``must_link`` or ``cannot_link``.
        one: the one label.
        other: the other.
        place: where the table says it, as ``line 2``.
    """

    kind: str
    one: Label
    other: Label
    place: str


@dataclass(frozen=True, slots=True)
class IdentityLinks:
    """Links between accumulated identities.

    Attributes:
        must: (M, 2) int64, each pair once, the lesser identity first, in order.
        cannot: the same.
        left_out: rows of the table that name a label which the images do not have.
    """

    must: "Tensor"
    cannot: "Tensor"
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.must) + len(self.cannot)


def read_links(path: Path) -> list[Link]:
    """Read a table of corrections.

    Raises:
        InputError: it is no such table, or in some line a value is empty, the kind is unknown, a label is linked to
            itself, or two labels are said to be two persons whom other lines make one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a table of corrections")
    links = []
    for place, row in rows_of_csv(path, COLUMNS, ()):
        where = f"{path}, {place}"
        empty = [column for column in COLUMNS if not row[column].strip()]
        if empty:
            raise InputError(f"{where}: {empty[0]} is empty; fill it in or remove the line")
        if row["kind"] not in KINDS:
            raise InputError(f"{where}: unknown kind {row['kind']!r}; use {' or '.join(KINDS)}")
        link = Link(row["kind"], (row["camera_a"], row["label_a"]), (row["camera_b"], row["label_b"]), place)
        if link.one == link.other:
            raise InputError(f"{where}: links {_said(link.one)} with itself; name two labels or remove the line")
        links.append(link)
    _refuse_contradictions(path, links)
    return links


def links_between(path: Path, images: LabelledImages) -> IdentityLinks:
    """The corrections of a table as links between the accumulated identities of ``images``.

    Rows that name labels which the images do not have are left out: a table may tell of other pictures too.

    Raises:
        InputError: as `read_links`, or nothing in the table is of these images.
    """
    links = read_links(path)
    cameras = (images.camera_names[camera] for camera in images.identity_cameras.tolist())
    found = numbered(links, list(zip(cameras, images.identity_labels, strict=True)))
    if links and not len(found):
        raise InputError(
            f"{path}: no line is of these images, which have no two labels that it links (such as "
            f"{_said(links[0].one)} and {_said(links[0].other)}); give the corrections of these data"
        )
    return found


def numbered(links: Sequence[Link], labels: Sequence[Label]) -> IdentityLinks:
    """Links as pairs of places in ``labels``; those of other labels are left out and counted."""
    import torch

    place = {label: number for number, label in enumerate(labels)}
    known = [link for link in links if link.one in place and link.other in place]

    def pairs(kind: str) -> "Tensor":
        ends = ((place[link.one], place[link.other]) for link in known if link.kind == kind)
        once = sorted({(min(pair), max(pair)) for pair in ends})
        return torch.tensor(once, dtype=torch.int64).reshape(-1, 2)

    return IdentityLinks(pairs(MUST_LINK), pairs(CANNOT_LINK), len(links) - len(known))


def _refuse_contradictions(path: Path, links: Sequence[Link]) -> None:
    labels = list(dict.fromkeys(label for link in links for label in (link.one, link.other)))
    number = {label: index for index, label in enumerate(labels)}
    must = {(number[link.one], number[link.other]): link.place for link in links if link.kind == MUST_LINK}
    if not must:
        return
    first, second = np.array(list(must)).T
    graph = coo_array((np.ones(len(must)), (first, second)), shape=(len(labels), len(labels))).tocsr()
    person = connected_components(graph, directed=False)[1]
    for link in links:
        one, other = number[link.one], number[link.other]
        if link.kind == CANNOT_LINK and person[one] == person[other]:
            before = breadth_first_order(graph, one, directed=False)[1]
            chain = [other]
            while chain[-1] != one:
                chain.append(int(before[chain[-1]]))
            places = [must.get(pair) or must[pair[::-1]] for pair in pairwise(chain)]
            raise InputError(
                f"{path}, {link.place}: says that {_said(link.one)} and {_said(link.other)} are two persons, but "
                f"{', '.join(places)} that they are one; remove what is wrong"
            )


def _said(label: Label) -> str:
    return f"label {label[1]} of camera {label[0]}"
