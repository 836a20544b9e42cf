"""The service's routes: searches and corrections of one gallery, its state, and the files of the page."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from ccafl.encoders.encoder import PictureEncoder
from ccafl.errors import InputError
from ccafl.gallery import corrections as correcting
from ccafl.gallery.corrections import corrections, corrections_csv, merge, split
from ccafl.gallery.entries import Entry
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import GalleryError
from ccafl.gallery.query import group_by_identity
from ccafl.service.batching import Answer, Question, SearchBatcher
from ccafl.service.footage import Originals, Passes
from ccafl.service.forms import conflict, digests, form_schema, question, received_form, uploaded_pictures
from ccafl.service.limits import ServiceSettings
from ccafl.service.metrics import Metrics
from ccafl.service.schemas import (
    CameraPictures,
    Corrected,
    CorrectionMade,
    FoundGroup,
    FoundIdentity,
    FoundPicture,
    GalleryFacts,
    Identity,
    KeyInPath,
    Keys,
    Limits,
    Model,
    Moment,
    Name,
    Picture,
    Problem,
    SearchAnswer,
    SearchFields,
    SearchForm,
    Status,
)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_REASONS = {
    400: "The body cannot be parsed",
    401: "The token is missing or wrong",
    403: "The request comes from another site's page",
    404: "Not found",
    408: "The body did not arrive in time",
    409: "The change is not possible; the detail says why",
    413: "Too large",
    415: "Not a picture that can be read",
    421: "The service does not answer to this host name",
    422: "An invalid value",
    429: "Too many requests",
    503: "Not ready, or too busy",
}
_LATER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}

T = TypeVar("T")
_Responses = dict[int | str, dict[str, Any]]


def page_routes(first: str = "index.html") -> APIRouter:
    """The files of the page, and the one to begin with."""
    router = APIRouter(include_in_schema=False)
    folder = files("ccafl.service") / "page"

    def file(name: str, request: Request) -> Response:
        found = next((f for f in folder.iterdir() if f.name == name), None) if folder.is_dir() else None
        if found is None or (kind := _TYPES.get(name[name.rfind(".") :])) is None:
            raise HTTPException(404, f"the page has no file {name!r}")
        content = found.read_bytes()
        return _tagged(request, content, kind, hashlib.sha256(content).hexdigest(), "no-cache")

    @router.get("/")
    def index(request: Request) -> Response:
        return file(first, request)

    @router.get("/page/{name}")
    def page(name: str, request: Request) -> Response:
        return file(name, request)

    return router


def state_routes(batcher: SearchBatcher, metrics: Metrics, settings: ServiceSettings) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/health")
    async def health() -> Status:
        """Whether the service runs."""
        return Status(status="alive")

    @router.get("/ready", responses=problems(503))
    async def ready() -> Status:
        """Whether the model and the gallery are loaded."""
        batcher.check_ready()
        return Status(status="ready")

    plain: _Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @router.get(
        "/metrics",
        dependencies=token_required(settings),
        response_class=Response,
        responses={**plain, **(problems(401) if settings.token else {})},
    )
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def api_routes(
    gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings, batcher: SearchBatcher
) -> APIRouter:
    router = APIRouter(
        prefix="/api",
        dependencies=token_required(settings),
        responses=problems(503, *([401] if settings.token else [])),
    )
    rerank_possible = find_spec("torch") is not None

    @router.get("/gallery", tags=["gallery"])
    async def gallery_facts() -> GalleryFacts:
        """What the gallery holds, and how it can be searched."""
        info = batcher.info
        return GalleryFacts(
            pictures=info.pictures,
            identities=info.identities,
            tracks=info.tracks,
            cameras=[CameraPictures(name=name, pictures=count) for name, count in info.cameras.items()],
            first=info.first,
            last=info.last,
            model=Model(
                name=info.model_name,
                fingerprint=info.fingerprint,
                runtime=encoder.runtime,
                takes_cameras=encoder.takes_cameras,
                mistakes_strangers=gallery.curve is not None and gallery.calibration is None,
            ),
            text=encoder.describes,
            rerank=rerank_possible,
            limits=Limits(upload_mb=settings.upload_mb, pixels=settings.pixels, pictures=settings.pictures),
        )

    @router.post(
        "/search",
        tags=["search"],
        responses=problems(400, 403, 404, 408, 413, 415, 422),
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": form_schema(settings)}}}},
    )
    async def search(request: Request, response: Response) -> SearchAnswer:
        """Search for a person."""
        async with received_form(request, SearchForm) as form:
            if reason := conflict(form, batcher.info.cameras, settings, encoder.describes, rerank_possible):
                raise HTTPException(422, reason)
            keys = await run_in_threadpool(digests, form.picture)
            try:
                asked, taken_by = await batcher.run(_with_cameras, gallery, form, keys)
                searching = batcher.search(asked, uploaded_pictures(form.picture, settings, form.box))
                answer = await _until_disconnected(request, searching)
            except KeyError as error:
                if error.args[0] not in (*form.key, *form.track):
                    raise
                raise HTTPException(404, f"{error.args[0]}: no such picture in the gallery") from error
            except GalleryError:
                raise
            except InputError as error:
                raise HTTPException(422, str(error)) from error
        response.headers["Server-Timing"] = ", ".join(f"{k};dur={1000 * s:.2f}" for k, s in answer.seconds.items())
        return _search_answer(answer, form.offset, taken_by)

    @router.get("/pictures/{key}", tags=["gallery"], responses=problems(404, 422))
    async def picture(key: KeyInPath) -> Picture:
        """A picture of the gallery."""
        found = await batcher.run(gallery.get, [key])
        if not found:
            raise HTTPException(404, "no such picture in the gallery")
        return Picture.of(found[0])

    jpeg: _Responses = {
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "Not modified"},
    }

    @router.get(
        "/pictures/{key}/thumbnail",
        tags=["gallery"],
        response_class=Response,
        responses={**jpeg, **problems(404, 422)},
    )
    def thumbnail(key: KeyInPath, request: Request) -> Response:
        """The picture's thumbnail."""
        batcher.check_ready()
        found = gallery.thumbnail(key)
        if found is None:
            raise HTTPException(404, "no such picture in the gallery")
        return _tagged(request, found, "image/jpeg", key, "private, max-age=600")

    @router.get("/identities/{identity:path}", tags=["gallery"], responses=problems(404, 422))
    async def identity(identity: Name) -> Identity:
        """A person's pictures, sorted by time."""
        pictures = await batcher.run(gallery.of_identity, identity)
        if not pictures:
            raise HTTPException(404, "no such identity in the gallery")
        return Identity(identity=identity, name=pictures[0].name, pictures=[Picture.of(entry) for entry in pictures])

    @router.get("/track/{key}", tags=["gallery"], responses=problems(404, 422))
    async def track(key: KeyInPath) -> list[Picture]:
        """All pictures of a picture's track, sorted by time."""
        return [Picture.of(entry) for entry in await batcher.run(_track_of, gallery, key)]

    async def corrected(correct: Callable[[Gallery, list[str]], correcting.Corrected], keys: Keys) -> Corrected:
        done = await changed(batcher, correct, gallery, keys.keys)
        return Corrected(identity=done.identity, change=done.change)

    @router.post("/corrections/merge", tags=["corrections"], responses=problems(400, 403, 408, 409, 413, 422))
    async def merge_pictures(keys: Keys) -> Corrected:
        """Record that these pictures show one person."""
        return await corrected(merge, keys)

    @router.post("/corrections/split", tags=["corrections"], responses=problems(400, 403, 408, 409, 413, 422))
    async def split_pictures(keys: Keys) -> Corrected:
        """Record that these pictures do not show the person they are joined with."""
        return await corrected(split, keys)

    @router.get("/corrections", tags=["corrections"])
    async def all_corrections() -> list[CorrectionMade]:
        """All corrections."""
        return await batcher.run(_corrections, gallery)

    table: _Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

    @router.get("/corrections.csv", tags=["corrections"], response_class=Response, responses=table)
    async def corrections_table() -> Response:
        """All corrections as a table, which training reads as data.links."""
        headers = {"Content-Disposition": 'attachment; filename="corrections.csv"'}
        return Response(await batcher.run(corrections_csv, gallery), media_type="text/csv", headers=headers)

    return router


