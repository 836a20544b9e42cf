"""The bodies of the service's requests and answers."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

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
    create_model,
)
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import FormData, UploadFile

from ccafl.calibration import Verdict, verdict
from ccafl.data.records import parse_time
from ccafl.errors import InputError
from ccafl.gallery.entries import Entry, Hit
from ccafl.gallery.filters import FILTERS, Filter, Filters, ValueKind
from ccafl.gallery.query import Fusion, Grouping
from ccafl.gallery.values import LONGEST_NAME, check_name

NAME = r"^[^\x00-\x1f\x7f]*$"
SENTENCE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
BOX = r"^(\d{1,6}(\.\d{1,6})?(,\d{1,6}(\.\d{1,6})?){3})?$"
KEY = r"^[0-9a-f]{64}$"


def _storable(name: str) -> str:
    try:
        return check_name(name)
    except InputError as error:
        raise ValueError(str(error)) from error


def _parsed_time(value: Any) -> Any:
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
Time = Annotated[datetime, BeforeValidator(_parsed_time), WithJsonSchema({"type": "string", "format": "date-time"})]
OptionalTime = Time | SkipJsonSchema[None]
KeyInPath = Annotated[Key, Path(description="SHA-256 of the picture's file, hexadecimal")]
Upload = Annotated[
    UploadFile,
    PlainValidator(_uploaded),
    WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"}),
]


class Problem(BaseModel):
    """Why the request failed: one line."""

    detail: str


class Status(BaseModel):
    """Whether the service runs."""

    status: str


class Picture(BaseModel):
    """A picture in the gallery."""

    key: Key
    camera: str
    time: datetime | None = Field(description="When it was taken, UTC")
    source: str = Field(description="The file it came from")
    label: str = Field(description="The person's label within the camera")
    identity: str = Field(description="The person across cameras; empty if unknown")
    name: str = Field("", description="Of the person; empty if nobody gave one")
    footage: str | None = Field(None, description="The video, or folder of frames, that it was cut out of, if known")
    frame: int | None = Field(None, description="Number of the frame in it, from 1")
    box: list[int] | None = Field(None, description="x, y, width, height in pixels of the upright frame")

    @classmethod
    def of(cls, entry: Entry) -> "Picture":
        """From an entry."""
        return cls(**_properties(entry))


class FoundPicture(Picture):
    """A picture found."""

    score: float = Field(description="Cosine, or 1 minus the distance after re-ranking")
    probability: float | None = Field(None, description="Of showing the person; null where that is unknown")
    verdict: Verdict | None = Field(None, description="What the probability amounts to")

    @classmethod
    def at(cls, hit: Hit) -> "FoundPicture":
        """From a hit."""
        chance = hit.probability
        judged = None if chance is None else verdict(chance)
        return cls(**_properties(hit.entry), score=hit.score, probability=chance, verdict=judged)


class FoundIdentity(BaseModel):
    """A person found, and which of these hits show the person."""

    identity: str = Field(description="Empty for a picture without an identity")
    score: float
    keys: list[Key]


class FoundGroup(BaseModel):
    """A track, camera or person found, by its best pictures."""

    camera: str = Field(description="Of the best picture")
    label: str = Field(description="Of the best picture, within its camera")
    identity: str = Field(description="Of the best picture; empty if unknown")
    score: float
    pictures: int = Field(description="Of the group that passed the filters, those that are not among the hits too")
    keys: list[Key] = Field(description="Of the best, best first; they are among the hits")


class Moment(BaseModel):
    """Where in its footage a picture was cut out."""

    footage: str
    frame: int
    box: list[int]
    second: float | None = Field(description="Of the video; null for a folder of frames")
    video: str | None = Field(description="Address of the video, which works without the token for some hours")


class FormFields(BaseModel):
    """The fields of a form."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    def of(cls, form: FormData) -> Self:
        """From the form's fields; empty fields that take one value count as missing.

        Raises:
            ValidationError: an invalid field.
        """
        several = {name for name, field in cls.model_fields.items() if field.default == []}
        values = {name: form.getlist(name) if name in several else form[name] for name in form}
        return cls.model_validate({name: value for name, value in values.items() if value != ""})


