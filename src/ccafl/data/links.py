"""Corrections by people, a CSV table: columns kind, camera_a, label_a, camera_b, label_b.

A row says that two labels, each within its camera, are one person (kind ``must_link``) or two (``cannot_link``). A cell
that a spreadsheet would take for a formula begins with an apostrophe, which is no part of the name.
Reading the table does not need torch; `ccafl.data.identity_links` makes tensors of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ccafl.data.tables import rows_of_csv, table_text
from ccafl.errors import InputError
from ccafl.files import write_text

MUST_LINK, CANNOT_LINK = "must_link", "cannot_link"
KINDS = (MUST_LINK, CANNOT_LINK)
COLUMNS = ("kind", "camera_a", "label_a", "camera_b", "label_b")


Label = tuple[str, str]
"""A camera's name and a label within it."""


@dataclass(frozen=True, slots=True)
class Link:
    """What somebody says about two labels.

    Attributes:
        kind: ``must_link`` or ``cannot_link``.
        one, other: the labels.
        place: where the table says so, such as ``line 2``.
    """

    kind: str
    one: Label
    other: Label
    place: str


def read_links(path: Path) -> list[Link]:
    """Read a table of corrections.

    Raises:
        InputError: it is not such a table, or a line has an empty value or an unknown kind, links a label with itself,
            or separates two labels that other lines join.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a table of corrections")
    links = []
    for place, row in rows_of_csv(path, COLUMNS, ()):
        where = f"{path}, {place}"
        empty = [column for column in COLUMNS if not row[column]]
        if empty:
            raise InputError(f"{where}: {empty[0]} is empty; fill it in or remove the line")
        if row["kind"] not in KINDS:
            raise InputError(f"{where}: unknown kind {row['kind']!r}; use {' or '.join(KINDS)}")
        link = Link(row["kind"], (row["camera_a"], row["label_a"]), (row["camera_b"], row["label_b"]), place)
        if link.one == link.other:
            raise InputError(f"{where}: links {described(link.one)} with itself; name two labels or remove the line")
        links.append(link)
    _refuse_contradictions(path, links)
    return links


def write_links(path: Path, links: Sequence[Link]) -> None:
    """Write a table of corrections, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_text(path, table_text(COLUMNS, [(link.kind, *link.one, *link.other) for link in links]))


def links_beside(data: Path) -> Path:
    """Where the corrections of data are looked for: ``links.csv`` in their folder, or in that of their manifest."""
    return (data if data.is_dir() else data.parent) / "links.csv"


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
                f"{path}, {link.place}: says that {described(link.one)} and {described(link.other)} are two persons, "
                f"but {', '.join(places)} that they are one; remove the wrong lines"
            )


def described(label: Label) -> str:
    """A label and its camera, for messages."""
    return f"label {label[1]} of camera {label[0]}"
