"""Connections that ask for nothing, by the thousand: the service goes on answering, and its log stays short."""

import errno
import logging
import os
import re
import resource
import socket
import ssl
import subprocess
from contextlib import ExitStack

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from ccafl.errors import InputError
from ccafl.service.connections import Connections, Listener, most_connections
from ccafl.service.limits import ServiceSettings
from ccafl.service.logs import LineFormatter, SeldomFilter
from colour_people import FakeEncoder, draw, filled, place_of, png, process

FILES = 1_024  # that the service may open
HALF = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, people):
    folder = tmp_path_factory.mktemp("connections") / "gallery.db"
    filled(folder, FakeEncoder(), people).close()
    return folder


class FakeSocket:
    def __init__(self, number: int, address: str) -> None:
        self.file, self.address, self.since, self.ended = number, address, 0.0, False

    def fileno(self) -> int:
        return self.file

    def shutdown(self, how: int) -> None:
        self.ended = True


def ended_counter() -> Counter:
    return Counter("ended", "", ["reason"], registry=CollectorRegistry())


def test_who_waits_longest_makes_room_first_at_its_own_address():
    connections = Connections(5, 3, ended_counter(), clock=lambda: 0)
    greedy = [FakeSocket(number, "a") for number in range(4)]
    assert all(connections.admit(connection) for connection in greedy[:3])
    connections.is_answered(0)
    assert connections.admit(greedy[3])  # the fourth of three
    assert [connection.ended for connection in greedy] == [False, True, False, False]
    others = [FakeSocket(10 + number, f"b{number}") for number in range(3)]
    assert all(connections.admit(connection) for connection in others)  # the sixth of five
    assert [connection.ended for connection in greedy] == [False, True, True, False]
    assert not any(connection.ended for connection in others)
    assert len(connections) == 5


def test_a_connection_with_a_request_is_not_ended_for_others():
    connections = Connections(2, 2, ended_counter(), clock=lambda: 0)
    for number in (0, 1):
        assert connections.admit(FakeSocket(number, "a"))
        connections.is_answered(number)
    assert not connections.admit(FakeSocket(2, "a"))
    assert not connections.admit(FakeSocket(3, "b"))
    connections.asks(0)
    assert connections.admit(FakeSocket(3, "b"))


def test_who_does_not_ask_or_does_not_read_is_ended_in_time():
    now = [0.0]
    connections = Connections(9, 9, ended_counter(), clock=lambda: now[0])
    asking, answered = FakeSocket(0, "a"), FakeSocket(1, "a")
    assert connections.admit(asking)
    assert connections.admit(answered)
    connections.is_answered(1)
    for time, ended in ((29, (False, False)), (31, (True, False)), (599, (True, False)), (601, (True, True))):
        now[0] = time
        connections.end_overdue()
        assert (asking.ended, answered.ended) == ended
    assert len(connections) == 0


def half_open(address: str, stack: ExitStack, count: int) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(place_of(address), 60))
        connection.sendall(HALF)
        connections.append(connection)
    return connections


def test_half_open_connections_beyond_the_open_files_hinder_nobody(folder):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))"
    with process(folder, before=limit) as (service, address), ExitStack() as stack:
        half_open(address, stack, 1_100)
        assert httpx.get(f"{address}/health", timeout=20).json() == {"status": "alive"}
        files = {"picture": png(draw(0))}
        assert httpx.post(f"{address}/api/search", files=files, data={"limit": 1}, timeout=20).status_code == 200
        metrics = httpx.get(f"{address}/metrics").text
        assert float(re.search(r"\nccafl_connections (\S+)", metrics)[1]) <= (FILES - 256) // 2
        assert float(re.search(r'\nccafl_connections_ended_total{reason="address"} (\S+)', metrics)[1]) > 700
        service.kill()
        assert service.stderr.read().count("\n") < 10


