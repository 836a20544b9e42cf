"""Runs the service until it is stopped."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ccafl.encoders.encoder import PictureEncoder
from ccafl.errors import InputError
from ccafl.gallery.gallery import Gallery
from ccafl.service.app import create_app
from ccafl.service.limits import ServiceSettings
from ccafl.terminal import note

_GRACE = 10  # seconds for requests in progress to finish when the service is stopped


def serve(gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in progress and close the gallery.

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
            create_app(gallery, encoder, settings, failed=fail),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody could claim another address and evade the limits
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)
        with _listening(settings.host, settings.port) as listener, _signals_ignored_afterwards():
            address, port = listener.getsockname()[:2]
            place = f"[{address}]" if ":" in address else address
            note(f"{gallery.model_name}: search it at http://{place}:{port} (Ctrl-C to stop)")
            if settings.token is None:
                note("no token is set, so every user and program on this machine can search")
            server.run(sockets=[listener])
    if failures:
        raise failures[0]


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
        raise InputError(f"{host}: is not an address of this machine ({error.strerror}); choose another") from error
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
    """uvicorn raises the signal that stopped it once more; ignoring it lets the caller close the gallery."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
