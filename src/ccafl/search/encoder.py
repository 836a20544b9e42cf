"""What turns pictures into a gallery's features: a run with torch, or its ONNX export without."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.errors import InputError
from ccafl.search.records import Encoded


class PictureEncoder(Protocol):
    """An image encoder and its transform; one call at a time.

    Attributes:
        fingerprint: of the weights and of the settings that decide features: the same for a run and its export.
        name: the run's, for people.
        place: absolute: the run's folder or the exported file, where it can be opened again.
        runtime: what computes, for people: "torch, cpu".
        dim: D, numbers a feature.
        text_dim: E, numbers of a feature that compares with sentences; None without a trained text tower.
        describes: whether `encode_text` works.
        camera_names: the cameras that training saw.
    """

    fingerprint: str
    name: str
    place: Path
    runtime: str
    dim: int
    text_dim: int | None
    describes: bool
    camera_names: tuple[str, ...]

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        """Features of pictures; ``cameras`` are names, of which unknown ones are no error."""

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Features of sentences, L2-normalised: (n, E).

        Raises:
            InputError: the model does not read sentences, or its text tower cannot be had.
        """


def open_encoder(place: Path) -> PictureEncoder:
    """A run by its folder, or an exported ONNX file, for which torch is not needed.

    Raises:
        InputError: it is neither, or what opens it is not installed.
    """
    if place.is_file():
        from ccafl.search.onnx_encoder import OnnxEncoder

        return OnnxEncoder(place)
    try:
        from ccafl.search.torch_encoder import TorchEncoder
    except ImportError as error:
        raise InputError(
            f"{place}: a run needs torch ({error}); give the model.onnx of ccafl export, or pip install ccafl"
        ) from error
    return TorchEncoder(place)
