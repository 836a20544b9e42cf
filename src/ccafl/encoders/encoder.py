"""What every encoder does, and how to open one: a run or weights by name with torch, an ONNX export without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.calibration import Calibration
from ccafl.errors import InputError
from ccafl.terminal import waiting


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of n pictures.

    Attributes:
        features: (n, D) float32, L2-normalised: re-ID features, compared with those of other pictures.
        image_text: (n, E) float32, L2-normalised: compared with features of sentences; None without a text tower.
    """

    features: NDArray[np.float32]
    image_text: NDArray[np.float32] | None


class PictureEncoder(Protocol):
    """An image encoder with its preprocessing; not thread-safe.

    Attributes:
        fingerprint: of the weights and of every setting that affects features; a run and its export have the same.
        name: the run's or the weights', for display.
        place: from which it can be opened again: absolute path of the run's folder or the exported file, or the name
            of an architecture with its weights.
        runtime: software and device that compute, for display: "torch, cpu".
        dim: D, the length of a feature.
        text_dim: E, the length of a feature to compare with sentences; None without a trained text tower.
        describes: whether `encode_text` is supported.
        camera_names: the cameras seen in training.
        takes_cameras: whether features depend on which of them took a picture.
        calibration: makes cosines probabilities; None where that was not learned.
        drawn: whether it has only seen persons that ccafl drew.
    """

    fingerprint: str
    name: str
    place: Path | str
    runtime: str
    dim: int
    text_dim: int | None
    describes: bool
    camera_names: tuple[str, ...]
    takes_cameras: bool
    calibration: Calibration | None
    drawn: bool

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        """Features of pictures; ``cameras`` are the names of their cameras, which the model may not know."""

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Features of sentences, L2-normalised: (n, E).

        Raises:
            InputError: the model has no text tower, or its weights are not available.
        """


def open_encoder(place: Path | str) -> PictureEncoder:
    """Open a run's folder, an architecture with weights (``clip-synth``, ``RN50:openai``), or an exported ONNX file.

    Only the last does not need torch.

    Raises:
        InputError: it is none of them, or the packages to open it are not installed.
    """
    with waiting("loading the model"):
        if Path(place).is_file():
            from ccafl.encoders.onnx_encoder import OnnxEncoder

            return OnnxEncoder(Path(place))
        try:
            from ccafl.encoders.torch_encoder import TorchEncoder
        except ImportError as error:
            raise InputError(
                f"{place}: a run needs torch, as named weights do ({error}); "
                "give the model.onnx of ccafl export, or pip install ccafl"
            ) from error
        return TorchEncoder(place)
