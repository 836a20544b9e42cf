"""Everybody at once: parallel uploads, slow clients, half-open connections and bombs, while somebody honest searches.

The short form runs with the other tests, the long one with ``make test-faults``, which prints what was tried.
"""

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from colour_people import FakeEncoder, draw, filled, memory, place_of, png, process
from hostile_pictures import bmp_of_runs, gif_with, png_chunk, png_with, repeated_scans, tiff_of_strips

HEAD = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'


def bombs() -> dict[str, bytes]:
    """Uploads that would take long or much memory; those that are read take as much as an upload may."""
    return {
        "repeated scans": repeated_scans((4_000, 4_000), 5_000),
        "a picture of the most pixels": png_with(size=(8_000, 8_000)),
        "too many pixels": png_with(size=(20_000, 10_000)),
        "many chunks": png_with(png_chunk(b"prVt", b"") * 500_000),
        "run lengths": bmp_of_runs((8_000, 8_000), b"\1a\0\0" * 8_000),
        "many strips": tiff_of_strips(500_000),
        "many blocks": gif_with(b"!\1\0\0" * 2_000_000),
        "nonsense": os.urandom(3_000_000),
    }


class Crowd:
    """Clients of one service, and what became of what they tried; each kind has an address of its own."""

    def __init__(self, address: str) -> None:
        self.address, self.came_of = address, Counter()
        self._lock = threading.Lock()

    def note(self, tried: str, became: object) -> None:
        with self._lock:
            self.came_of[tried, str(became)] += 1

    def uploads(self, count: int) -> None:
        """Honest pictures of half a megabyte, all at once."""
        content = png(draw(1, size=(250, 500)).effect_spread(20))

        async def one(client: httpx.AsyncClient) -> None:
            try:
                answer = await client.post(f"{self.address}/api/search", files={"picture": ("a.png", content)})
                self.note("parallel uploads", answer.status_code)
            except httpx.HTTPError as error:
                self.note("parallel uploads", type(error).__name__)

        async def all_of_them() -> None:
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2", limits=httpx.Limits(max_connections=None))
            async with httpx.AsyncClient(transport=transport, timeout=300) as client:
                await asyncio.gather(*(one(client) for _ in range(count)))

        asyncio.run(all_of_them())

    def bomb(self, name: str, content: bytes) -> None:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.3"), timeout=300) as client:
                answer = client.post(f"{self.address}/api/search", files={"picture": ("a.jpg", content)})
            self.note(f"bomb: {name}", answer.status_code)
        except httpx.HTTPError as error:
            self.note(f"bomb: {name}", type(error).__name__)

    def connection(self, tried: str, sent: bytes) -> None:
        """Send this and no more, and wait for the end."""
        try:
            with socket.create_connection(place_of(self.address), 300, ("127.0.0.4", 0)) as connection:
                connection.sendall(sent)
                answer = connection.recv(100)
            self.note(tried, int(answer.split()[1]) if answer else "ended")
        except (ConnectionError, TimeoutError) as error:
            self.note(tried, type(error).__name__)

    def search(self) -> float:
        """An honest search, tried again where the service says so; the seconds until it was answered."""
        start = time.monotonic()
        while True:
            try:
                with httpx.Client(timeout=60) as client:
                    answer = client.post(
                        f"{self.address}/api/search", files={"picture": png(draw(0))}, data={"limit": 1}
                    )
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                assert answer.json()["hits"][0]["label"][1:] == "0"
                return time.monotonic() - start
            assert answer.status_code == 503
            time.sleep(0.2)


def besiege(
    folder: Path, *, uploads: int, clients: int, rounds: int, to_the_end: bool
) -> tuple[Counter, list[float], int, str]:
    """What came of everything, how long honest searches took, the service's peak memory, and its log.

    ``to_the_end``: until the service has ended all slow clients.
    """
    with process(folder, rate=None) as (service, address), ThreadPoolExecutor(4 * clients + 20) as pool:
        crowd = Crowd(address)
        made = bombs()
        idle = f"{HEAD}Content-Length: 16000000\r\n\r\n".encode() + PART
        slow = [
            pool.submit(crowd.connection, tried, sent)
            for tried, sent in (("half-open connections", HEAD.encode()), ("idle uploads", idle), ("silent ones", b""))
            for _ in range(clients)
        ]
        busy = [pool.submit(crowd.uploads, uploads)]
        busy += [pool.submit(crowd.bomb, name, content) for name, content in made.items() for _ in range(rounds)]
        seconds = [crowd.search() for _ in range(5)]
        while not all(one.done() for one in (*busy, *(slow if to_the_end else ()))):
            seconds.append(crowd.search())
        for one in busy:
            one.result()
        peak = memory(service)
        service.kill()
        return crowd.came_of, seconds, peak, service.stderr.read()


def report(came_of: Counter, seconds: list[float], peak: int) -> str:
    lines = [f"{count:6} {tried}: {became}" for (tried, became), count in sorted(came_of.items())]
    lines.append(f"{len(seconds):6} honest searches meanwhile, all answered; the slowest in {max(seconds):.1f} s")
    lines.append(f"{sum(came_of.values()):6} tried; the service survived, with {peak / 1e9:.2f} GB at most")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, people):
    folder = tmp_path_factory.mktemp("faults") / "gallery.db"
    filled(folder, FakeEncoder(), people).close()
    return folder


def check(came_of: Counter, peak: int, log: str) -> None:
    assert peak < 4 << 30
    assert log.count("\n") < 50
    assert came_of["parallel uploads", "200"] > 0
    statuses = {became for (tried, became) in came_of if tried.startswith(("parallel", "bomb"))}
    assert statuses <= {"200", "413", "415", "503"}
    for tried in ("repeated scans", "too many pixels", "many chunks", "run lengths", "many strips", "many blocks"):
        assert (f"bomb: {tried}", "200") not in came_of


def test_an_honest_search_is_answered_in_a_small_siege(folder):
    came_of, _, peak, log = besiege(folder, uploads=50, clients=20, rounds=1, to_the_end=False)
    check(came_of, peak, log)


@pytest.mark.faults
def test_an_honest_search_is_answered_in_a_siege(folder):
    came_of, seconds, peak, log = besiege(folder, uploads=1_000, clients=200, rounds=10, to_the_end=True)
    print(f"\n{report(came_of, seconds, peak)}")  # noqa: T201
    check(came_of, peak, log)
    assert {became for (tried, became) in came_of if tried == "idle uploads"} <= {"408", "503"}
