"""`ccafl label` over HTTP: a page on the tracks of a site's cameras, and the routes that it calls."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import torch
from fastapi import APIRouter, FastAPI, HTTPException, Path, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict

from ccafl.data.images import as_jpeg, load_image
from ccafl.errors import InputError
from ccafl.labelling.session import Answer, LabellingSession
from ccafl.service.app import unprocessable
from ccafl.service.footage import Passes
from ccafl.service.limits import GuardMiddleware, ServiceSettings
from ccafl.service.metrics import Metrics
from ccafl.service.routes import page_routes
from ccafl.service.schemas import Status

SHOWN = 8  # pictures of a track
_SHOWN_SIZE = (512, 512)  # pixels of a picture on the page, at most


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerGiven(_Strict):
    """Whether two labels of a camera are one person."""

    one: int
    other: int
    answer: Answer


class CameraChosen(_Strict):
    """The camera to go on with."""

    camera: str


class TrackShown(BaseModel):
    """A track on the page: its number, its name in its camera, its time, and the numbers of some of its pictures."""

    number: int
    label: str
    begin: datetime
    end: datetime
    pictures: list[int]


class CameraShown(BaseModel):
    """How far a camera is, as `ccafl.labelling.session.Progress`."""

    name: str
    answered: int
    left: int
    labels: int
    persons: int


class LabellingState(BaseModel):
    """What the page shows: the camera, the two tracks that are asked about, and how probably they are one person.

    ``tracks`` is empty where nothing is left to ask; ``probability`` is none for a question that is asked again.
    """

    camera: str
    cameras: list[CameraShown]
    tracks: list[TrackShown]
    probability: float | None
    undo: bool
    table: str


def create_labelling_app(
    session: LabellingSession, settings: ServiceSettings, *, metrics: Metrics | None = None
) -> FastAPI:
    """The page and its routes as an ASGI application.

    Args:
        session: only the application may use it while it runs.
        settings: where the service listens and what it accepts.
        metrics: where requests are counted; its own if not given.
    """
    app = FastAPI(title="ccafl label", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(GuardMiddleware, settings=settings, metrics=metrics or Metrics(), passes=Passes())
    app.add_exception_handler(RequestValidationError, unprocessable)
    app.include_router(page_routes("label.html"))
    app.include_router(_routes(session))
    return app


def _routes(session: LabellingSession) -> APIRouter:
    router = APIRouter()
    images, lock = session.images, threading.Lock()
    cameras = list(images.camera_names)
    place = [0]  # of the camera on the page

    @router.get("/ready")
    def ready() -> Status:
        """Whether the page can be used: at once."""
        return Status(status="ready")

    def state() -> LabellingState:
        question = session.question(place[0])
        return LabellingState(
            camera=cameras[place[0]],
            cameras=[_camera_shown(session, number) for number in range(len(cameras))],
            tracks=[]
            if question is None
            else [_track_shown(session, label) for label in (question.one, question.other)],
            probability=None if question is None else question.probability,
            undo=session.can_undo,
            table=str(session.table),
        )

    def changed(change: Callable[[], None]) -> LabellingState:
        with lock:
            try:
                change()
            except InputError as error:
                raise HTTPException(409, str(error)) from error
            return state()

    @router.get("/api/label")
    def current() -> LabellingState:
        """What to ask now."""
        with lock:
            return state()

    @router.post("/api/label/answer")
    def answer(given: AnswerGiven) -> LabellingState:
        """Take an answer; 409 if it cannot be."""
        if not all(0 <= label < len(images.names) for label in (given.one, given.other)):
            raise HTTPException(404, "no such track")

        def take() -> None:
            session.answer(given.one, given.other, given.answer)
            if session.question(place[0]) is None:  # the next camera that has questions, if there is one
                following = [*range(place[0] + 1, len(cameras)), *range(place[0])]
                place[0] = next((camera for camera in following if session.question(camera)), place[0])

        return changed(take)

    @router.post("/api/label/undo")
    def undo() -> LabellingState:
        """Take the last answer back."""

        def take_back() -> None:
            camera = session.undo()
            place[0] = place[0] if camera is None else camera

        return changed(take_back)

    @router.post("/api/label/camera")
    def choose(chosen: CameraChosen) -> LabellingState:
        """Go on with another camera."""
        if chosen.camera not in cameras:
            raise HTTPException(404, "no such camera")
        return changed(lambda: place.__setitem__(0, cameras.index(chosen.camera)))

    @router.get("/api/label/pictures/{number}/thumbnail")
    def picture(number: Annotated[int, Path(ge=0)]) -> Response:
        """A picture of a track, as JPEG."""
        if number >= len(images):
            raise HTTPException(404, "no such picture")
        try:
            opened = load_image(images.paths[number])
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        content = as_jpeg(opened, _SHOWN_SIZE, 90)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    return router


def _camera_shown(session: LabellingSession, camera: int) -> CameraShown:
    progress = session.progress(camera)
    return CameraShown(
        name=session.images.camera_names[camera],
        answered=progress.answered,
        left=progress.left,
        labels=progress.labels,
        persons=progress.persons,
    )


def _track_shown(session: LabellingSession, label: int) -> TrackShown:
    images = session.images
    assert images.tracks is not None
    _, begin, end = images.tracks[images.tracks[:, 0] == label][0].tolist()
    pictures = (images.identities == label).nonzero().squeeze(1)
    chosen = pictures[torch.linspace(0, len(pictures) - 1, min(len(pictures), SHOWN)).round().long()]
    return TrackShown(
        number=label,
        label=images.names[label][1],
        begin=datetime.fromtimestamp(begin, UTC),
        end=datetime.fromtimestamp(end, UTC),
        pictures=chosen.tolist(),
    )
