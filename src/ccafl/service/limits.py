"""What the service accepts: host names, rates, tokens and sizes are checked before a route sees the request."""

import asyncio
import ipaddress
import logging
import secrets
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccafl.data.images import MOST_PIXELS
from ccafl.errors import InputError
from ccafl.service.footage import Passes
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
_UPLOADS = ("/api/search", "/api/pictures")
OTHER_BODY = 1 << 18  # bytes of any other request
HELD = 1 << 27  # bytes in all requests being received or answered; half of them from one client
_GRACE, _SLOWEST = 30.0, 10_000  # a body may take this many seconds, and one more for this many bytes received
_STALLED = 30.0  # seconds without a byte of a body
_DRAINED, _DRAINING = 1 << 26, 2.0  # a refused body is read and discarded for this many bytes and seconds
_CLIENTS = 4096  # whose rates are remembered
_EVERYWHERE = ("0.0.0.0", "::")  # on these addresses the service accepts any host name


class ServiceSettings(BaseModel):
    """Where the service listens, and what it accepts.

    Attributes:
        host: name or address to listen on; one that other machines can reach needs a token.
        port: 0 for any free port.
        token: required as ``Authorization: Bearer``.
        certificate: PEM file for TLS, with the chain; None for HTTP in the clear.
        key: its private key, if that is in a file of its own.
        upload_mb: megabytes of an upload at most, all its pictures together.
        pixels: of a picture at most; its header is checked before it is decoded.
        pictures: in a search at most.
        queue: pictures in all searches waiting or being answered at most; further searches are refused.
        rate: requests per second and client, in the long run; None for no limit.
        burst: requests that a client may send at once.

    Raises:
        InputError: a host that others can reach without a token, a token that no header can carry, a key without a
            certificate, or a certificate that cannot be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
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
                f"{self.host}: other machines can reach this address; set a token (--token-file, or CCAFL_TOKEN)"
            )
        if self.token is not None and not (self.token and all("!" <= letter <= "~" for letter in self.token)):
            raise InputError("the token is empty, or has spaces or characters outside ASCII; give another")
        if self.key is not None and self.certificate is None:
            raise InputError(f"{self.key}: is a key without a certificate; give --certfile too")
        if self.certificate is not None:
            _check_certificate(self.certificate, self.key)
        if self.queue < self.pictures:
            raise InputError(f"queue {self.queue}: a search with {self.pictures} pictures would not fit; raise queue")
        return self


def _check_certificate(certificate: Path, key: Path | None) -> None:
    def no_password() -> str:
        raise InputError(f"{key or certificate}: the key has a password; write it without one (openssl pkey)")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:  # an OSError too
        reason = error.reason or "not PEM"
        raise InputError(f"{certificate}: no certificate with its private key in PEM ({reason}); give both") from error
    except OSError as error:
        raise InputError(f"{key or certificate}: cannot be read ({error.strerror}); give readable PEM files") from error


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


@dataclass(slots=True, eq=False)
class Upload:
    """A request's body in memory.

    Attributes:
        client: who sends it.
        held: bytes received so far.
        complete: all of it has arrived.
        given_up: it had to make room for others.
        give_up: called when it has to.
    """

    client: str
    held: int = 0
    complete: bool = False
    given_up: bool = False
    give_up: Callable[[], None] = lambda: None


class UploadMemory:
    """The bytes of all uploads, counted as they arrive.

    Where they become too many, the newest unfinished upload of the client with the most bytes gives up; so does a
    client's own newest where the client has more than its share. One that sends nothing takes nothing from others.

    Args:
        size: bytes of all uploads together.
        share: of one client.

    Attributes:
        held: bytes of all uploads now.
    """

    def __init__(self, size: int, share: int) -> None:
        self._size, self._share = size, share
        self.held = 0
        self._of: Counter[str] = Counter()
        self._uploads: dict[str, dict[Upload, None]] = {}  # by client; the oldest first

    @contextmanager
    def upload(self, client: str) -> Iterator[Upload]:
        """A new upload; its bytes are free again at the end."""
        upload = Upload(client)
        self._uploads.setdefault(client, {})[upload] = None
        try:
            yield upload
        finally:
            self._free(upload)
            del self._uploads[client][upload]
            if not self._uploads[client]:
                del self._uploads[client], self._of[client]

    def add(self, upload: Upload, size: int) -> None:
        """Count bytes that have arrived for an upload that has not given up; it, or others, may give up then."""
        upload.held += size
        self._of[upload.client] += size
        self.held += size
        while not upload.given_up and (self._of[upload.client] > self._share or self.held > self._size):
            client = upload.client if self._of[upload.client] > self._share else max(self._of, key=self._of.__getitem__)
            unfinished = (other for other in reversed(self._uploads[client]) if other.held and not other.complete)
            self._give_up(next(unfinished, upload))

    def _give_up(self, upload: Upload) -> None:
        self._free(upload)
        upload.given_up = True
        upload.give_up()

    def _free(self, upload: Upload) -> None:
        self._of[upload.client] -= upload.held
        self.held -= upload.held
        upload.held = 0


class GuardMiddleware:
    """Wraps the whole service: refuses unacceptable requests, counts all, and adds security headers to every answer.

    Args:
        app: the service.
        settings: what it accepts.
        metrics: where requests are counted.
        passes: that open a video in place of the token.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics, passes: Passes) -> None:
        self._app, self._settings, self._metrics, self._passes = app, settings, metrics, passes
        self._rates = None if settings.rate is None else RateLimiter(settings.rate, settings.burst)
        held = max(HELD, 2 * self._most_bytes("/api/search"))
        self._memory = UploadMemory(held, held // 2)
        metrics.uploads.set_function(lambda: self._memory.held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        exchange = _Exchange(receive, send, headers, self._most_bytes(scope["path"]), self._memory)
        try:
            if refusal := self._refusal(scope, headers) or exchange.too_large():
                raise refusal
            with self._memory.upload(network_of(scope.get("client"))) as exchange.upload:
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
        return self._settings.upload_mb * 1_000_000 + OVERHEAD if path in _UPLOADS else OTHER_BODY

    def _refusal(self, scope: Scope, headers: Headers) -> HTTPException | None:
        path = scope["path"]
        if not self._is_own_name(headers.get("host", "")):
            return HTTPException(
                421, "the service does not answer to this host name; use the address that it listens on"
            )
        if self._rates is not None and (cost := _cost(path)):
            wait = self._rates.wait(network_of(scope.get("client")), cost)
            if wait:
                return HTTPException(429, "too many requests; slow down", {"Retry-After": str(ceil(wait))})
        if scope["method"] not in ("GET", "HEAD") and _is_cross_site(headers):
            return HTTPException(403, "the request comes from another site's page; open the service's own page")
        if self._settings.token is not None and (path == "/metrics" or path.startswith("/api")):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            correct = secrets.compare_digest(given.strip().encode("utf-8"), self._settings.token.encode())
            passed = self._passes.opens(QueryParams(scope["query_string"]).get("pass", ""), path)
            if (scheme.lower() != "bearer" or not correct) and not passed:
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

    def __init__(self, receive: Receive, send: Send, headers: Headers, most: int, memory: UploadMemory) -> None:
        self._receive, self._send, self._most, self._memory = receive, send, most, memory
        self.upload = Upload("")
        self._received = 0
        self._deadline = asyncio.get_running_loop().time() + _GRACE
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
        self._check_room()
        try:
            stalled = asyncio.get_running_loop().time() + _STALLED
            async with asyncio.timeout_at(min(stalled, self._deadline + self._received / _SLOWEST)) as limit:
                self.upload.give_up = lambda: limit.reschedule(0)
                message = await self._receive()
        except TimeoutError as error:
            self._check_room()
            detail = f"arrives too slowly, below {_SLOWEST // 1000} kB per second; send less or try again"
            raise HTTPException(408, detail) from error
        finally:
            self.upload.give_up = lambda: None
        self._check_room()
        size = len(message.get("body", b""))
        self._received += size
        if self._received > self._most:
            self.expected = self._received
            raise self.too_large() or AssertionError
        self._memory.add(self.upload, size)
        self._check_room()
        self.complete = self.upload.complete = not message.get("more_body", False)
        return message

    def _check_room(self) -> None:
        if self.upload.given_up:
            raise busy("too much is being uploaded; try again", 5)

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


def network_of(client: Any) -> str:
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