def test_a_service_that_can_open_no_more_files_makes_room(folder):
    """More connections are allowed than files: those that wait longest are ended."""
    limit = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120)); "
        "import ccafl.service.server as server; server.most_connections = lambda: 10_000"
    )
    with process(folder, before=limit) as (service, address), ExitStack() as stack:
        half_open(address, stack, 300)
        for _ in range(20):
            assert httpx.get(f"{address}/health", timeout=20).json() == {"status": "alive"}
        metrics = httpx.get(f"{address}/metrics", timeout=20).text
        assert float(re.search(r'\nccafl_connections_ended_total{reason="files"} (\S+)', metrics)[1]) > 50
        service.kill()
        assert service.stderr.read().count("\n") < 10


def test_a_refusal_for_want_of_files_closes_no_file_of_others(monkeypatch):
    """Where another thread takes the file that was closed for it, there is no spare one until a file is free again."""
    with Listener() as listener:
        listener.admit_by(Connections(9, 9, ended_counter()), answers_in_clear=True)
        opened = os.open

        def taken(*_):
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "open", taken)
        listener._refuse_without_files()
        monkeypatch.setattr(os, "open", opened)
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        listener._refuse_without_files()
        for file in others:
            os.fstat(file)
            os.close(file)


def read_to_end(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""


def test_headers_that_come_byte_by_byte_are_not_waited_for(folder):
    impatient = "from ccafl.service import connections; connections._ASKING = 1.0"
    with process(folder, before=impatient) as (_, address), ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(place_of(address), 60))
        connection.settimeout(0.1)
        ended = False
        while not ended:
            try:
                connection.sendall(b"a")
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert httpx.get(f"{address}/health").status_code == 200


def test_nonsense_is_logged_once(folder):
    with process(folder) as (service, address):
        for _ in range(500):
            with socket.create_connection(place_of(address), 60) as connection:
                connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 400")
        service.kill()
        log = service.stderr.read()
        assert log.count("Invalid HTTP request") == 1


def test_a_log_says_how_much_it_left_out():
    now = [0.0]
    seldom = SeldomFilter(clock=lambda: now[0])
    said = []
    for time in (0, 1, 2, 61, 130):
        now[0] = time
        record = logging.LogRecord("a", logging.ERROR, "file.py", 7, "failed: %s", (time,), None)
        if seldom.filter(record):
            said.append(record.getMessage())
    assert said == ["failed: 0", "failed: 61 (2 more like it since the last one)", "failed: 130"]


def test_a_client_cannot_write_lines_or_commands_into_the_log():
    record = logging.LogRecord("a", 30, "f", 1, "%s", ("x\nERROR forged\x1b[2J\u202e",), None)
    assert LineFormatter("%(message)s").format(record) == r"x\nERROR forged\x1b[2J\u202e"


def test_there_is_room_for_other_files_besides_connections(monkeypatch):
    for files, most in ((100, 25), (1_024, 768), (1 << 20, 2_048), (resource.RLIM_INFINITY, 2_048)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert most_connections() == most


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -addext subjectAltName=IP:127.0.0.1"
    key = ["-keyout", str(file.with_name("key.pem")), "-out", "-"]
    made = subprocess.run(["openssl", *request.split(), *key], capture_output=True, check=True)
    file.write_bytes(made.stdout + file.with_name("key.pem").read_bytes())
    return file


def test_it_speaks_https_with_a_certificate(folder, certificate):
    trusting = ssl.create_default_context(cafile=str(certificate))
    impatient = "from ccafl.service import connections; connections._ASKING = 1.0"
    with (
        process(folder, before=impatient, verify=trusting, certificate=str(certificate)) as (_, address),
        ExitStack() as stack,
    ):
        assert address.startswith("https://")
        silent = [stack.enter_context(socket.create_connection(place_of(address), 60)) for _ in range(20)]
        assert httpx.get(f"{address}/health", verify=trusting).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(address.replace("https", "http") + "/health")
        assert {read_to_end(connection) for connection in silent} == {b""}  # no handshake


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path, certificate):
    (tmp_path / "text.pem").write_text("no certificate")
    for settings, reason in (
        ({"certificate": tmp_path / "none.pem"}, "none.pem: cannot be read"),
        ({"certificate": tmp_path / "text.pem"}, "text.pem: no certificate with its private key"),
        ({"key": certificate}, "is a key without a certificate"),
    ):
        with pytest.raises(InputError, match=reason):
            ServiceSettings(**settings)
