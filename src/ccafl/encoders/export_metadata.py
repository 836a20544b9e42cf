"""The metadata of an exported file, and the names of its inputs and outputs. Does not need torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ccafl.errors import InputError

FORMAT = "1"
IMAGES, CAMERAS, FEATURES, IMAGE_TEXT = "images", "cameras", "features", "image_text"


@dataclass(frozen=True, slots=True)
class ExportMetadata:
    """What a program must know to run an exported file.

    Attributes:
        fingerprint: of the encoder, as `ccafl.evaluation.embedder.Embedder.fingerprint` gives it.
        name: of the run.
        image_size: (height, width) of the images it takes.
        camera_names: the cameras it was trained on, in the order of their numbers.
    """

    fingerprint: str
    name: str
    image_size: tuple[int, int]
    camera_names: tuple[str, ...]

    def properties(self) -> dict[str, str]:
        """As stored in the file; `read_export_metadata` is the inverse."""
        return {
            "ccafl.format": FORMAT,
            "ccafl.fingerprint": self.fingerprint,
            "ccafl.name": self.name,
            "ccafl.image_size": json.dumps(self.image_size),
            "ccafl.camera_names": json.dumps(self.camera_names),
        }


def read_export_metadata(properties: Mapping[str, str], where: Path) -> ExportMetadata:
    """The metadata stored in a file.

    Raises:
        InputError: ``where`` was not exported by ccafl, or by another version.
    """
    if properties.get("ccafl.format", FORMAT) != FORMAT:
        raise InputError(f"{where}: was exported by another version of ccafl; export the run again with ccafl export")
    try:
        height, width = (int(side) for side in json.loads(properties["ccafl.image_size"]))
        names = tuple(str(name) for name in json.loads(properties["ccafl.camera_names"]))
        return ExportMetadata(properties["ccafl.fingerprint"], properties["ccafl.name"], (height, width), names)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: is not an export of ccafl; give the model.onnx of ccafl export RUN") from error