class SearchFields(FormFields):
    """Whom to search for, and how: the fields of `SearchForm`, without the filters."""

    picture: list[Upload] = Field([], description="Pictures of the person")
    box: list[Box] = Field(
        [],
        description="x,y,width,height in pixels of the upright picture, empty for all of it; one per picture, or none",
    )
    key: list[Key] = Field([], description="Keys of pictures in the gallery that show the person")
    track: list[Key] = Field([], description="As key, each for all pictures of the picture's track")
    taken_by: list[Name] = Field([], description="The camera of each picture, empty if unknown; as many, or none")
    other_cameras: bool = Field(
        False,
        description="Leave out the cameras that took the pictures; of an upload taken_by, or that of the same file "
        "in the gallery",
    )
    text: Sentence | SkipJsonSchema[None] = Field(
        None,
        description="The person described, instead of pictures and keys",
        json_schema_extra=_without_default,
    )
    fusion: Fusion = Field("mean", description="Several pictures: by their mean, or by the nearest of them")
    rerank: bool = Field(False, description="Order the nearest by k-reciprocal re-ranking")
    camera_standardise: bool = Field(False, description="Compare pictures by features standardised by camera")
    group: Grouping | SkipJsonSchema[None] = Field(
        None,
        description="Rank tracks, cameras or persons by their best picture, over all pictures, instead of pictures",
        json_schema_extra=_without_default,
    )
    each: int = Field(1, ge=1, le=12, description="Pictures of each group at most")
    limit: int = Field(24, ge=1, le=200)
    offset: int = Field(0, ge=0, le=10_000)

    def filters(self) -> Filters:
        """The filters that the form sets."""
        return Filters.of(dict(self))


def _filter_field(filter_: Filter) -> tuple[Any, Any]:
    if filter_.kind is ValueKind.NAMES:
        return list[Name], Field([], description=f"{filter_.description}; may be repeated", max_length=1_000)
    described = f"{filter_.description}; ISO 8601, UTC without an offset"
    return OptionalTime, Field(None, description=described, json_schema_extra=_without_default)


_filter_fields: Any = {filter_.parameter: _filter_field(filter_) for filter_ in FILTERS.values()}
SearchForm = create_model("SearchForm", __base__=SearchFields, __doc__="Whom to search for, and how.", **_filter_fields)


class SearchAnswer(BaseModel):
    """Pictures found, best first."""

    hits: list[FoundPicture]
    identities: list[FoundIdentity]
    groups: list[FoundGroup] = Field(description="Of a grouped search, best first")
    taken_by: list[str] = Field(description="The camera of each uploaded picture, as given or known; empty if unknown")
    more: bool
    nobody: bool = Field(description="Whether even the best picture is unlikely to show the person")
    offset: int


class Identity(BaseModel):
    """A person's pictures, sorted by time."""

    identity: str
    name: str = Field("", description="Empty if nobody gave one")
    pictures: list[Picture]


class Keys(BaseModel):
    """Pictures to correct."""

    model_config = ConfigDict(extra="forbid")

    keys: list[Key] = Field(min_length=1, max_length=1_000)


class Corrected(BaseModel):
    """What a correction did."""

    identity: str = Field(description="The pictures' new identity; empty for none")
    change: int = Field(description="What to take back, to undo it")


class CorrectionMade(BaseModel):
    """Two cameras' labels that somebody says show, or do not show, the same person."""

    kind: str
    camera_a: str
    label_a: str
    camera_b: str
    label_b: str
    key_a: Key | None = Field(None, description="Of the first label's latest picture, if it has one left")
    key_b: Key | None = Field(None, description="Of the second's")


class CameraPictures(BaseModel):
    """A camera of the gallery."""

    name: str
    pictures: int


class Model(BaseModel):
    """The gallery's model."""

    name: str
    fingerprint: str
    runtime: str
    takes_cameras: bool = Field(description="Whether it finds more if it knows which camera took a picture")
    mistakes_strangers: bool = Field(
        description="Whether it takes strangers of these cameras for one person, so that scores are no probabilities"
    )


class Limits(BaseModel):
    """Limits of an upload."""

    upload_mb: int = Field(description="Megabytes of all pictures together")
    pixels: int = Field(description="Of one picture")
    pictures: int = Field(description="In one search")


class GalleryFacts(BaseModel):
    """What the gallery holds, and how it can be searched."""

    pictures: int
    identities: int
    tracks: int = Field(description="Tracks of pictures that were cut out of footage")
    cameras: list[CameraPictures]
    first: datetime | None
    last: datetime | None
    model: Model
    text: bool = Field(description="Whether it can be searched by description")
    rerank: bool = Field(description="Whether results can be re-ranked")
    limits: Limits


def _properties(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "camera": entry.camera,
        "time": entry.time,
        "source": entry.source,
        "label": entry.label,
        "identity": entry.identity,
        "name": entry.name,
    } | ({} if entry.origin is None else asdict(entry.origin))