def footage_routes(
    gallery: Gallery, settings: ServiceSettings, batcher: SearchBatcher, originals: Originals, passes: Passes
) -> APIRouter:
    """What is behind the pictures; only files that the gallery recorded are read."""
    router = APIRouter(
        prefix="/api/pictures/{key}",
        dependencies=token_required(settings),
        responses=problems(404, 422, 503, *([401] if settings.token else [])),
        tags=["footage"],
    )
    jpeg: _Responses = {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}
    private = {"Cache-Control": "private, max-age=600"}

    async def entry_of(key: str) -> Entry:
        found = await batcher.run(gallery.get, [key])
        if not found:
            raise HTTPException(404, "no such picture in the gallery")
        return found[0]

    @router.get("/picture", response_class=Response, responses=jpeg)
    async def picture_itself(key: KeyInPath) -> Response:
        """The picture in its own size; its thumbnail if the file is gone or was changed."""
        entry = await entry_of(key)
        found = await originals.picture(entry) or gallery.thumbnail(key)
        if found is None:
            raise HTTPException(404, "the picture's file is gone, and there is no thumbnail")
        return Response(found, media_type="image/jpeg", headers=private)

    @router.get("/frame", response_class=Response, responses={**jpeg, **problems(413, 415)})
    async def frame(key: KeyInPath) -> Response:
        """The frame that the picture was cut out of, with its box drawn."""
        return Response(await originals.frame(await entry_of(key)), media_type="image/jpeg", headers=private)

    @router.get("/moment", responses=problems(413, 415))
    async def moment(key: KeyInPath) -> Moment:
        """Where in its footage the picture was cut out, and the video's address."""
        entry = await entry_of(key)
        second = await originals.second(entry)
        assert entry.origin is not None
        video = None if second is None else f"api/pictures/{key}/video?pass={passes.make(key)}"
        about = entry.origin
        return Moment(footage=about.footage, frame=about.frame, box=list(about.box), second=second, video=video)

    binary = {"schema": {"type": "string", "format": "binary"}}
    videos: _Responses = {code: {"content": {"video/*": binary}, "description": "The video"} for code in (200, 206)}

    @router.get(
        "/video", response_class=Response, responses={**videos, 416: {"description": "No such range"}, **problems(415)}
    )
    async def video(key: KeyInPath, request: Request) -> Response:
        """The video that the picture was cut out of, or the range of it that is asked for."""
        return await originals.video(await entry_of(key), request)

    return router


