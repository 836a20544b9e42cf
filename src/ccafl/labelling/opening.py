"""Opening a site for labelling: its tracks and their features."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ccafl.data.images import load_image
from ccafl.data.numbering import accumulate
from ccafl.data.opening import readable
from ccafl.data.source import read_source
from ccafl.encoders.encoder import open_encoder
from ccafl.errors import InputError
from ccafl.labelling.session import LabellingSession
from ccafl.terminal import bar
from ccafl.words import listed_names

_BATCH = 64


def open_session(
    site: Path,
    table: Path,
    *,
    cameras: Sequence[str] = (),
    encoder: str = "clip-synth",
    kind: str | None = None,
    outside: bool = False,
) -> LabellingSession:
    """The questions of a site, and the answers in ``table``.

    Args:
        site: images of tracks.
        table: of the answers.
        cameras: which to ask about; all if none is given.
        encoder: as `ccafl.encoders.encoder.open_encoder` takes it.
        kind, outside: as `read_source` takes them.

    Raises:
        InputError: the images, the table or the encoder cannot be used, or there is no such camera.
    """
    source = read_source(site, kind, outside=outside)
    known = sorted({record.camera for record in source.train})
    for camera in cameras:
        if camera not in known:
            raise InputError(f"--camera {camera}: {site} has no such camera; {listed_names(known, camera)}")
    train = [record for record in source.train if not cameras or record.camera in cameras]
    source = readable(replace(source, train=train, query=[], gallery=[]), site, skip=None)
    images = accumulate(source.train)
    model = open_encoder(encoder)
    features = np.empty((len(images), model.dim), np.float32)
    with bar("comparing tracks", len(images)) as progress:
        for start in range(0, len(images), _BATCH):
            batch = source.train[start : start + _BATCH]
            pictures = [load_image(record.path) for record in batch]
            features[start : start + _BATCH] = model.encode(pictures, [record.camera for record in batch]).features
            progress.advance(len(batch))
    return LabellingSession(images, torch.from_numpy(features), table)
