"""The HTTP service: searches and corrections of one gallery, and the page that uses them."""

import asyncio
import hashlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from typing import IO, Any, TypeVar, cast

import numpy as np
import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from PIL import Image
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from ccafl.data.images import SMALLEST_SIDE, TooLargeError, read_image
from ccafl.errors import InputError
from ccafl.search.batching import Answer, Desk, Question
from ccafl.search.corrections import corrections, corrections_csv, merge, split
from ccafl.search.encoder import PictureEncoder
from ccafl.search.gallery import Gallery
from ccafl.search.limits import Gate, ServiceSettings
from ccafl.search.metrics import Metrics
from ccafl.search.query import Query, group_by_identity
from ccafl.search.records import Filters
from ccafl.search.schemas import (
    CameraPictures,
    Corrected,
    CorrectionMade,
    FoundIdentity,
    FoundPicture,
    GalleryFacts,
    Identity,
    KeyInPath,
    Keys,
    Limits,
    Model,
    Name,
    Picture,
    Problem,
    SearchAnswer,
    SearchForm,
    Status,
)
from ccafl.terminal import note

__all__ = ["ServiceSettings", "create_app", "serve"]

_ENOUGH = 1024  # pixels of a picture's longer side from which on it is halved, thirded, ... as it waits for the model
_GRACE = 10  # seconds that requests under way may take when the service is told to end
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_REASONS = {
    400: "The body cannot be parsed",
    401: "The token is missing or wrong",
    403: "A page of another site asked",
    404: "There is none",
    408: "The body did not arrive in time",
    409: "It cannot be so; the reason is given",
    413: "Too large",
    415: "Not a picture that can be read",
    421: "The service is not called by this name",
    422: "A value that cannot be used",
    429: "Too many requests",
    503: "Not ready, or too busy",
}
_LATER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}

_NOTHING = np.empty((0, 0), np.float32)

T = TypeVar("T")
_Responses = dict[int | str, dict[str, Any]]


def create_app(gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings) -> FastAPI:
    """The service as an ASGI application; the gallery stays the caller's to close.

    Args:
        gallery: open; the application alone uses it while it runs.
        encoder: of the gallery's model.
        settings: where it listens and what it lets in.

    Raises:
        InputError: the encoder is not of the gallery's model.
    """
    return _application(gallery, encoder, settings, lambda error: None)


