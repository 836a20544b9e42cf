"""Routes for what is done without a query: looking through the gallery, judging doubtful joins, naming persons, and
taking corrections back.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ccafl.data.links import MUST_LINK
from ccafl.errors import InputError
from ccafl.gallery import catalogue, corrections, review
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import GalleryError, Tracklet
from ccafl.gallery.query import some_of_track
from ccafl.gallery.values import time_of
from ccafl.service.batching import SearchBatcher
from ccafl.service.limits import ServiceSettings
from ccafl.service.routes import changed, problems, token_required
from ccafl.service.schemas import Corrected, Key, Name, Picture

_SHOWN = 6  # pictures of a label that is asked about

Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]


class Person(BaseModel):
    """A person, or a label that is not joined with others."""

    identity: str = Field(description="Empty for a label that is not joined")
    name: str = Field(description="Empty if nobody gave one")
    camera: str = Field(description="That saw the person last")
    label: str = Field(description="Within that camera")
    cameras: list[str] = Field(description="That saw the person, the latest first")
    pictures: int
    first: datetime | None
    last: datetime | None
    keys: list[Key] = Field(description="Of the latest picture of each camera, at most 6")


class Persons(BaseModel):
    """Persons, and labels that are not joined: those whom most cameras saw first, of these the latest."""

    persons: list[Person]
    total: int
    joined: int = Field(description="How many of all are persons, not labels")
    offset: int


class Pictures(BaseModel):
    """Pictures, the latest first."""

    pictures: list[Picture]
    total: int
    offset: int


class Label(BaseModel):
    """A camera's label that is asked about."""

    camera: str
    label: str
    identity: str
    name: str
    pictures: int
    first: datetime | None
    last: datetime | None
    keys: list[Key] = Field(description="Of some pictures, in the order of time")


class Doubt(BaseModel):
    """Whether two labels of different cameras are one person."""

    one: Label
    other: Label
    joined: bool = Field(description="Whether they are joined now")
    similarity: float = Field(description="Cosine of their features, each without what its camera's have in common")
    probability: float | None = Field(
        description="That they are one person, as estimated; null where neither is the other's nearest"
    )


class Doubts(BaseModel):
    """What to ask, the answers likely to put most right first."""

    questions: list[Doubt]
    total: int


class LabelName(BaseModel):
    """Names a label."""

    model_config = ConfigDict(extra="forbid")

    camera: Name
    label: Name


class LabelPair(BaseModel):
    """Names two labels."""

    model_config = ConfigDict(extra="forbid")

    one: LabelName
    other: LabelName

    @property
    def tracklets(self) -> tuple[Tracklet, Tracklet]:
        """As the gallery names them."""
        return (self.one.camera, self.one.label), (self.other.camera, self.other.label)


class Link(LabelPair):
    """What somebody says of two labels."""

    kind: Literal["must_link", "cannot_link"]


class Change(BaseModel):
    """A change of corrections, by the number that was given when it was made."""

    model_config = ConfigDict(extra="forbid")

    change: int = Field(ge=0, lt=1 << 62)


class PersonName(BaseModel):
    """A person's name."""

    model_config = ConfigDict(extra="forbid")

    identity: Name
    name: Name = Field(description="Empty to take the name away")


@dataclass(slots=True)
class _Reviewing:
    """The comparison that questions come from, kept until the gallery's pictures change."""

    of: catalogue.Catalogue | None = None
    compared: review.Compared | None = field(default=None)

    def questions(self, gallery: Gallery) -> list[review.Question]:
        if self.compared is None or self.of is not gallery.catalogue():
            self.of, self.compared = gallery.catalogue(), review.compare(gallery)
        return review.questions(gallery, self.compared)


