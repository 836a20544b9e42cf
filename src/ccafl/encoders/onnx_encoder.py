"""An exported run as an encoder: ONNX Runtime, Pillow and NumPy, without torch."""

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.data.images import upright_rgb
from ccafl.data.records import UNKNOWN_CAMERA, camera_numbers
from ccafl.encoders.encoder import Encoded
from ccafl.encoders.export_metadata import (
    CAMERAS,
    FEATURES,
    IMAGE_TEXT,
    IMAGES,
    ExportMetadata,
    check_onnx,
    read_export_metadata,
)
from ccafl.errors import InputError

BATCH = 64


class OnnxEncoder:
    """An exported ONNX file; a `ccafl.encoders.encoder.PictureEncoder`.

    Args:
        file: ``model.onnx`` as ``ccafl export`` writes it.

    Raises:
        InputError: it is missing, damaged or not an export of ccafl, or ONNX Runtime is not installed.
    """

    def __init__(self, file: Path) -> None:
        sealed = check_onnx(file)
        self._session, properties = _opened(file)
        metadata = read_export_metadata(properties, file, sealed=sealed)
        dims = _dims(self._session, metadata, file)
        self.fingerprint, self.name, self.camera_names = metadata.fingerprint, metadata.name, metadata.camera_names
        self.calibration, self.drawn = metadata.calibration, metadata.drawn
        self.place: Path | str = file.resolve()
        self.runtime = f"onnxruntime, {self._session.get_providers()[0].removesuffix('ExecutionProvider').lower()}"
        self.dim: int = dims[FEATURES]
        self.text_dim: int | None = dims.get(IMAGE_TEXT)
        self.describes = False
        self._image_size = metadata.image_size
        self.takes_cameras = any(given.name == CAMERAS for given in self._session.get_inputs())

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        """Features of pictures, in batches.

        Raises:
            InputError: a feature is not finite.
        """
        known = repeat(UNKNOWN_CAMERA, len(pictures)) if cameras is None else camera_numbers(cameras, self.camera_names)
        of_images = np.fromiter(known, np.int64, len(pictures))
        features = np.empty((len(pictures), self.dim), np.float32)
        image_text = None if self.text_dim is None else np.empty((len(pictures), self.text_dim), np.float32)
        for start in range(0, len(pictures), BATCH):
            batch = slice(start, start + BATCH)
            given: dict[str, Any] = {IMAGES: np.stack([self._resized(picture) for picture in pictures[batch]])}
            if self.takes_cameras:
                given[CAMERAS] = of_images[batch]
            if image_text is None:
                (features[batch],) = self._session.run([FEATURES], given)
            else:
                features[batch], image_text[batch] = self._session.run([FEATURES, IMAGE_TEXT], given)
        if not all(np.isfinite(part).all() for part in (features, image_text) if part is not None):
            raise InputError(f"{self.place}: gives features that are not finite numbers; export another checkpoint")
        return Encoded(features, image_text)

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Not supported.

        Raises:
            InputError: always; the text tower is not exported.
        """
        raise InputError(f"{self.place}: has no text tower; search by picture, or open the run itself with torch")

    def _resized(self, picture: Image.Image) -> NDArray[np.uint8]:
        """(3, H, W); equal to `ccafl.data.transforms.resized` up to rounding."""
        height, width = self._image_size
        return np.asarray(upright_rgb(picture).resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def _dims(session: Any, metadata: ExportMetadata, file: Path) -> dict[str, int]:
    """The length of every output's features.

    Raises:
        InputError: inputs or outputs are not those of an export with this metadata.
    """
    taken = {given.name: given.shape for given in session.get_inputs()}
    dims = {output.name: output.shape[-1] for output in session.get_outputs()}
    images = taken.pop(IMAGES, [])[1:]
    known = taken.keys() <= {CAMERAS} and {FEATURES} <= dims.keys() <= {FEATURES, IMAGE_TEXT}
    if not known or images != [3, *metadata.image_size] or not all(isinstance(dim, int) for dim in dims.values()):
        raise InputError(f"{file}: is not an export of ccafl; give the model.onnx of ccafl export RUN")
    return dims


def _opened(file: Path) -> tuple[Any, dict[str, str]]:
    """ONNX Runtime's session, on a GPU if this build of it supports one, and the file's metadata."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError('an ONNX file needs ONNX Runtime; pip install "ccafl[onnx]"') from error
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the model.onnx of ccafl export RUN")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # Idle threads leave the cores to others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        session = onnxruntime.InferenceSession(file, options, providers=providers)
        for part in (*session.get_inputs(), *session.get_outputs()):
            part.name.encode()  # raises where a name is no UTF-8, as do the metadata
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as error:  # ONNX Runtime has its own exception class for each kind of damage
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"{file}: cannot be read as ONNX ({reason}); give the model.onnx of ccafl export RUN"
        ) from error