def serve(gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM, answer what is under way, and close the gallery.

    Raises:
        InputError: the encoder is not of the gallery's model, the address cannot be listened on, or the gallery or the
            model cannot be loaded.
    """
    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    with gallery:
        config = uvicorn.Config(
            _application(gallery, encoder, settings, fail),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody could name another address and escape the limits
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)
        with _listening(settings.host, settings.port) as listener, _signals_ignored_afterwards():
            address, port = listener.getsockname()[:2]
            place = f"[{address}]" if ":" in address else address
            note(f"{gallery.model_name}: searched at http://{place}:{port} (Ctrl-C ends it)")
            if settings.token is None:
                note("no token is set: every user and program of this machine can search")
            server.run(sockets=[listener])
    if failures:
        raise failures[0]


def _application(
    gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings, failed: Callable[[Exception], None]
) -> FastAPI:
    gallery.check_model(encoder)
    metrics = Metrics()
    desk = Desk(gallery, encoder, places=settings.queue, metrics=metrics)

    async def start() -> None:
        try:
            await desk.start()
        except Exception as error:
            failed(error)
            raise

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(start())
        try:
            yield
        finally:
            await asyncio.wait([starting])
            await run_in_threadpool(desk.close)

    app = FastAPI(
        title="ccafl",
        version=version("ccafl"),
        summary="Search a gallery for people",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=_problems(421, 429),
    )
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.include_router(_page())
    app.include_router(_state(desk, metrics, settings))
    app.include_router(_api(gallery, encoder, settings, desk))
    return app


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    folder = files("ccafl.search") / "page"

    def file(name: str, request: Request) -> Response:
        found = next((f for f in folder.iterdir() if f.name == name), None) if folder.is_dir() else None
        if found is None or (kind := _TYPES.get(name[name.rfind(".") :])) is None:
            raise HTTPException(404, f"the page has no file {name!r}")
        content = found.read_bytes()
        return _tagged(request, content, kind, hashlib.sha256(content).hexdigest(), "no-cache")

    @router.get("/")
    def index(request: Request) -> Response:
        return file("index.html", request)

    @router.get("/page/{name}")
    def page(name: str, request: Request) -> Response:
        return file(name, request)

    return router


def _state(desk: Desk, metrics: Metrics, settings: ServiceSettings) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/health")
    async def health() -> Status:
        """Whether the service runs."""
        return Status(status="alive")

    @router.get("/ready", responses=_problems(503))
    async def ready() -> Status:
        """Whether the model and the gallery are loaded."""
        desk.check_ready()
        return Status(status="ready")

    counted: _Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @router.get(
        "/metrics",
        dependencies=_token(settings),
        response_class=Response,
        responses={**counted, **(_problems(401) if settings.token else {})},
    )
    async def measured() -> Response:
        """What was counted, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _api(gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings, desk: Desk) -> APIRouter:
    router = APIRouter(
        prefix="/api", dependencies=_token(settings), responses=_problems(503, *([401] if settings.token else []))
    )
    rerank_possible = find_spec("torch") is not None

    @router.get("/gallery", tags=["gallery"])
    async def facts() -> GalleryFacts:
        """What can be searched."""
        info = desk.info
        return GalleryFacts(
            pictures=info.pictures,
            identities=info.identities,
            cameras=[CameraPictures(name=name, pictures=count) for name, count in info.cameras.items()],
            first=info.first,
            last=info.last,
            model=Model(name=info.model_name, fingerprint=info.fingerprint, runtime=encoder.runtime),
            text=encoder.describes,
            rerank=rerank_possible,
            limits=Limits(upload_mb=settings.upload_mb, pixels=settings.pixels, pictures=settings.pictures),
        )

    @router.post(
        "/search",
        tags=["search"],
        responses=_problems(400, 403, 404, 408, 413, 415, 422),
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _form_schema(settings)}}}},
    )
    async def search(request: Request, response: Response) -> SearchAnswer:
        """The pictures nearest to one person's."""
        async with _form(request) as form:
            query = Query(
                _NOTHING, form.text is not None, form.fusion, _filters(form), form.rerank, form.limit, form.offset
            )
            if wrong := _wrong(form, desk.info.cameras, settings, encoder.describes, rerank_possible):
                raise HTTPException(422, wrong)
            boxes = form.box or [""] * len(form.picture)
            readers = [
                partial(_read, upload.file, number, box, settings.pixels)
                for number, (upload, box) in enumerate(zip(form.picture, boxes, strict=True), 1)
            ]
            try:
                answer = await _unless_gone(request, desk.search(Question(query, tuple(form.key), form.text), readers))
            except KeyError as error:
                if error.args[0] not in form.key:
                    raise
                raise HTTPException(404, f"{error.args[0]}: no such picture in the gallery") from error
            except InputError as error:
                raise HTTPException(422, str(error)) from error
        response.headers["Server-Timing"] = ", ".join(f"{k};dur={1000 * s:.2f}" for k, s in answer.seconds.items())
        return _found(answer, form.offset)

    @router.get("/pictures/{key}", tags=["gallery"], responses=_problems(404, 422))
    async def picture(key: KeyInPath) -> Picture:
        """What is known of a picture."""
        found = await desk.run(gallery.get, [key])
        if not found:
            raise HTTPException(404, "no such picture in the gallery")
        return Picture.of(found[0])

    jpeg: _Responses = {
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "As before"},
    }

    @router.get(
        "/pictures/{key}/thumbnail",
        tags=["gallery"],
        response_class=Response,
        responses={**jpeg, **_problems(404, 422)},
    )
    def thumbnail(key: KeyInPath, request: Request) -> Response:
        """The picture, small."""
        desk.check_ready()
        found = gallery.thumbnail(key)
        if found is None:
            raise HTTPException(404, "no such picture in the gallery")
        return _tagged(request, found, "image/jpeg", key, "private, max-age=600")

    @router.get("/identities/{identity:path}", tags=["gallery"], responses=_problems(404, 422))
    async def identity(identity: Name) -> Identity:
        """A person's pictures in order of time."""
        pictures = await desk.run(gallery.of_identity, identity)
        if not pictures:
            raise HTTPException(404, "nobody in the gallery is called so")
        return Identity(identity=identity, pictures=[Picture.of(entry) for entry in pictures])

    async def corrected(how: Callable[[Gallery, list[str]], str], keys: Keys) -> Corrected:
        try:
            now = await desk.run(how, gallery, keys.keys)
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        await desk.refresh()
        return Corrected(identity=now)

    @router.post("/corrections/merge", tags=["corrections"], responses=_problems(400, 403, 408, 409, 413, 422))
    async def merged(keys: Keys) -> Corrected:
        """These pictures show one person."""
        return await corrected(merge, keys)

    @router.post("/corrections/split", tags=["corrections"], responses=_problems(400, 403, 408, 409, 413, 422))
    async def parted(keys: Keys) -> Corrected:
        """These pictures do not show the person that they are joined with."""
        return await corrected(split, keys)

    @router.get("/corrections", tags=["corrections"])
    async def made() -> list[CorrectionMade]:
        """All corrections."""
        return [
            CorrectionMade.model_validate(one, from_attributes=True) for one in await desk.run(corrections, gallery)
        ]

    table: _Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

    @router.get("/corrections.csv", tags=["corrections"], response_class=Response, responses=table)
    async def made_csv() -> Response:
        """All corrections as a table, which a training reads as data.links."""
        headers = {"Content-Disposition": 'attachment; filename="corrections.csv"'}
        return Response(await desk.run(corrections_csv, gallery), media_type="text/csv", headers=headers)

    return router


def _token(settings: ServiceSettings) -> list[Any]:
    """Says in OpenAPI that the token is needed; `Gate` asks for it."""
    return [] if settings.token is None else [Security(HTTPBearer(auto_error=False))]


