"""What the service accepts: host names, rates, tokens and sizes are checked before a route sees the request."""

import asyncio
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccafl.data.images import MOST_PIXELS
from ccafl.errors import InputError
from ccafl.service.metrics import Metrics

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OVERHEAD = 1 << 20  # bytes of an upload besides its pictures
OTHER_BODY = 1 << 18  # bytes of any other request
HELD = 1 << 27  # bytes in all requests being received or answered
_WAITING, _PATIENCE = 256, 10.0  # requests waiting for memory at most, and for how many seconds
_RECEIVING = 60.0  # seconds for a request's body to arrive
_DRAINED, _DRAINING = 1 << 26, 2.0  # a refused body is read and discarded for this many bytes and seconds
_CLIENTS = 4096  # whose rates are remembered
_EVERYWHERE = ("0.0.0.0", "::")  # on these addresses the service accepts any host name


class ServiceSettings(BaseModel):
    """Where the service listens, and what it accepts.

    Attributes:
        host: name or address to listen on; one that other machines can reach needs a token.
        port: 0 for any free port.
        token: required as ``Authorization: Bearer``.
        upload_mb: megabytes of an upload at most, all its pictures together.
        pixels: of a picture at most; its header is checked before it is decoded.
        pictures: in a search at most.
        queue: pictures in all searches waiting or being answered at most; further searches are refused.
        rate: requests per second and client, in the long run; None for no limit.
        burst: requests that a client may send at once.

    Raises:
        InputError: a host that others can reach without a token, or a token that no header can carry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    token: str | None = None
    upload_mb: PositiveInt = 16
    pixels: PositiveInt = MOST_PIXELS
    pictures: PositiveInt = 8
    queue: PositiveInt = 64
    rate: PositiveFloat | None = 50
    burst: PositiveInt = 200

    @model_validator(mode="after")
    def _together(self) -> "ServiceSettings":
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"{self.host}: other machines can reach this address; set a token (--token, or CCAFL_TOKEN)"
            )
        if self.token is not None and not (self.token and all("!" <= letter <= "~" for letter in self.token)):
            raise InputError("the token is empty, or has spaces or characters outside ASCII; give another")
        if self.queue < self.pictures:
            raise InputError(f"queue {self.queue}: a search with {self.pictures} pictures would not fit; raise queue")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def busy(detail: str, seconds: float = 1) -> HTTPException:
    """503: try again in ``seconds``."""
    return HTTPException(503, detail, {"Retry-After": str(max(1, ceil(seconds)))})


class RateLimiter:
    """A token bucket per client, filled at ``rate`` per second up to ``burst``; forgets clients not seen for long."""

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait(self, client: str, cost: float = 1) -> float:
        """Take ``cost`` tokens: 0, or the seconds until there are enough."""
        now = self._clock()
        tokens, then = self._left.pop(client, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        wait = max(0.0, (cost - tokens) / self._rate)
        self._left[client] = (tokens if wait else tokens - cost, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._left)


class MemoryBudget:
    """A number of bytes to share; when they are used up, a limited number of requests wait for a limited time."""

    def __init__(self, size: int, *, waiting: int = _WAITING, patience: float = _PATIENCE) -> None:
        self._size = self._free = size
        self._most_waiting, self._patience = waiting, patience
        self._waiting = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes; if that exceeds the budget, all of it.

        Raises:
            HTTPException: 503, not enough became free.
        """
        size = min(size, self._size)
        async with self._changed:
            if self._free < size:
                await self._wait(size)
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            async with self._changed:
                self._changed.notify_all()

    async def _wait(self, size: int) -> None:
        if self._waiting >= self._most_waiting:
            raise busy("too many requests are waiting; try again", self._patience)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._changed.wait_for(lambda: self._free >= size)
        except TimeoutError as error:
            raise busy("too much is being uploaded; try again", self._patience) from error
        finally:
            self._waiting -= 1


