"""All clients' searches, batched: one thread runs the model, one searches the gallery, several read pictures."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Condition, Lock, Thread
from time import perf_counter
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.encoders.encoder import Encoded, PictureEncoder
from ccafl.gallery.entries import Found
from ccafl.gallery.gallery import Gallery, GalleryInfo
from ccafl.gallery.query import Query, search_many, some_of_track
from ccafl.service.metrics import Metrics

MOST_PICTURES = 64  # in a forward pass
_PATIENCE = 0.004  # seconds that a batch waits for searches whose pictures are being read
_MOST_LARGE = 8  # pictures that take long, waiting or being read
_CLOSING = 10.0  # seconds for pending searches to finish when the service ends
_NONE = np.empty((0, 0), np.float32)

T = TypeVar("T")
R = TypeVar("R")


class BusyError(Exception):
    """The service cannot take the search now.

    Attributes:
        detail: why, in one line.
        seconds: how long to wait before trying again.
    """

    def __init__(self, detail: str, seconds: float = 1) -> None:
        super().__init__(detail)
        self.detail, self.seconds = detail, seconds


class PictureReader(Protocol):
    """A picture to be read in a thread; both raise what is wrong with it."""

    def takes_long(self) -> bool:
        """Whether `read` takes long, or much memory; told without decoding."""

    def read(self) -> Image.Image:
        """The picture."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whom a client searches for.

    Attributes:
        query: how to search; its features are filled in from the rest.
        keys: pictures of the gallery that show the person.
        tracks: pictures of the gallery, each for all of its track.
        sentence: a description instead of pictures.
    """

    query: Query
    keys: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()
    sentence: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and the seconds spent by stage."""

    found: Found
    seconds: dict[str, float]


