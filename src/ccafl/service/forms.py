"""The search form: read from a request, checked, and its pictures opened."""

from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Any

import numpy as np
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from ccafl.data.images import SMALLEST_SIDE, TooLargeError, read_image
from ccafl.errors import InputError
from ccafl.gallery.query import Query
from ccafl.service.batching import Question
from ccafl.service.limits import ServiceSettings
from ccafl.service.schemas import SearchFields, SearchForm

_LARGE = 1024  # pixels; pictures with a longer side are reduced while they wait for the model
_NOTHING = np.empty((0, 0), np.float32)


def form_schema(settings: ServiceSettings) -> dict[str, Any]:
    """The JSON schema of the form, for OpenAPI."""
    schema = SearchForm.model_json_schema()
    for several in ("picture", "box", "key"):
        schema["properties"][several]["maxItems"] = settings.pictures
    return schema


@asynccontextmanager
async def received_form(request: Request) -> AsyncIterator[SearchFields]:
    """The request's search form; its files are closed at the end.

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
            fields = SearchForm.of(form)
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
    )
    return Question(query, tuple(form.key), form.text)


def picture_readers(form: SearchFields, settings: ServiceSettings) -> list[Callable[[], Image.Image]]:
    """For each picture of the form, a function that opens it.

    The functions raise HTTPException: 413 for too many pixels, 415 for no picture, 422 for a box outside it.
    """
    boxes = form.box or [""] * len(form.picture)
    return [
        partial(_open_picture, upload.file, number, box, settings.pixels)
        for number, (upload, box) in enumerate(zip(form.picture, boxes, strict=True), 1)
    ]


def conflict(
    form: SearchFields, cameras: Container[str], settings: ServiceSettings, describes: bool, rerank_possible: bool
) -> str | None:
    """Why a form of valid fields cannot be answered; None if it can."""
    if form.text is None and not form.picture and not form.key:
        return "nothing to search for; give a picture, a key or a text"
    if form.text is not None and (form.picture or form.key):
        return "text: cannot be combined; search by a description or by pictures"
    if form.text is not None and not describes:
        return "text: the gallery's model has no trained text tower; search by picture"
    if max(len(form.picture), len(form.key)) > settings.pictures:
        return f"picture, key: a search takes at most {settings.pictures}"
    if form.box and len(form.box) != len(form.picture):
        return f"box: {len(form.box)} for {len(form.picture)} pictures; give one per picture, or none"
    if form.rerank and not rerank_possible:
        return "rerank: needs torch, which this service runs without"
    unknown = next((name for name in form.filters().camera_names() if name not in cameras), None)
    return None if unknown is None else f"camera {unknown!r}: the gallery has no camera of that name"


def _open_picture(file: IO[bytes], number: int, box: str, most_pixels: int) -> Image.Image:
    """The part of an uploaded picture to search for, reduced if large but still larger than any encoder's input."""
    try:
        picture = read_image(file, most_pixels)
    except TooLargeError as error:
        raise HTTPException(413, f"picture {number}: {error}; at most {most_pixels} pixels are accepted") from error
    except InputError as error:
        raise HTTPException(415, f"picture {number}: {error}") from error
    if box:
        x, y, width, height = (round(float(part)) for part in box.split(","))
        edges = (x, y, min(x + width, picture.width), min(y + height, picture.height))
        if min(edges[2] - x, edges[3] - y) < SMALLEST_SIDE:
            size = f"{picture.width}x{picture.height}"
            raise HTTPException(422, f"box: {box} covers too little of picture {number}, which has {size} pixels")
        picture = picture.crop(edges)
    factor = max(picture.size) // _LARGE
    return picture.reduce(min(factor, *picture.size)) if factor > 1 else picture
