"""The metadata of an exported file, and the names of its inputs and outputs. Does not need torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ccafl.calibration import CALIBRATION, Calibration
from ccafl.errors import InputError
from ccafl.files import embed_digest, has_its_digest, strict_json

FORMAT = "2"  # 1 had no digest
IMAGES, CAMERAS, FEATURES, IMAGE_TEXT = "images", "cameras", "features", "image_text"
_CALIBRATION, _DRAWN = "ccafl.calibration", "ccafl.drawn"
_DIGEST = "ccafl.digest"
_MARK = _DIGEST.encode() + b"\x12\x40"  # as protobuf writes the key of a text of 64 bytes, the digest

Side = Annotated[int, Field(ge=1, le=10_000)]
Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class ExportMetadata:
    """What a program must know to run an exported file.

    Attributes:
        fingerprint: of the encoder, as `ccafl.evaluation.embedder.Embedder.fingerprint` gives it.
        name: of the run.
        image_size: (height, width) of the images it takes.
        camera_names: the cameras it was trained on, in the order of their numbers.
        calibration: what the cosines of features say, if known.
        drawn: whether it was trained on drawn persons only.
    """

    fingerprint: Fingerprint
    name: str
    image_size: tuple[Side, Side]
    camera_names: tuple[str, ...]
    calibration: Calibration | None = None
    drawn: bool = False

    def properties(self) -> dict[str, str]:
        """As stored in the file; `read_export_metadata` is the inverse. `seal_onnx` fills in the digest."""
        known = {} if self.calibration is None else {_CALIBRATION: CALIBRATION.dump_json(self.calibration).decode()}
        known |= {_DRAWN: "true"} if self.drawn else {}
        return known | {
            "ccafl.format": FORMAT,
            "ccafl.fingerprint": self.fingerprint,
            "ccafl.name": self.name,
            "ccafl.image_size": strict_json(self.image_size),
            "ccafl.camera_names": strict_json(self.camera_names),
            _DIGEST: "0" * 64,
        }


_IMAGE_SIZE, _CAMERA_NAMES = TypeAdapter(tuple[Side, Side]), TypeAdapter(tuple[str, ...])


def read_export_metadata(properties: Mapping[str, str], where: Path, *, sealed: bool = True) -> ExportMetadata:
    """The metadata stored in a file.

    Args:
        properties: as stored.
        where: the file.
        sealed: whether it has its digest.

    Raises:
        InputError: ``where`` was not exported by ccafl, or by another version.
    """
    ours = any(key.startswith("ccafl.") for key in properties)
    if ours and (properties.get("ccafl.format") != FORMAT or not sealed):
        raise InputError(f"{where}: was exported by another version of ccafl; export the run again with ccafl export")
    try:
        return ExportMetadata(
            properties["ccafl.fingerprint"],
            properties["ccafl.name"],
            _IMAGE_SIZE.validate_json(properties["ccafl.image_size"], strict=True),
            _CAMERA_NAMES.validate_json(properties["ccafl.camera_names"], strict=True),
            CALIBRATION.validate_json(properties[_CALIBRATION]) if _CALIBRATION in properties else None,
            properties.get(_DRAWN) == "true",
        )
    except (KeyError, ValidationError) as error:
        raise InputError(f"{where}: is not an export of ccafl; give the model.onnx of ccafl export RUN") from error


def seal_onnx(file: Path) -> None:
    """Fill in the digest of an ONNX file that has `ExportMetadata.properties`; the last change to the file."""
    embed_digest(file, _MARK)


def check_onnx(file: Path) -> bool:
    """Whether an ONNX file has a digest, which covers every bit: weights, graph and the fingerprint that it declares.

    Raises:
        InputError: the digest is another: the file is not as ``ccafl export`` wrote it.
    """
    right = has_its_digest(file, _MARK) if file.is_file() else None
    if right is False:
        raise InputError(f"{file}: is damaged or was changed after its export; export the run again with ccafl export")
    return bool(right)