@dataclass(slots=True)
class _Pending:
    """A search in progress."""

    question: Question
    pictures: Sequence[Image.Image]
    seconds: dict[str, float]
    answer: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=perf_counter)
    features: NDArray[np.float32] = field(default_factory=lambda: _NONE)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The camera of each picture, empty if nobody knows it."""
        return self.question.query.cameras or ("",) * len(self.pictures)


class SearchBatcher:
    """Passes the searches of one event loop to the model and the gallery in batches.

    Each forward pass takes all waiting searches, and so does each search in the gallery. A search that arrives while
    nothing else is in progress starts at once; otherwise it waits, for milliseconds, for those still being read.

    Args:
        gallery: open; no other thread may use it meanwhile, except for thumbnails.
        encoder: of the gallery's model.
        capacity: the most pictures in all searches that are waiting or being answered.
        metrics: where batches are counted.
    """

    def __init__(self, gallery: Gallery, encoder: PictureEncoder, *, capacity: int, metrics: Metrics) -> None:
        self._gallery, self._encoder, self._capacity, self._metrics = gallery, encoder, capacity, metrics
        self._pictures = 0  # of all searches waiting or being answered
        self._waiting: deque[_Pending] = deque()
        self._encoded: deque[_Pending] = deque()
        self._being_read = 0
        self._closed = False
        self._changed = Condition()
        self._reading = ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1)), "read")
        self._reading_large = ThreadPoolExecutor(1, "read large")
        self._large = 0
        self._gallery_thread = ThreadPoolExecutor(1, "gallery")
        self._encoding = ThreadPoolExecutor(1, "encode")
        self._model = Lock()  # the encoder is not thread-safe
        self._model_thread = Thread(target=self._run_model, name="model", daemon=True)
        self._warmed: Future[None] = Future()
        self._info: GalleryInfo | None = None
        metrics.queue.set_function(lambda: self._pictures)

    @property
    def info(self) -> GalleryInfo:
        """What the gallery holds.

        Raises:
            BusyError: not loaded yet, or closed.
        """
        if self._closed:
            raise BusyError("the service is shutting down", 10)
        if self._info is None:
            raise BusyError("the model and the gallery are being loaded; try again", 2)
        return self._info

    def check_ready(self) -> None:
        """Refuse to search before everything is loaded.

        Raises:
            BusyError: not loaded yet, or closed.
        """
        _ = self.info

    async def start(self) -> None:
        """Load the vectors and run the model once, so that the first search is as fast as the others."""
        self._model_thread.start()
        loaded = asyncio.get_running_loop().run_in_executor(self._gallery_thread, self._load)
        info, _ = await asyncio.gather(loaded, asyncio.wrap_future(self._warmed))
        self._set_info(info)

    def close(self) -> None:
        """Finish the searches in progress, waiting a few seconds at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._model_thread.is_alive():
            self._model_thread.join(_CLOSING)
        self._reading.shutdown(cancel_futures=True)
        self._reading_large.shutdown(cancel_futures=True)
        self._encoding.shutdown(cancel_futures=True)
        self._gallery_thread.shutdown()

    async def search(self, question: Question, readers: Sequence[PictureReader] = ()) -> Answer:
        """Read the pictures, then search for the person; when cancelled, the search is dropped.

        Args:
            question: whom to search for.
            readers: of the pictures; what they raise is raised here.

        Raises:
            BusyError: not ready, or too many searches are waiting.
            InputError: as `ccafl.gallery.query.search`.
            KeyError: an unknown picture.
        """
        with self._room(len(readers)):
            if readers or question.sentence is not None:
                pending = await self._read(question, readers)
            else:
                pending = _Pending(question, (), {})
                pending.answer.set_running_or_notify_cancel()
                self._submit([pending])
            return await asyncio.wrap_future(pending.answer)

    async def encode(
        self, readers: Sequence[PictureReader], cameras: Sequence[str]
    ) -> tuple[list[Image.Image], Encoded]:
        """Pictures to be added, and their features; the model takes them between two batches of searches.

        Raises:
            BusyError: not ready, or too much is waiting.
        """
        with self._room(len(readers)):
            pictures = await asyncio.gather(*(self._picture(reader) for reader in readers))
            encoding = asyncio.get_running_loop().run_in_executor(self._encoding, self._encode, pictures, cameras)
            return pictures, await encoding

    def _encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str]) -> Encoded:
        with self._model:
            return self._encoder.encode(pictures, cameras)

    @contextmanager
    def _room(self, pictures: int) -> Iterator[None]:
        """Take the room of as many pictures, or of a search without any, meanwhile."""
        self.check_ready()
        count = max(1, pictures)
        if self._pictures + count > self._capacity:
            raise BusyError("too many searches are waiting; try again")
        self._pictures += count
        try:
            yield
        finally:
            self._pictures -= count

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the gallery's thread, after the searches before it.

        Raises:
            BusyError: not loaded yet, or closed.
        """
        self.check_ready()
        return await asyncio.get_running_loop().run_in_executor(self._gallery_thread, function, *arguments)

    async def refresh(self) -> None:
        """Update `info` after a change."""
        self._set_info(await self.run(self._gallery.info))

    def _set_info(self, info: GalleryInfo) -> None:
        self._info = info
        self._metrics.pictures.set(info.pictures)

    def _load(self) -> GalleryInfo:
        self._gallery.load()
        return self._gallery.info()

    def _warm(self) -> None:
        self._encoder.encode([Image.new("RGB", (64, 128), "grey")])
        if self._encoder.describes:
            self._encoder.encode_text(["a person"])

    async def _read(self, question: Question, readers: Sequence[PictureReader]) -> _Pending:
        start = perf_counter()
        with self._changed:
            self._being_read += 1
        pending = None
        try:
            pictures = await asyncio.gather(*(self._picture(reader) for reader in readers))
            pending = _Pending(question, pictures, {"read": perf_counter() - start})
        finally:
            with self._changed:
                self._being_read -= 1
                if pending is not None:
                    self._waiting.append(pending)
                self._changed.notify_all()
        return pending

    async def _picture(self, reader: PictureReader) -> Image.Image:
        """The picture; those that take long are read one at a time, and do not delay the others."""
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._reading, reader.takes_long):
            return await loop.run_in_executor(self._reading, reader.read)
        if self._large >= _MOST_LARGE:
            raise BusyError("too many large pictures are being read; send smaller ones or try again", 5)
        self._large += 1
        try:
            return await loop.run_in_executor(self._reading_large, reader.read)
        finally:
            self._large -= 1

    def _run_model(self) -> None:
        """The model's thread."""
        try:
            self._warm()
        except Exception as error:
            self._warmed.set_exception(error)
            return
        self._warmed.set_result(None)
        while batch := self._next_batch():
            start = perf_counter()
            for pending in batch:
                pending.seconds["wait"] = start - pending.since
            features = _each(self._features, batch)
            end = perf_counter()
            encoded = []
            for pending, own in zip(batch, features, strict=True):
                pending.seconds["model"] = end - start
                if isinstance(own, Exception):
                    pending.answer.set_exception(own)
                else:
                    pending.features = own
                    encoded.append(pending)
            self._submit(encoded)

    def _next_batch(self) -> list[_Pending]:
        """The searches of the next forward pass; none when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(self._batch_is_due, _PATIENCE)
                if not self._waiting:
                    return []
                if batch := list(self._take_batch()):
                    return batch

    def _batch_is_due(self) -> bool:
        return self._closed or not self._being_read or sum(len(p.pictures) for p in self._waiting) >= MOST_PICTURES

    def _take_batch(self) -> Iterator[_Pending]:
        """The waiting searches that fit into one pass, without cancelled ones."""
        pictures = 0
        while self._waiting and (not pictures or pictures + len(self._waiting[0].pictures) <= MOST_PICTURES):
            pending = self._waiting.popleft()
            if pending.answer.set_running_or_notify_cancel():
                pictures += len(pending.pictures)
                yield pending

    def _features(self, batch: Sequence[_Pending]) -> list[NDArray[np.float32]]:
        pictures = [picture for pending in batch for picture in pending.pictures]
        cameras = [camera for pending in batch for camera in pending.cameras]
        sentences = [pending.question.sentence for pending in batch if pending.question.sentence is not None]
        start = perf_counter()
        with self._model:
            of_pictures = self._encoder.encode(pictures, cameras).features if pictures else _NONE
            of_sentences = self._encoder.encode_text(sentences) if sentences else _NONE
        if pictures or sentences:
            self._metrics.batch.observe(len(pictures) + len(sentences))
            self._metrics.model.observe(perf_counter() - start)
        found, described = iter(of_pictures), iter(of_sentences)
        features = []
        for pending in batch:
            if pending.question.sentence is not None:
                features.append(next(described)[None])
            else:
                features.append(_stacked(next(found) for _ in pending.pictures))
        return features

    def _submit(self, batch: Sequence[_Pending]) -> None:
        self._encoded.extend(batch)
        self._gallery_thread.submit(self._answer)

    def _answer(self) -> None:
        """The gallery's thread: answer all encoded searches at once."""
        start = perf_counter()
        batch = [self._encoded.popleft() for _ in range(len(self._encoded))]
        if not batch:  # an earlier call took them
            return
        answers = _each(self._found, batch)
        for pending, found in zip(batch, answers, strict=True):
            pending.seconds["search"] = perf_counter() - start
            if isinstance(found, Exception):
                pending.answer.set_exception(found)
            else:
                pending.answer.set_result(Answer(found, pending.seconds))

    def _found(self, batch: Sequence[_Pending]) -> list[Found]:
        return search_many(self._gallery, [self._query(pending) for pending in batch])

    def _query(self, pending: _Pending) -> Query:
        keys = (*pending.question.keys, *self._of_tracks(pending.question.tracks))
        features = [own for own in (pending.features, self._gallery.vectors(keys) if keys else _NONE) if len(own)]
        query = replace(pending.question.query, features=np.concatenate(features))
        if query.standardise and keys:
            cameras = pending.cameras + tuple(entry.camera for entry in self._gallery.get(keys))
            query = replace(query, cameras=cameras)
        return query

    def _of_tracks(self, keys: Sequence[str]) -> list[str]:
        """The keys of the pictures of these pictures' tracks."""
        found: dict[str, None] = {}
        entries = {entry.key: entry for entry in self._gallery.get(keys)}
        for entry in (entries[key] for key in keys):
            own = self._gallery.of_track(entry.camera, entry.label) if entry.label else [entry]
            found |= dict.fromkeys(one.key for one in some_of_track(own))
        return list(found)


def _stacked(rows: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    stacked = list(rows)
    return np.stack(stacked) if stacked else _NONE


def _each(work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> Sequence[R | Exception]:
    """What ``work`` gives for all items at once or, if that fails, one by one, so that one error spoils no other."""
    try:
        return work(items)
    except Exception as error:
        if len(items) == 1:
            return [error]
        return [_each(work, [item])[0] for item in items]
