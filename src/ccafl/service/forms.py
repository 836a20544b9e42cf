"""The search form: read from a request, checked, and its pictures opened."""

import hashlib
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import numpy as np
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

from ccafl.data.images import SMALLEST_SIDE, TooLargeError, read_image, takes_long
from ccafl.errors import InputError
from ccafl.gallery.query import Query
from ccafl.service.batching import Question
from ccafl.service.limits import ServiceSettings
from ccafl.service.schemas import FormFields, SearchFields, SearchForm

_LARGE = 1024  # pixels; pictures with a longer side are reduced while they wait for the model
Fields = TypeVar("Fields", bound=FormFields)
_NOTHING = np.empty((0, 0), np.float32)


def form_schema(settings: ServiceSettings) -> dict[str, Any]:
    """The JSON schema of the form, for OpenAPI."""
    schema = SearchForm.model_json_schema()
    for several in ("picture", "box", "key", "track", "taken_by"):
        schema["properties"][several]["maxItems"] = settings.pictures
    return schema


@asynccontextmanager
async def received_form(request: Request, kind: type[Fields]) -> AsyncIterator[Fields]:
    """The request's form; its files are closed at the end.

    Raises:
        HTTPException: 400, it is not a form.
        RequestValidationError: an invalid field.
    """
    try:
        form = await request.form()
    except StarletteHTTPException:
        raise
    except Exception as error:  # the parsers raise anything, and the client may have disconnected
        raise HTTPException(400, "the body cannot be parsed as a form") from error
    try:
        try:
            fields = kind.of(form)
        except ValidationError as error:
            raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error
        yield fields
    finally:
        await form.close()


def question(form: SearchFields) -> Question:
    """What the form asks for, without its pictures."""
    query = Query(
        _NOTHING,
        form.text is not None,
        form.fusion,
        form.filters(),
        form.rerank,
        form.limit,
        form.offset,
        form.camera_standardise,
        tuple(form.taken_by),
        form.group,
        form.each,
    )
    return Question(query, tuple(form.key), tuple(form.track), form.text)


def digests(uploads: Sequence[UploadFile]) -> list[str]:
    """The keys that the uploaded files would have in the gallery."""
    found = []
    for upload in uploads:
        upload.file.seek(0)
        found.append(hashlib.file_digest(upload.file, "sha256").hexdigest())  # type: ignore[arg-type]
        upload.file.seek(0)
    return found


@dataclass(frozen=True, slots=True)
class UploadedPicture:
    """A picture of the form; a `ccafl.service.batching.PictureReader`.

    Its methods raise HTTPException: 413 for too many pixels, 415 for no picture that can be decoded, 422 for a box
    outside it.

    Attributes:
        file: what was uploaded.
        number: of the picture in the form, from 1.
        box: the part to search for; empty for all of it.
        most_pixels: that it may have.
    """

    file: IO[bytes]
    number: int
    box: str
    most_pixels: int

    def takes_long(self) -> bool:
        """Whether it is large, or coded in a way that takes long to decode."""
        with self._refused():
            return takes_long(self.file, self.most_pixels)

    def read(self) -> Image.Image:
        """The part to search for, reduced if large but still larger than any encoder's input."""
        with self._refused():
            picture = read_image(self.file, self.most_pixels)
        if self.box:
            x, y, width, height = (round(float(part)) for part in self.box.split(","))
            edges = (x, y, min(x + width, picture.width), min(y + height, picture.height))
            if min(edges[2] - x, edges[3] - y) < SMALLEST_SIDE:
                size = f"{picture.width}x{picture.height}"
                detail = f"box: {self.box} covers too little of picture {self.number}, which has {size} pixels"
                raise HTTPException(422, detail)
            picture = picture.crop(edges)
        factor = max(picture.size) // _LARGE
        return picture.reduce(min(factor, *picture.size)) if factor > 1 else picture

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except TooLargeError as error:
            detail = f"picture {self.number}: {error}; at most {self.most_pixels} pixels are accepted"
            raise HTTPException(413, detail) from error
        except InputError as error:
            raise HTTPException(415, f"picture {self.number}: {error}") from error


def uploaded_pictures(
    uploads: Sequence[UploadFile], settings: ServiceSettings, boxes: Sequence[str] = ()
) -> list[UploadedPicture]:
    """The form's pictures, each with its box."""
    return [
        UploadedPicture(upload.file, number, box, settings.pixels)
        for number, (upload, box) in enumerate(zip(uploads, boxes or [""] * len(uploads), strict=True), 1)
    ]


def conflict(
    form: SearchFields, cameras: Container[str], settings: ServiceSettings, describes: bool, rerank_possible: bool
) -> str | None:
    """Why a form of valid fields cannot be answered; None if it can."""
    if form.text is None and not (form.picture or form.key or form.track):
        return "nothing to search for; give a picture, a key, a track or a text"
    if form.text is not None and (form.picture or form.key or form.track):
        return "text: cannot be combined; search by a description or by pictures"
    if form.text is not None and not describes:
        return "text: the gallery's model has no trained text tower; search by picture"
    if form.text is not None and form.other_cameras:
        return "other_cameras: a description has no camera; search by picture, or leave it out"
    if max(len(form.picture), len(form.key), len(form.track)) > settings.pictures:
        return f"picture, key, track: a search takes at most {settings.pictures}"
    if form.taken_by and len(form.taken_by) != len(form.picture):
        return f"taken_by: {len(form.taken_by)} for {len(form.picture)} pictures; give one per picture, or none"
    if form.box and len(form.box) != len(form.picture):
        return f"box: {len(form.box)} for {len(form.picture)} pictures; give one per picture, or none"
    if form.rerank and not rerank_possible:
        return "rerank: needs torch, which this service runs without"
    named = (*form.filters().camera_names(), *filter(None, form.taken_by))
    unknown = next((name for name in named if name not in cameras), None)
    return None if unknown is None else f"camera {unknown!r}: the gallery has no camera of that name"
