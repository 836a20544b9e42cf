"""Who may be connected: connections are counted by address, and those that ask for nothing are ended.

An open connection costs a file, and files run out. `Listener` accepts connections for uvicorn and hands each to
`Connections`; `protocol_of` tells it which of them have a request; `Server` looks for overdue ones.
"""

import asyncio
import errno
import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress

import prometheus_client
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ccafl.service.limits import network_of

MOST = 2_048  # connections
_OTHER_FILES = 256  # besides connections: the gallery's, uploads above a megabyte, connections being closed
_ASKING = 30.0  # seconds for a request's headers to arrive, and for a TLS handshake before them
_ANSWERING = 600.0  # seconds from a request's headers to the end of its answer; uploads have their own limits
_ENDING = 64  # connections that are being closed at the same time, until no more are accepted for the moment
_NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def most_connections() -> int:
    """As many as the process may open files for."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if files == resource.RLIM_INFINITY else min(MOST, max(files // 4, files - _OTHER_FILES))


class Connections:
    """The open connections.

    When there is no room for a new one, the one that has waited longest for a request makes room: of the same address,
    if that has its share already, else of the address with the most. Connections with a request are never ended for
    others; where only such are left, the new one is refused.

    Args:
        most: at the same time.
        share: of one address, or one IPv6 network.
        ended: counts by reason: those refused or ended.
    """

    def __init__(
        self, most: int, share: int, ended: prometheus_client.Counter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._share, self._ended, self._clock = most, share, ended, clock
        self._open: dict[int, Connection] = {}  # by number of the file
        self._asking: dict[str, OrderedDict[Connection, None]] = {}  # by address; the longest waiting first
        self._answered: OrderedDict[Connection, None] = OrderedDict()
        self._of: Counter[str] = Counter()
        self._ending: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def pausing(self) -> bool:
        """Whether so many are being closed that new ones must wait until they are."""
        return len(self._ending) >= _ENDING

    def admit(self, connection: "Connection") -> bool:
        """Count the connection; False if there is no room for it."""
        address = connection.address
        if self._of[address] >= self._share and not self._make_room(address, "address"):
            return False
        if len(self._open) >= self._most:
            busiest = max((a for a in self._asking if self._asking[a]), key=self._of.__getitem__, default=None)
            if busiest is None or not self._make_room(busiest, "all"):
                self._ended.labels("all").inc()
                return False
        self._open[connection.fileno()] = connection
        self._of[address] += 1
        self.asks(connection.fileno())
        return True

    def _make_room(self, address: str, reason: str) -> bool:
        waiting = self._asking.get(address)
        if not waiting:
            self._ended.labels(reason).inc()
            return False
        self._end(next(iter(waiting)), reason)
        return True

    def asks(self, file: int) -> None:
        """From now on, the connection is waited for."""
        if (connection := self._open.get(file)) is not None:
            connection.since = self._clock()
            self._answered.pop(connection, None)
            waiting = self._asking.setdefault(connection.address, OrderedDict())
            waiting[connection] = None
            waiting.move_to_end(connection)

    def is_answered(self, file: int) -> None:
        """The connection has a request."""
        if (connection := self._open.get(file)) is not None and connection not in self._answered:
            connection.since = self._clock()
            self._asking[connection.address].pop(connection, None)
            self._answered[connection] = None

    def end_overdue(self) -> None:
        """End the connections that have waited too long, for a request or for its end."""
        now = self._clock()
        for waiting, patience in (*((w, _ASKING) for w in self._asking.values()), (self._answered, _ANSWERING)):
            while waiting and now - (first := next(iter(waiting))).since > patience:
                self._end(first, "late")

    def _end(self, connection: "Connection", reason: str) -> None:
        self._ended.labels(reason).inc()
        self._forget(connection)
        self._ending.add(connection)
        with suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RDWR)  # whoever reads or writes there sees the end, and closes it

    def closed(self, connection: "Connection") -> None:
        """The connection's file is no longer open."""
        self._ending.discard(connection)
        self._forget(connection)

    def _forget(self, connection: "Connection") -> None:
        if self._open.pop(connection.file, None) is not connection:
            return
        address = connection.address
        self._answered.pop(connection, None)
        self._asking[address].pop(connection, None)
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address], self._asking[address]

    def end_for_files(self) -> bool:
        """No file can be opened: end the connection that has waited longest for a request; False if none has."""
        busiest = max((a for a in self._asking if self._asking[a]), key=self._of.__getitem__, default=None)
        if busiest is None:
            self._ended.labels("files").inc()
            return False
        return self._make_room(busiest, "files")


class Connection(socket.socket):
    """An accepted connection, which says when it is closed."""

    def __init__(self, accepted: socket.socket, address: str, connections: Connections) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self.address, self.since, self.file, self._connections = address, 0.0, self.fileno(), connections

    def close(self) -> None:
        """Close it and say so."""
        super().close()
        self._connections.closed(self)


class Listener(socket.socket):
    """A listening socket, from which asyncio accepts only the connections that `Connections` admits."""

    connections: Connections
    answers_in_clear = True
    _spare = -1

    def admit_by(self, connections: Connections, *, answers_in_clear: bool) -> None:
        """Start to count; a refused client is told so if the service speaks HTTP without TLS."""
        self.connections, self.answers_in_clear = connections, answers_in_clear
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, object]:
        """The next admitted connection.

        Raises:
            BlockingIOError: there is none for the moment.
        """
        if self.connections.pausing:
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno in _NO_FILES:
                if not self.connections.end_for_files():  # else the new one waits until that one's file is free
                    self._refuse_without_files()
                raise BlockingIOError from error
            raise
        accepted.setblocking(False)
        connection = Connection(accepted, network_of(address), self.connections)
        if self.connections.admit(connection):
            return connection, address
        if self.answers_in_clear:
            with suppress(OSError):
                connection.send(_REFUSAL)
        connection.close()
        raise BlockingIOError

    def _refuse_without_files(self) -> None:
        """Accept and close one with the file kept for this; left alone, it would keep the event loop busy."""
        self._close_spare()
        with suppress(OSError):
            super().accept()[0].close()
        with suppress(OSError):  # another thread was faster; it comes back with the next refusal
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        super().close()
        self._close_spare()

    def _close_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1


def protocol_of(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which tells ``connections`` when a request has come and when it was answered."""

    class CountedProtocol(H11Protocol):
        _file = -1

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._file = transport.get_extra_info("socket").fileno()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._count()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            connections.asks(self._file)
            self._count()

        def _count(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                connections.is_answered(self._file)

    return CountedProtocol


class Server(uvicorn.Server):
    """uvicorn's server, which ends overdue connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            self._connections.end_overdue()
        return await super().on_tick(counter)