def _problems(*codes: int) -> _Responses:
    """Answers that say why there is none, for OpenAPI."""
    return {
        code: {"model": Problem, "description": _REASONS[code]} | ({"headers": _LATER} if code in (429, 503) else {})
        for code in codes
    }


async def _unprocessable(_: Request, error: Exception) -> Response:
    """The first of the values that cannot be used, in one line."""
    first = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    line = " ".join(f"{where}: {first['msg']}".encode("utf-8", "backslashreplace").decode().split())
    return JSONResponse({"detail": line[:300]}, 422)


def _form_schema(settings: ServiceSettings) -> dict[str, Any]:
    schema = SearchForm.model_json_schema()
    for several in ("picture", "box", "key"):
        schema["properties"][several]["maxItems"] = settings.pictures
    return schema


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[SearchForm]:
    """The search asked for; its files are closed at the end.

    Raises:
        HTTPException: 400, no form.
        RequestValidationError: a field that cannot be used.
    """
    try:
        form = await request.form()
    except StarletteHTTPException:
        raise
    except Exception as error:  # the parsers raise what they like, and the client may have gone
        raise HTTPException(400, "the body cannot be parsed as a form") from error
    try:
        try:
            asked = SearchForm.of(form)
        except ValidationError as error:
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
        yield asked
    finally:
        await form.close()


def _filters(form: SearchForm) -> Filters:
    return Filters(tuple(dict.fromkeys(form.camera)), tuple(dict.fromkeys(form.exclude_camera)), form.since, form.until)


def _wrong(
    form: SearchForm, cameras: Container[str], settings: ServiceSettings, describes: bool, rerank_possible: bool
) -> str | None:
    """What of the search cannot be, for fields that each can."""
    if form.text is None and not form.picture and not form.key:
        return "nothing to look for; give a picture, a key or a text"
    if form.text is not None and (form.picture or form.key):
        return "text: stands alone; search by a description or by pictures"
    if form.text is not None and not describes:
        return "text: the gallery's model has no trained text tower; search by picture"
    if max(len(form.picture), len(form.key)) > settings.pictures:
        return f"picture, key: a search takes {settings.pictures} at most"
    if form.box and len(form.box) != len(form.picture):
        return f"box: {len(form.box)} for {len(form.picture)} pictures; give one a picture, or none"
    if form.rerank and not rerank_possible:
        return "rerank: needs torch, which this service runs without"
    unknown = next((name for name in (*form.camera, *form.exclude_camera) if name not in cameras), None)
    return None if unknown is None else f"camera {unknown!r}: the gallery has none of that name"


def _tagged(request: Request, content: bytes, kind: str, tag: str, keep: str) -> Response:
    """The content, or 304 where the client has it."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": keep}
    if any(
        known.strip().removeprefix("W/") in (f'"{tag}"', "*")
        for known in request.headers.get("if-none-match", "").split(",")
    ):
        return Response(None, 304, headers)
    return Response(content, media_type=kind, headers=headers)


def _read(file: IO[bytes], number: int, box: str, most_pixels: int) -> Image.Image:
    """What of an uploaded picture is looked for; large ones smaller, still larger than any encoder takes.

    Raises:
        HTTPException: 413 too many pixels, 415 no picture, 422 a box outside of it.
    """
    try:
        picture = read_image(file, most_pixels)
    except TooLargeError as error:
        raise HTTPException(413, f"picture {number}: {error}; at most {most_pixels} pixels are taken") from error
    except InputError as error:
        raise HTTPException(415, f"picture {number}: {error}") from error
    if box:
        x, y, width, height = (round(float(part)) for part in box.split(","))
        edges = (x, y, min(x + width, picture.width), min(y + height, picture.height))
        if min(edges[2] - x, edges[3] - y) < SMALLEST_SIDE:
            size = f"{picture.width}x{picture.height}"
            raise HTTPException(422, f"box: {box} holds too little of picture {number}, which has {size} pixels")
        picture = picture.crop(edges)
    factor = max(picture.size) // _ENOUGH
    return picture.reduce(min(factor, *picture.size)) if factor > 1 else picture


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, which is dropped once the client goes.

    Raises:
        HTTPException: 503, nobody reads it.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(503, "the client has gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _found(answer: Answer, offset: int) -> SearchAnswer:
    found = answer.found
    return SearchAnswer(
        hits=[FoundPicture.at(hit.entry, hit.score) for hit in found.hits],
        identities=[
            FoundIdentity(identity=group.identity, score=group.score, keys=[hit.entry.key for hit in group.hits])
            for group in group_by_identity(found.hits)
        ],
        more=found.more,
        offset=offset,
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound there.

    Raises:
        InputError: no such host, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"{host}: is no address of this machine ({error.strerror}); choose another") from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            raise InputError(f"{host}:{port}: cannot be listened on ({error.strerror}); choose another port") from error
        yield listener


@contextmanager
def _signals_ignored_afterwards() -> Iterator[None]:
    """uvicorn, having ended for a signal, sends it once more; the gallery is closed first, by the caller."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, lambda *_: None) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
