"""Corrections as links between accumulated identities, in tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
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


def links_between(path: Path, images: LabelledImages) -> IdentityLinks:
    """The corrections of a table as links between the accumulated identities of ``images``.

    Rows naming labels that the images do not have are left out: a table may cover other pictures too.

    Raises:
        InputError: as `read_links`, or no row links labels of these images.
    """
    links = read_links(path)
    cameras = (images.camera_names[camera] for camera in images.identity_cameras.tolist())
    found = numbered(links, list(zip(cameras, images.identity_labels, strict=True)))
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
        once = sorted({(min(pair), max(pair)) for pair in ends})
        return torch.tensor(once, dtype=torch.int64).reshape(-1, 2)

    return IdentityLinks(pairs(MUST_LINK), pairs(CANNOT_LINK), len(links) - len(known))
