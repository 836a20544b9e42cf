"""Adding pictures to the gallery while it is served."""

from pathlib import Path, PurePosixPath
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from ccafl.gallery.adding import Picture, put_opened
from ccafl.gallery.gallery import Gallery
from ccafl.service.batching import SearchBatcher
from ccafl.service.forms import digests, received_form, uploaded_pictures
from ccafl.service.limits import ServiceSettings
from ccafl.service.routes import changed, problems, token_required
from ccafl.service.schemas import FormFields, Key, Name, OptionalTime, Upload

_LONGEST = 200  # characters of a file's name


class AddForm(FormFields):
    """Pictures to add, all taken by one camera."""

    picture: list[Upload] = Field([], description="The pictures' files")
    camera: Annotated[Name, Field(min_length=1)] = Field(description="That took them")
    label: Name = Field("", description="Of the person within the camera, if known")
    time: OptionalTime = Field(
        None,
        description="When they were taken, ISO 8601, UTC without an offset; by default as their EXIF data say",
    )


class PicturesAdded(BaseModel):
    """What was added."""

    added: int = Field(description="Pictures that the gallery did not have")
    keys: list[Key] = Field(description="Of all uploaded pictures, in their order")


def adding_routes(gallery: Gallery, settings: ServiceSettings, batcher: SearchBatcher) -> APIRouter:
    """The route that adds pictures; it needs a service with a token."""
    router = APIRouter(prefix="/api", dependencies=token_required(settings), tags=["gallery"])
    schema = AddForm.model_json_schema()
    del schema["properties"]["time"]["default"]
    schema["properties"]["picture"] |= {"minItems": 1, "maxItems": settings.pictures}

    @router.post(
        "/pictures",
        responses=problems(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}},
    )
    async def add_pictures(request: Request) -> PicturesAdded:
        """Add pictures; the next search finds them. All are written, or none."""
        if settings.token is None:
            raise HTTPException(403, "pictures are added with a token only; start the service with --token-file")
        async with received_form(request, AddForm) as form:
            if not form.picture or len(form.picture) > settings.pictures:
                raise HTTPException(422, f"picture: {len(form.picture)} files; give 1 to {settings.pictures} at a time")
            keys = await run_in_threadpool(digests, form.picture)
            once = {key: number for number, key in reversed(list(enumerate(keys)))}
            uploads = [form.picture[number] for number in once.values()]
            pictures = {
                key: Picture(_source(form.picture[number].filename), form.camera, form.label, form.time)
                for key, number in once.items()
            }
            readers = uploaded_pictures(uploads, settings)
            images, encoded = await batcher.encode(readers, [form.camera] * len(readers))
        opened = dict(zip(once, images, strict=True))
        added = await changed(batcher, put_opened, gallery, pictures, opened, encoded, refused=422)
        return PicturesAdded(added=added, keys=keys)

    return router


def _source(name: str | None) -> Path:
    """Where an uploaded picture came from: its file's own name, below no folder of this machine."""
    own = "".join(letter for letter in PurePosixPath((name or "").replace("\\", "/")).name if letter.isprintable())
    return Path("uploaded", own[:_LONGEST] or "picture")
