"""Corrections as links between accumulated identities, in tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ccafl.data.links import CANNOT_LINK, MUST_LINK, Label, Link, described, read_links
from ccafl.data.numbering import LabelledImages
from ccafl.errors import InputError


@dataclass(frozen=True, slots=True)
class IdentityLinks:
    """Links between accumulated identities.

    Attributes:
        must: (M, 2) int64, each pair once, the smaller identity first, sorted.
        cannot: likewise.
        left_out: rows of the table that name a label which the images do not have.
    """

    must: Tensor
    cannot: Tensor
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.must) + len(self.cannot)

    def grouped(self, groups: Tensor) -> "IdentityLinks":
        """The same between groups of identities, given for each (N,) int64; what is within a group is left out."""
        must, cannot = (_once(groups[pairs]) for pairs in (self.must, self.cannot))
        return IdentityLinks(must, cannot, self.left_out)


def links_between(path: Path, images: LabelledImages) -> IdentityLinks:
    """The corrections of a table as links between the accumulated identities of ``images``.

    Rows naming labels that the images do not have are left out: a table may cover other pictures too.

    Raises:
        InputError: as `read_links`, or no row links labels of these images.
    """
    links = read_links(path)
    found = numbered(links, images.names)
    if links and not len(found):
        raise InputError(
            f"{path}: no line links two labels of these images (the first links "
            f"{described(links[0].one)} and {described(links[0].other)}); give the corrections of these data"
        )
    return found


def numbered(links: Sequence[Link], labels: Sequence[Label]) -> IdentityLinks:
    """Links as pairs of indices into ``labels``; links with other labels are left out and counted."""
    place = {label: number for number, label in enumerate(labels)}
    known = [link for link in links if link.one in place and link.other in place]

    def pairs(kind: str) -> Tensor:
        ends = ((place[link.one], place[link.other]) for link in known if link.kind == kind)
        return _once(torch.tensor(list(ends), dtype=torch.int64).reshape(-1, 2))

    return IdentityLinks(pairs(MUST_LINK), pairs(CANNOT_LINK), len(links) - len(known))


@dataclass(frozen=True, slots=True)
class Merged:
    """Labels merged that are one person in one camera.

    Attributes:
        images: with G identities instead of N; each has the label of its first member.
        groups: (N,) int64 in 0..G-1, the identity that each label is part of.
        first: (G,) int64, the first label of each identity.
    """

    images: LabelledImages
    groups: Tensor
    first: Tensor


def merged(images: LabelledImages, links: IdentityLinks) -> Merged:
    """Merge the labels that must-links say are one person in one camera."""
    count, cameras = len(images.identity_cameras), images.identity_cameras
    inside = links.must[cameras[links.must[:, 0]] == cameras[links.must[:, 1]]].numpy()
    graph = coo_array((np.ones(len(inside)), (inside[:, 0], inside[:, 1])), shape=(count, count))
    found = connected_components(graph, directed=False)[1]  # numbered by first member
    return grouped(images, torch.from_numpy(found).long())


def grouped(images: LabelledImages, groups: Tensor) -> Merged:
    """Merge the labels of each group (N,), numbered by first member; each has labels of one camera only."""
    first = torch.from_numpy(np.unique(groups.numpy(), return_index=True)[1]).long()
    identities, cameras = groups[images.identities], images.identity_cameras[first]
    offsets = torch.searchsorted(cameras, torch.arange(len(images.camera_names)))
    tracks = images.tracks
    if tracks is not None:
        tracks = torch.cat([groups[tracks[:, :1].long()].double(), tracks[:, 1:]], dim=1)
    changed = replace(
        images,
        labels=identities - offsets[images.cameras],
        identities=identities,
        identity_cameras=cameras,
        identity_labels=tuple(images.identity_labels[label] for label in first.tolist()),
        tracks=tracks,
    )
    return Merged(changed, groups, first)


def _once(pairs: Tensor) -> Tensor:
    """Each pair (M, 2) once, the smaller number first, sorted; none of a number with itself."""
    pairs = pairs.sort(dim=1).values
    once: Tensor = pairs[pairs[:, 0] < pairs[:, 1]].unique(dim=0)
    return once