class GuardMiddleware:
    """Wraps the whole service: refuses unacceptable requests, counts all, and adds security headers to every answer.

    Args:
        app: the service.
        settings: what it accepts.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._rates = None if settings.rate is None else RateLimiter(settings.rate, settings.burst)
        self._memory = MemoryBudget(max(HELD, self._most_bytes("/api/search")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        exchange = _Exchange(receive, send, headers, self._most_bytes(scope["path"]))
        try:
            if refusal := self._refusal(scope, headers) or exchange.too_large():
                raise refusal
            if exchange.complete:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                async with self._memory.reserve(exchange.expected):
                    await self._app(scope, exchange.receive, exchange.send)
        except HTTPException as error:
            answer = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            await answer(scope, exchange.receive, exchange.send)
        except Exception:
            logging.getLogger(__name__).exception("%s %s", scope["method"], scope["path"])
            if exchange.status:
                raise
            answer = JSONResponse({"detail": "the service failed; see its log"}, 500)
            await answer(scope, exchange.receive, exchange.send)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(exchange.status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)

    def _most_bytes(self, path: str) -> int:
        return self._settings.upload_mb * 1_000_000 + OVERHEAD if path == "/api/search" else OTHER_BODY

    def _refusal(self, scope: Scope, headers: Headers) -> HTTPException | None:
        path = scope["path"]
        if not self._is_own_name(headers.get("host", "")):
            return HTTPException(
                421, "the service does not answer to this host name; use the address that it listens on"
            )
        if self._rates is not None and (cost := _cost(path)):
            wait = self._rates.wait(_network(scope.get("client")), cost)
            if wait:
                return HTTPException(429, "too many requests; slow down", {"Retry-After": str(ceil(wait))})
        if scope["method"] not in ("GET", "HEAD") and _is_cross_site(headers):
            return HTTPException(403, "the request comes from another site's page; open the service's own page")
        if self._settings.token is not None and (path == "/metrics" or path.startswith("/api")):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            correct = secrets.compare_digest(given.strip().encode("utf-8"), self._settings.token.encode())
            if scheme.lower() != "bearer" or not correct:
                return HTTPException(
                    401, "give the service's token as Authorization: Bearer", {"WWW-Authenticate": "Bearer"}
                )
        return None

    def _is_own_name(self, header: str) -> bool:
        """Whether the name is the service's own, not a foreign site's that resolves to this machine (DNS rebinding).

        Addresses need no check. A service that listens everywhere accepts any name and relies on its token.
        """
        try:
            host = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(host)
        except ValueError:
            own = self._settings.host
            return bool(host) and (host in ("localhost", own.lower()) or own in _EVERYWHERE)
        return True


class _Exchange:
    """A request and its answer: counts the body as it arrives, and adds headers to the answer."""

    def __init__(self, receive: Receive, send: Send, headers: Headers, most: int) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._received = 0
        self._deadline = asyncio.get_running_loop().time() + _RECEIVING
        length = headers.get("content-length", "")
        self.expected = int(length) if length.isascii() and length.isdecimal() else most
        self.complete = "content-length" not in headers and "transfer-encoding" not in headers
        self.status = 0

    def too_large(self) -> HTTPException | None:
        if self.expected <= self._most:
            return None
        return HTTPException(413, f"larger than the {self._most / 1e6:.3g} MB that the service accepts; send less")

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"did not arrive within {_RECEIVING:.0f} seconds; send less") from error
        self._received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self._received > self._most:
            self.expected = self._received
            raise self.too_large() or AssertionError
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if not self.complete:
                headers["Connection"] = "close"
        elif not self.complete and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drain(self) -> None:
        """Read a little more: a client cut off while sending would see a broken connection instead of the answer."""
        left, more = _DRAINED, True
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAINING):
                while more and left > 0:
                    message = await self._receive()
                    more = message.get("more_body", False)
                    left -= len(message.get("body", b""))


def _cost(path: str) -> float:
    """Tokens that a request costs; thumbnails are cheap, because a page of results loads many."""
    if path in ("/health", "/ready"):
        return 0
    return 0.1 if path == "/" or path.startswith("/page/") or path.endswith("/thumbnail") else 1


def _network(client: Any) -> str:
    """The client's address; for IPv6 its /64 network, since one client controls all of it."""
    address = str(client[0]) if client else ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _is_cross_site(headers: Headers) -> bool:
    """Whether a browser says that the request comes from another site's page."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()