async def changed(batcher: SearchBatcher, change: Callable[..., T], *arguments: object, refused: int = 409) -> T:
    """What a change of the gallery gives.

    Raises:
        HTTPException: ``refused``, the change is not possible.
    """
    try:
        done = await batcher.run(change, *arguments)
    except GalleryError:
        raise
    except InputError as error:
        raise HTTPException(refused, str(error)) from error
    await batcher.refresh()
    return done


def _track_of(gallery: Gallery, key: str) -> list[Entry]:
    found = gallery.get([key])
    if not found:
        raise HTTPException(404, "no such picture in the gallery")
    return gallery.of_track(found[0].camera, found[0].label) if found[0].label else found


def _corrections(gallery: Gallery) -> list[CorrectionMade]:
    known = gallery.catalogue().of_label

    def latest(camera: str, label: str) -> str | None:
        return known[camera, label].keys[0] if (camera, label) in known else None

    return [
        CorrectionMade(
            **asdict(made), key_a=latest(made.camera_a, made.label_a), key_b=latest(made.camera_b, made.label_b)
        )
        for made in corrections(gallery)
    ]


def _with_cameras(gallery: Gallery, form: SearchFields, digests: list[str]) -> tuple[Question, list[str]]:
    """What the form asks for, and the camera of each uploaded picture: as given, or of the same file in the gallery.

    Raises:
        HTTPException: 422, other cameras are asked for and nobody knows which ones those are.
        KeyError: an unknown picture.
    """
    known = gallery.cameras_of([*digests, *form.key, *form.track])
    given = form.taken_by or [""] * len(digests)
    taken_by = [camera or known.get(digest, "") for camera, digest in zip(given, digests, strict=True)]
    asked = question(form)
    query = replace(asked.query, cameras=tuple(taken_by))
    if form.other_cameras:
        cameras = [*taken_by, *(known[key] for key in (*form.key, *form.track))]
        if "" in cameras:
            which = f"picture {cameras.index('') + 1}" if len(cameras) > 1 else "the picture"
            raise HTTPException(422, f"nothing says which camera took {which}; choose it, to search the other cameras")
        filters = query.filters
        query = replace(query, filters=replace(filters, exclude_cameras=(*filters.exclude_cameras, *cameras)))
    return replace(asked, query=query), taken_by


def token_required(settings: ServiceSettings) -> list[Any]:
    """Declares in OpenAPI that the token is required; `GuardMiddleware` checks it."""
    return [] if settings.token is None else [Security(HTTPBearer(auto_error=False))]


def problems(*codes: int) -> _Responses:
    """The error responses with these status codes, for OpenAPI."""
    return {
        code: {"model": Problem, "description": _REASONS[code]} | ({"headers": _LATER} if code in (429, 503) else {})
        for code in codes
    }


def _tagged(request: Request, content: bytes, kind: str, tag: str, keep: str) -> Response:
    """The content, or 304 if the client has it already."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": keep}
    if any(
        known.strip().removeprefix("W/") in (f'"{tag}"', "*")
        for known in request.headers.get("if-none-match", "").split(",")
    ):
        return Response(None, 304, headers)
    return Response(content, media_type=kind, headers=headers)


async def _until_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled if the client disconnects.

    Raises:
        HTTPException: 503, the client has disconnected.
    """
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([task, disconnected], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(503, "the client has disconnected")
        return task.result()
    finally:
        task.cancel()
        disconnected.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _search_answer(answer: Answer, offset: int, taken_by: list[str]) -> SearchAnswer:
    found = answer.found
    return SearchAnswer(
        hits=[FoundPicture.at(hit) for hit in found.hits],
        identities=[
            FoundIdentity(identity=group.identity, score=group.score, keys=[hit.entry.key for hit in group.hits])
            for group in group_by_identity(found.hits)
        ],
        groups=[
            FoundGroup(
                camera=group.hits[0].entry.camera,
                label=group.hits[0].entry.label,
                identity=group.identity,
                score=group.score,
                pictures=group.pictures,
                keys=[hit.entry.key for hit in group.hits],
            )
            for group in found.groups
        ],
        taken_by=taken_by,
        more=found.more,
        nobody=found.nobody,
        offset=offset,
    )
