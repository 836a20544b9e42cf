"""Runs the service until it is stopped."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from ccafl.encoders.encoder import PictureEncoder
from ccafl.errors import InputError
from ccafl.gallery.gallery import Gallery
from ccafl.service.app import create_app
from ccafl.service.connections import Connections, Listener, Server, most_connections, protocol_of
from ccafl.service.limits import ServiceSettings, is_loopback
from ccafl.service.logs import logging_to_stderr
from ccafl.service.metrics import Metrics
from ccafl.terminal import note
from ccafl.words import counted

_GRACE = 10  # seconds for requests in progress to finish when the service is stopped


def serve(gallery: Gallery, encoder: PictureEncoder, settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in progress and close the gallery.

    Raises:
        InputError: the encoder is not of the gallery's model, the address cannot be listened on, or the gallery or the
            model cannot be loaded.
    """
    failures: list[Exception] = []
    metrics = Metrics()

    def make(stop: Callable[[], None]) -> FastAPI:
        def fail(error: Exception) -> None:
            failures.append(error)
            stop()

        return create_app(gallery, encoder, settings, metrics=metrics, failed=fail)

    def announce(address: str) -> None:
        note(f"{counted(len(gallery), 'picture')}: search them at {address} (Ctrl-C to stop)")
        if settings.token is None:
            note("no token is set, so every user and program on this machine can search")
        if settings.certificate is None and not is_loopback(settings.host):
            note(
                "warning: the token and all pictures cross the network unencrypted, for all there to read; give "
                "--certfile and --keyfile, or listen on 127.0.0.1 behind a proxy with TLS (docs/search.md)"
            )

    with gallery:
        run_app(make, settings, metrics, announce)
    if failures:
        raise failures[0]


def run_app(
    make: Callable[[Callable[[], None]], FastAPI],
    settings: ServiceSettings,
    metrics: Metrics,
    announce: Callable[[str], None],
) -> None:
    """Serve an application until SIGINT or SIGTERM, then finish the requests in progress.

    Args:
        make: makes it, given what stops the server.
        settings: where it listens.
        metrics: where connections are counted.
        announce: called with the address once it listens.

    Raises:
        InputError: the address cannot be listened on.
    """
    most = most_connections()
    connections = Connections(most, most // 2, metrics.ended)
    metrics.connections.set_function(lambda: len(connections))

    def stop() -> None:
        server.should_exit = True

    with logging_to_stderr():
        config = uvicorn.Config(
            make(stop),
            loop="asyncio",  # `Listener` and `Connections` rely on it and on h11
            http=protocol_of(connections),
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody could claim another address and evade the limits
            timeout_graceful_shutdown=_GRACE,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
        server = Server(config, connections)
        with _listening(settings.host, settings.port) as listener, _signals_ignored_afterwards():
            listener.admit_by(connections, answers_in_clear=settings.certificate is None)
            address, port = listener.getsockname()[:2]
            place = f"[{address}]" if ":" in address else address
            scheme = "http" if settings.certificate is None else "https"
            announce(f"{scheme}://{place}:{port}")
            server.run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int) -> Iterator[Listener]:
    """A socket bound there.

    Raises:
        InputError: no such host, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = Listener(family, kind, protocol)
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
