"""What goes over HTTP: the bodies of the service's requests and answers."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import FormData, UploadFile

from ccafl.data.records import parse_time
from ccafl.errors import InputError
from ccafl.search.query import Fusion
from ccafl.search.records import Entry
from ccafl.search.vectors import LONGEST_NAME, check_name

NAME = r"^[^\x00-\x1f\x7f]*$"
SENTENCE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
BOX = r"^(\d{1,6}(\.\d{1,6})?(,\d{1,6}(\.\d{1,6})?){3})?$"
KEY = r"^[0-9a-f]{64}$"


def _storable(name: str) -> str:
    try:
        return check_name(name)
    except InputError as error:
        raise ValueError(str(error)) from error


def _moment(value: Any) -> Any:
    return parse_time(value) if isinstance(value, str) else value


def _uploaded(value: Any) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise ValueError("should be a file")
    return value


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


Name = Annotated[str, StringConstraints(max_length=LONGEST_NAME, pattern=NAME), AfterValidator(_storable)]
Sentence = Annotated[str, StringConstraints(max_length=1_000, pattern=SENTENCE)]
Box = Annotated[str, StringConstraints(pattern=BOX)]
Key = Annotated[str, StringConstraints(pattern=KEY)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
KeyInPath = Annotated[Key, Path(description="SHA-256 of the picture's file, hexadecimal")]
Upload = Annotated[
    UploadFile,
    PlainValidator(_uploaded),
    WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"}),
]


class Problem(BaseModel):
    """Why there is no answer: one line."""

    detail: str


class Status(BaseModel):
    """Whether the service runs."""

    status: str


class Picture(BaseModel):
    """A picture of the gallery."""

    key: Key
    camera: str
    time: datetime | None = Field(description="When it was taken, UTC")
    source: str = Field(description="The file it came from")
    label: str = Field(description="The person's label within the camera")
    identity: str = Field(description="The person across cameras; empty if unknown")

    @classmethod
    def of(cls, entry: Entry) -> "Picture":
        """The picture of an entry."""
        return cls(**_facts(entry))


class FoundPicture(Picture):
    """A picture found."""

    score: float = Field(description="Cosine, or 1 minus the distance after re-ranking")

    @classmethod
    def at(cls, entry: Entry, score: float) -> "FoundPicture":
        """The picture of an entry with its score."""
        return cls(**_facts(entry), score=score)


class FoundIdentity(BaseModel):
    """A person found, with the pictures on this page."""

    identity: str = Field(description="Empty for a picture of nobody known")
    score: float
    keys: list[Key]


class SearchForm(BaseModel):
    """A person to look for, and how."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    picture: list[Upload] = Field([], description="Pictures of the person")
    box: list[Box] = Field(
        [],
        description="x,y,width,height in pixels of the upright picture, empty for all of it; once a picture or never",
    )
    key: list[Key] = Field([], description="Pictures of the gallery that show the person")
    text: Sentence | SkipJsonSchema[None] = Field(
        None, description="The person described, instead of pictures and keys", json_schema_extra=_without_default
    )
    camera: list[Name] = Field([], description="Only these; all if none is named", max_length=1_000)
    exclude_camera: list[Name] = Field([], max_length=1_000)
    since: Moment | SkipJsonSchema[None] = Field(
        None, description="Taken then or later; ISO 8601, UTC without an offset", json_schema_extra=_without_default
    )
    until: Moment | SkipJsonSchema[None] = Field(
        None, description="Taken before then; likewise", json_schema_extra=_without_default
    )
    fusion: Fusion = Field("mean", description="By the pictures' mean, or by the nearest of them")
    rerank: bool = Field(False, description="Order the nearest by k-reciprocal re-ranking")
    limit: int = Field(24, ge=1, le=200)
    offset: int = Field(0, ge=0, le=10_000)

    @classmethod
    def of(cls, form: FormData) -> "SearchForm":
        """The form's fields; empty ones are left out, but for boxes, cameras and files.

        Raises:
            ValidationError: one that cannot be used.
        """
        several = {"picture", "box", "key", "camera", "exclude_camera"}
        values = {name: form.getlist(name) if name in several else form[name] for name in form}
        return cls.model_validate({name: value for name, value in values.items() if value != ""})


class SearchAnswer(BaseModel):
    """Pictures found, the best first."""

    hits: list[FoundPicture]
    identities: list[FoundIdentity]
    more: bool
    offset: int


class Identity(BaseModel):
    """A person's pictures in order of time."""

    identity: str
    pictures: list[Picture]


class Keys(BaseModel):
    """Pictures to correct."""

    model_config = ConfigDict(extra="forbid")

    keys: list[Key] = Field(min_length=1, max_length=1_000)


class Corrected(BaseModel):
    """The identity that the pictures have now."""

    identity: str


class CorrectionMade(BaseModel):
    """Two cameras' labels that a person says are, or are not, one person."""

    kind: str
    camera_a: str
    label_a: str
    camera_b: str
    label_b: str


class CameraPictures(BaseModel):
    """A camera of the gallery."""

    name: str
    pictures: int


class Model(BaseModel):
    """The model that searches."""

    name: str
    fingerprint: str
    runtime: str


class Limits(BaseModel):
    """What an upload may be."""

    upload_mb: int = Field(description="All pictures together")
    pixels: int = Field(description="A picture")
    pictures: int = Field(description="A search")


class GalleryFacts(BaseModel):
    """What can be searched."""

    pictures: int
    identities: int
    cameras: list[CameraPictures]
    first: datetime | None
    last: datetime | None
    model: Model
    text: bool = Field(description="Whether descriptions can be searched for")
    rerank: bool = Field(description="Whether results can be re-ranked")
    limits: Limits


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "camera": entry.camera,
        "time": entry.time,
        "source": entry.source,
        "label": entry.label,
        "identity": entry.identity,
    }
