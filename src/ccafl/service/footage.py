"""What the service shows of the files behind its pictures: the picture itself, its frame, and its video.

Only files that the gallery recorded are read, found by a picture's key; no part of a path comes from a request.
"""

import asyncio
import hashlib
import io
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest
from typing import IO, TypeVar

from fastapi import HTTPException, Request
from fastapi.responses import Response
from PIL import ImageDraw
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from ccafl.data.images import TooLargeError, as_jpeg, read_image
from ccafl.data.records import Origin
from ccafl.errors import InputError
from ccafl.footage.stills import GoneError, media_type, open_regular, still
from ccafl.gallery.entries import Entry
from ccafl.service.batching import BusyError

_WAITING = 8  # requests waiting for a file, or reading one
_VIDEOS = 32  # being sent at the same time
_PICTURE = 1 << 26  # bytes of a picture's file at most
_SHOWN = (2048, 2048)  # pixels; larger pictures are reduced
_BLOCK = 1 << 18  # bytes of a video sent at a time
_VALID = 6 * 3600.0  # seconds that a pass opens a video
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MARK, _EDGE = "#ffd400", "#000000"

T = TypeVar("T")


class Passes:
    """Passes in a video's address: a browser's video player sends no token. Each opens one picture's video for hours.

    Args:
        clock: seconds since any time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._secret, self._clock = secrets.token_bytes(32), clock

    def make(self, key: str) -> str:
        """A pass for the picture."""
        until = f"{int(self._clock() + _VALID)}"
        return f"{until}-{self._seal(key, until)}"

    def opens(self, given: str, path: str) -> bool:
        """Whether it was made for the picture whose video ``path`` is asked for, and is still valid."""
        found = re.fullmatch(r"/api/pictures/([0-9a-f]{64})/video", path)
        until, _, seal = given.partition("-")
        if not found or not (until.isascii() and until.isdecimal()):
            return False
        own = compare_digest(seal.encode("utf-8", "replace"), self._seal(found[1], until).encode())
        return own and self._clock() < int(until)

    def _seal(self, key: str, until: str) -> str:
        return hashlib.blake2b(f"{key} {until}".encode(), key=self._secret, digest_size=24).hexdigest()


class Originals:
    """Reads the files, one at a time.

    Args:
        pixels: of a picture or frame at most.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels, self._waiting, self._videos = pixels, 0, 0
        self._reading = ThreadPoolExecutor(1, "originals")

    async def picture(self, entry: Entry) -> bytes | None:
        """The picture as its file has it, JPEG; None if the file is gone or holds something else now."""
        return await self._read(self._picture, entry)

    async def frame(self, entry: Entry) -> bytes:
        """The frame that the picture was cut out of, with its box drawn, JPEG."""
        return await self._read(self._frame, _origin(entry))

    async def second(self, entry: Entry) -> float | None:
        """The second of the picture in its video; None for a folder of frames."""
        return (await self._read(still, *self._place(entry)))[1]

    async def video(self, entry: Entry, request: Request) -> Response:
        """The video, or the part of it that the request asks for."""
        if self._videos >= _VIDEOS:
            raise BusyError("too many videos are being watched; try again", 5)
        file, kind, size = await self._read(_opened_video, _origin(entry).footage)
        return _Part(self, file, kind, size, request)

    def close(self) -> None:
        """Wait for the file being read."""
        self._reading.shutdown(cancel_futures=True)

    def _place(self, entry: Entry) -> tuple[str, int, int]:
        origin = _origin(entry)
        return origin.footage, origin.frame, self._pixels

    async def _read(self, work: Callable[..., T], *arguments: object) -> T:
        """What ``work`` gives in the thread.

        Raises:
            BusyError: too many wait for it.
            HTTPException: 404, the file is gone; 413, too large; 415, it is no longer what it was.
        """
        if self._waiting >= _WAITING:
            raise BusyError("too many files are being read; try again", 2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, work, *arguments)
        except GoneError as error:
            raise HTTPException(404, str(error)) from error
        except TooLargeError as error:
            raise HTTPException(413, f"{error}; at most {self._pixels} are accepted") from error
        except InputError as error:
            raise HTTPException(415, str(error)) from error
        finally:
            self._waiting -= 1

    def _picture(self, entry: Entry) -> bytes | None:
        try:
            with open_regular(entry.source) as file:
                content = file.read(_PICTURE)
            if hashlib.sha256(content).hexdigest() != entry.key:
                return None
            return as_jpeg(read_image(io.BytesIO(content), self._pixels), _SHOWN, 90)
        except InputError:
            return None

    def _frame(self, origin: Origin) -> bytes:
        image, _ = still(origin.footage, origin.frame, self._pixels)
        x, y, width, height = origin.box
        pen, line = ImageDraw.Draw(image), max(2, round(max(image.size) / 320))
        for grown, colour, thick in ((2 * line, _EDGE, line), (line, _MARK, line), (0, _EDGE, 1)):
            edges = (x - grown, y - grown, x + width - 1 + grown, y + height - 1 + grown)
            pen.rectangle(edges, outline=colour, width=thick)
        return as_jpeg(image, _SHOWN, 90)

    def started(self) -> None:
        """A video is being sent."""
        self._videos += 1

    def ended(self) -> None:
        """It is no longer being sent."""
        self._videos -= 1


class _Part(Response):
    """A video, or a range of its bytes, read as the client takes it."""

    def __init__(self, originals: Originals, file: IO[bytes], kind: str, size: int, request: Request) -> None:
        super().__init__(None)
        self._originals, self._file, self._kind, self._size, self._request = originals, file, kind, size, request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._originals.started()
        try:
            with self._file:
                await self._send(send)
        finally:
            self._originals.ended()

    async def _send(self, send: Send) -> None:
        part = _range(self._request.headers.get("range"), self._size)
        headers = {"Accept-Ranges": "bytes", "Content-Type": self._kind}
        if part is None:
            headers |= {"Content-Range": f"bytes */{self._size}", "Content-Length": "0"}
            await _begin(send, 416, headers)
            await send({"type": "http.response.body", "body": b""})
            return
        start, end = part
        partial = "range" in self._request.headers
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{self._size}"
        headers["Content-Length"] = str(end - start)
        await _begin(send, 206 if partial else 200, headers)
        self._file.seek(start)
        while start < end and not await self._request.is_disconnected():
            block = await run_in_threadpool(self._file.read, min(_BLOCK, end - start))
            if not block:  # the file has become shorter; the client sees that something is missing
                break
            start += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": start < end})
        if start >= end and end == part[0]:
            await send({"type": "http.response.body", "body": b""})


async def _begin(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last of what is asked for, None if there are none; of several ranges all."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return (max(0, size - int(found[2])), size) if int(found[2]) else None
    start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None


def _opened_video(path: str) -> tuple[IO[bytes], str, int]:
    file = open_regular(path)
    try:
        kind = media_type(file)
        return file, kind, file.seek(0, 2)
    except BaseException:
        file.close()
        raise


def _origin(entry: Entry) -> Origin:
    if entry.origin is None:
        raise HTTPException(404, "the gallery does not know which footage this picture was cut out of")
    return entry.origin
