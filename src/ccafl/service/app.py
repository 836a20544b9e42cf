"""The service as an ASGI application: routes, page, limits and errors put together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ccafl.encoders.encoder import PictureEncoder
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import GalleryError
from ccafl.service.adding import adding_routes
from ccafl.service.batching import BusyError, SearchBatcher
from ccafl.service.browsing import browsing_routes
from ccafl.service.footage import Originals, Passes
from ccafl.service.limits import GuardMiddleware, ServiceSettings, busy
from ccafl.service.metrics import Metrics
from ccafl.service.routes import api_routes, footage_routes, page_routes, problems, state_routes

_PAUSE = 30.0  # seconds until a gallery that fails is worth another try


def create_app(
    gallery: Gallery,
    encoder: PictureEncoder,
    settings: ServiceSettings,
    *,
    metrics: Metrics | None = None,
    failed: Callable[[Exception], None] = lambda error: None,
) -> FastAPI:
    """The service as an ASGI application; the caller closes the gallery.

    Args:
        gallery: open; only the application may use it while it runs.
        encoder: of the gallery's model.
        settings: where the service listens and what it accepts.
        metrics: where requests and batches are counted, if the caller counts other things there.
        failed: called with the error if the gallery or the model cannot be loaded.

    Raises:
        InputError: the encoder is not of the gallery's model.
    """
    gallery.check_model(encoder)
    metrics = metrics or Metrics()
    originals, passes = Originals(settings.pixels), Passes()
    batcher = SearchBatcher(gallery, encoder, capacity=settings.queue, metrics=metrics)

    async def start() -> None:
        try:
            await batcher.start()
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
            await run_in_threadpool(originals.close)
            await run_in_threadpool(batcher.close)

    app = FastAPI(
        title="ccafl",
        version=version("ccafl"),
        summary="Search a gallery for people",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problems(421, 429),
    )
    app.add_middleware(GuardMiddleware, settings=settings, metrics=metrics, passes=passes)
    app.add_exception_handler(RequestValidationError, unprocessable)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(GalleryError, _broken)
    app.include_router(page_routes())
    app.include_router(state_routes(batcher, metrics, settings))
    app.include_router(api_routes(gallery, encoder, settings, batcher))
    app.include_router(browsing_routes(gallery, settings, batcher))
    app.include_router(adding_routes(gallery, settings, batcher))
    app.include_router(footage_routes(gallery, settings, batcher, originals, passes))
    return app


async def unprocessable(_: Request, error: Exception) -> Response:
    """422, with the first invalid value in one line."""
    first = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    line = " ".join(f"{where}: {first['msg']}".encode("utf-8", "backslashreplace").decode().split())
    return JSONResponse({"detail": line[:300]}, 422)


async def _busy(_: Request, error: Exception) -> Response:
    """503, with the time to wait before trying again."""
    refusal = busy(cast(BusyError, error).detail, cast(BusyError, error).seconds)
    return JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)


async def _broken(_: Request, error: Exception) -> Response:
    """503, with what is wrong with the gallery: its file, its disk, or its Milvus server."""
    refusal = busy(str(error), _PAUSE)
    return JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