def browsing_routes(gallery: Gallery, settings: ServiceSettings, batcher: SearchBatcher) -> APIRouter:
    router = APIRouter(
        prefix="/api",
        dependencies=token_required(settings),
        responses=problems(503, *([401] if settings.token else [])),
    )
    reviewing = _Reviewing()

    @router.get("/persons", tags=["gallery"], responses=problems(422))
    async def persons(limit: Limit = 24, offset: Offset = 0) -> Persons:
        """The persons of the gallery."""
        return await batcher.run(_persons, gallery, limit, offset)

    @router.get("/pictures", tags=["gallery"], responses=problems(404, 422))
    async def pictures(camera: Name | None = None, limit: Limit = 24, offset: Offset = 0) -> Pictures:
        """The pictures of the gallery, or of one camera, the latest first."""
        found = await batcher.run(_pictures, gallery, camera, limit, offset)
        if found is None:
            raise HTTPException(404, "no such camera in the gallery")
        return found

    @router.get("/review", tags=["corrections"], responses=problems(409, 422))
    async def doubts(limit: Annotated[int, Query(ge=1, le=50)] = 10) -> Doubts:
        """The doubtful joins; the first call compares all labels, which may take a while."""

        def asked() -> Doubts:
            found = reviewing.questions(gallery)
            return Doubts(questions=[_doubt(gallery, own) for own in found[:limit]], total=len(found))

        with suppress(ImportError):  # which `review.compare` reports; here, so that no search waits for the import
            await run_in_threadpool(import_module, "ccafl.method.calibrated_association")
        try:
            return await batcher.run(asked)
        except GalleryError:
            raise
        except InputError as error:
            raise HTTPException(409, str(error)) from error

    refusals = problems(400, 403, 408, 409, 413, 422)

    @router.post("/corrections", tags=["corrections"], responses=refusals)
    async def link(made: Link) -> Corrected:
        """Record that two labels show one person, or that they do not."""
        one, other = made.tracklets

        def linked() -> corrections.Corrected:
            return corrections.link(gallery, one, other, same=made.kind == MUST_LINK)

        done = await changed(batcher, linked)
        return Corrected(identity=done.identity, change=done.change)

    @router.post("/corrections/undo", tags=["corrections"], status_code=204, responses=refusals)
    async def undo(change: Change) -> None:
        """Take a change of corrections back."""
        await changed(batcher, corrections.undo, gallery, change.change)

    @router.post("/corrections/remove", tags=["corrections"], responses=refusals)
    async def remove(pair: LabelPair) -> Corrected:
        """Remove a correction."""
        done = await changed(batcher, corrections.remove, gallery, *pair.tracklets)
        return Corrected(identity=done.identity, change=done.change)

    @router.post("/names", tags=["gallery"], status_code=204, responses=refusals)
    async def name(given: PersonName) -> None:
        """Name a person; the name belongs to the person's labels, so that later joins keep it."""
        await changed(batcher, gallery.name, given.identity, given.name)

    return router


def _persons(gallery: Gallery, limit: int, offset: int) -> Persons:
    names = gallery.ledger.names()
    found = gallery.catalogue().persons(gallery.ledger.identities())
    shown = [
        Person(
            identity=own.identity,
            name=names.get(own.identity, ""),
            camera=own.labels[0][0],
            label=own.labels[0][1],
            cameras=list(own.cameras),
            pictures=own.pictures,
            first=time_of(own.first),
            last=time_of(own.last),
            keys=list(own.keys[:_SHOWN]),
        )
        for own in found[offset : offset + limit]
    ]
    return Persons(persons=shown, total=len(found), joined=sum(own.identity != "" for own in found), offset=offset)


def _pictures(gallery: Gallery, camera: str | None, limit: int, offset: int) -> Pictures | None:
    known = gallery.catalogue()
    keys = known.keys if camera is None else known.of_camera.get(camera)
    if keys is None:
        return None
    entries = gallery.get(list(islice(keys, offset, offset + limit)))
    return Pictures(pictures=[Picture.of(entry) for entry in entries], total=len(keys), offset=offset)


def _doubt(gallery: Gallery, asked: review.Question) -> Doubt:
    return Doubt(
        one=_label(gallery, asked.one),
        other=_label(gallery, asked.other),
        joined=asked.joined,
        similarity=asked.similarity,
        probability=asked.probability,
    )


def _label(gallery: Gallery, tracklet: Tracklet) -> Label:
    entries = gallery.of_track(*tracklet)
    times = [entry.time for entry in entries if entry.time]
    shown = some_of_track(entries)
    step = max(1, -(-len(shown) // _SHOWN))
    return Label(
        camera=tracklet[0],
        label=tracklet[1],
        identity=entries[0].identity,
        name=entries[0].name,
        pictures=len(entries),
        first=min(times, default=None),
        last=max(times, default=None),
        keys=[entry.key for entry in shown[::step]],
    )
