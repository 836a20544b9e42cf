"""What the service accepts: from whom, how often, how much. It refuses the rest, stays small, and keeps serving."""

import asyncio
import io
import re
import socket
import threading
import time
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack

import httpx
import pytest
from starlette.testclient import TestClient

from ccafl.data.images import read_image
from ccafl.errors import InputError
from ccafl.service import batching, forms, limits
from ccafl.service.app import create_app
from ccafl.service.limits import SECURITY_HEADERS, RateLimiter, ServiceSettings, UploadMemory
from colour_people import FakeEncoder, draw, filled, key_of, memory, png, process, running, until
from hostile_pictures import png_chunk, png_with, repeated_scans

OWN = "http://127.0.0.1"
TOKEN = "a-token-of-the-tests"
MEGABYTE = 1 << 20
FORM = "Content-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, people):
    with filled(tmp_path_factory.mktemp("limits") / "gallery.db", FakeEncoder(), people) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def service(tmp_path_factory, people):
    """A service in its own process with the default limits, except the rate."""
    folder = tmp_path_factory.mktemp("process") / "gallery.db"
    filled(folder, FakeEncoder(), people).close()
    with process(folder, rate=None) as (service, address):
        yield service, address


def ready(client: TestClient) -> TestClient:
    while client.get("/ready").status_code != 200:
        time.sleep(0.01)
    return client


def client_of(gallery, **settings) -> TestClient:
    return TestClient(create_app(gallery, FakeEncoder(), ServiceSettings(**settings)), base_url=OWN)


def upload(address: str, content: bytes, **fields) -> httpx.Response:
    files = {"picture": ("a.jpg", content, "image/jpeg")}
    return httpx.post(f"{address}/api/search", files=files, data=fields, timeout=60)


def raw(address: str, head: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), 60)
    connection.sendall(f"{head}\r\n".encode())
    return connection


def still_serves(address: str) -> bool:
    return upload(address, png(draw(0)), limit=1).json()["hits"][0]["label"][1:] == "0"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "cameras.example"])
def test_other_machines_need_a_token(host):
    with pytest.raises(InputError, match=f"^{host}: other machines can reach this address; set a token"):
        ServiceSettings(host=host)
    assert ServiceSettings(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_needs_none(host):
    assert ServiceSettings(host=host).token is None


@pytest.mark.parametrize("token", ["", "two words", "schlüssel", "line\n"])
def test_a_token_that_no_header_carries_is_refused(token):
    with pytest.raises(InputError, match="the token is empty, or has spaces"):
        ServiceSettings(token=token)


def test_a_queue_too_short_for_a_search_is_refused():
    with pytest.raises(InputError, match="queue 4: a search with 8 pictures would not fit"):
        ServiceSettings(queue=4)


def test_a_client_may_send_a_burst_and_then_a_rate():
    now = [0.0]
    rates = RateLimiter(2, 3, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.wait("b") == 0
    now[0] = 0.25
    assert rates.wait("a") == 0.25
    now[0] = 0.5
    assert [rates.wait("a"), rates.wait("a", 0.5)] == [0, 0.25]
    now[0] = 100
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_limited_number_of_clients_is_remembered(monkeypatch):
    monkeypatch.setattr(limits, "_CLIENTS", 10)
    rates = RateLimiter(1, 1, clock=lambda: 0)
    for number in range(50):
        rates.wait(str(number))
        rates.wait("often")
    assert len(rates) == 10
    assert rates.wait("often") > 0


def test_the_newest_upload_of_the_greediest_client_gives_up():
    memory = UploadMemory(100, 60)
    with ExitStack() as stack:
        first, second, third, idle = (stack.enter_context(memory.upload("greedy")) for _ in range(4))
        other = stack.enter_context(memory.upload("other"))
        for upload in (first, second, third):
            memory.add(upload, 20)
        memory.add(other, 40)
        assert not any(upload.given_up for upload in (first, second, third, idle, other))
        memory.add(other, 10)  # the other has less, so it goes on
        assert [upload.given_up for upload in (first, second, third, idle, other)] == [False, False, True, False, False]
        memory.add(first, 10)
        memory.add(first, 20)  # more than a client's share
        assert [upload.given_up for upload in (first, second, idle, other)] == [False, True, False, False]
        first.complete = True
        memory.add(idle, 30)  # what is complete stays
        assert idle.given_up
    with memory.upload("greedy") as older, memory.upload("greedy") as newest:
        memory.add(newest, 40)
        newest.complete = True
        memory.add(older, 40)
        assert [older.given_up, newest.given_up] == [True, False]
    with memory.upload("greedy") as upload:
        memory.add(upload, 60)
        assert not upload.given_up


def test_too_many_requests_are_slowed(gallery, people):
    with client_of(gallery, rate=0.001, burst=10) as client:
        ready(client)
        thumbnail = f"/api/pictures/{key_of(people[0].path)}/thumbnail"
        assert {client.get(thumbnail).status_code for _ in range(50)} == {200}
        statuses = [client.get("/api/gallery").status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        refused = client.get("/api/gallery")
        assert int(refused.headers["retry-after"]) > 100
        assert client.get("/health").status_code == 200


def test_a_client_cannot_call_itself_another(tmp_path, people):
    folder = tmp_path / "gallery.db"
    filled(folder, FakeEncoder(), people).close()
    with process(folder, rate=0.001, burst=3) as (_, address):
        names = ({"X-Forwarded-For": f"10.0.0.{number}"} for number in range(5))
        statuses = [httpx.get(f"{address}/api/gallery", headers=name).status_code for name in names]
    assert statuses == [200] * 3 + [429] * 2


def test_an_ipv6_client_is_its_network():
    assert limits.network_of(("2001:db8::1", 1)) == limits.network_of(("2001:db8::2", 1))
    assert limits.network_of(("2001:db8:0:1::1", 1)) != limits.network_of(("2001:db8::1", 1))
    assert limits.network_of(("10.0.0.1", 1)) != limits.network_of(("10.0.0.2", 1))


def test_the_token_guards_everything_but_the_page(gallery):
    with client_of(gallery, token=TOKEN) as client:
        ready(client)
        paths = [path for path in client.get("/openapi.json").json()["paths"] if path not in ("/health", "/ready")]
        for path in [*paths, "/api", "/api/", "/api/nothing"]:
            for header in (
                {},
                *({"Authorization": a} for a in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer")),
            ):
                answer = client.request(
                    "POST" if path in ("/api/search", "/api/pictures") else "GET", path, headers=header
                )
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for path in ("/", "/page/app.js", "/health", "/ready"):
            assert client.get(path).status_code == 200
        for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert client.get("/api/gallery", headers={"Authorization": header}).status_code == 200


def test_it_answers_only_to_its_own_host_names(gallery):
    with client_of(gallery) as client:
        ready(client)
        for own in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "10.1.2.3"):
            assert client.get("/api/gallery", headers={"Host": own}).status_code == 200
        for foreign in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[::1", "a@b:c"):
            for path in ("/", "/api/gallery", "/health"):
                assert client.get(path, headers={"Host": foreign}).status_code == 421
    with client_of(gallery, host="cameras.example", token=TOKEN) as client:
        assert client.get("/health", headers={"Host": "Cameras.example"}).status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421


def test_other_sites_pages_cannot_change_anything(gallery):
    with client_of(gallery) as client:
        ready(client)
        for header in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:81"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": OWN},
        ):
            for path in ("/api/search", "/api/corrections/merge"):
                assert client.post(path, headers=header).status_code == 403
        for header in ({"Origin": OWN}, {"Sec-Fetch-Site": "same-origin"}, {}):
            assert client.post("/api/search", headers=header, data={"text": "red"}).status_code == 200


def test_every_answer_has_the_headers_that_guard_the_page(gallery):
    class Broken(FakeEncoder):
        works = 1

        def encode(self, pictures, cameras=None):
            self.works -= 1
            if self.works < 0:
                raise RuntimeError
            return super().encode(pictures, cameras)

    app = create_app(gallery, Broken(), ServiceSettings(upload_mb=1, rate=0.001, burst=9))
    with TestClient(app, base_url=OWN, raise_server_exceptions=False) as client:
        ready(client)
        picture = {"picture": png(draw(0))}
        answers = [
            client.get("/"),
            client.get("/health"),
            client.get("/api/gallery"),
            client.get("/nothing"),
            client.put("/health"),
            client.post("/api/search"),
            client.post("/api/search", files={"picture": b"x"}),
            client.post("/api/search", content=b"x" * 3_000_000),
            client.get("/health", headers={"Host": "evil.example"}),
            client.post("/api/search", headers={"Origin": "null"}),
            client.post("/api/search", files=picture),
            *(client.get("/api/gallery") for _ in range(5)),
        ]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:11] == [200, 200, 200, 404, 405, 422, 415, 413, 421, 403, 500]
    assert statuses[-1] == 429
    for answer in answers:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value or name == "Cache-Control"
        assert "access-control-allow-origin" not in answer.headers
    assert all(set(answer.json()) == {"detail"} for answer in answers if answer.status_code >= 400)


@pytest.mark.parametrize("length", [2_000_000_000, 10**18])
def test_a_declared_giant_is_refused_before_it_is_read(service, length):
    _, address = service
    with raw(address, f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: {length}\r\n") as client:
        assert client.recv(1_000).startswith(b"HTTP/1.1 413")
    assert still_serves(address)


def test_a_giant_is_refused_when_it_waits_for_100_continue(service):
    _, address = service
    head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: 2000000000\r\n"
    with raw(address, f"{head}Expect: 100-continue\r\n") as client:
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_client_that_goes_on_sending_reads_the_refusal(service):
    _, address = service
    size = 40 * MEGABYTE
    with raw(address, f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: {size}\r\n") as client:
        client.sendall(bytes(size))
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b'{"detail":"larger than the 17 MB that the service accepts; send less"}')


def test_an_endless_upload_is_cut_off(service):
    service, address = service
    chunk = b"%x\r\n%s\r\n" % (MEGABYTE, bytes(MEGABYTE))
    head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Transfer-Encoding: chunked\r\n"
    sent = 0
    with raw(address, head) as client:
        client.sendall(b"%x\r\n%s\r\n" % (len(PART), PART))
        try:
            while sent < 1_000:
                client.sendall(chunk)
                sent += 1
        except OSError:
            pass
    assert sent < 200
    assert still_serves(address)
    assert memory(service) < 1 << 30


def test_other_bodies_are_small(service):
    _, address = service
    json = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/api/corrections/merge", content=b" " * MEGABYTE, headers=json)
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(gallery, monkeypatch):
    monkeypatch.setattr(limits, "_GRACE", 0.2)
    with running(create_app(gallery, FakeEncoder(), ServiceSettings())) as address:
        head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: 100\r\n"
        with raw(address, head) as client:
            client.sendall(PART[:50])
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 408")


def test_memory_for_simultaneous_uploads_is_bounded(gallery, monkeypatch):
    monkeypatch.setattr(limits, "HELD", 4 * MEGABYTE)
    settings = ServiceSettings(upload_mb=1)
    with running(create_app(gallery, FakeEncoder(), settings)) as address, ExitStack() as stack:
        head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: {15 * 10**5}\r\n"
        first, second = (stack.enter_context(raw(address, head)) for _ in range(2))
        first.sendall(PART + bytes(10**6))
        until(lambda: received(address) > 0)
        second.sendall(PART + bytes(14 * 10**5))
        answer = second.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too much is being uploaded" in answer
        assert still_serves(address)
        first.sendall(bytes(5 * 10**5 - len(PART)))
        assert first.recv(1_000).startswith(b"HTTP/1.1 4")
        assert upload(address, bytes(15 * 10**5)).status_code == 415


def test_uploads_that_are_declared_but_not_sent_take_nothing_from_others(service):
    service, address = service
    head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: 16000000\r\n"
    with ExitStack() as stack:
        idle = [stack.enter_context(raw(address, head)) for _ in range(50)]
        for connection in idle:
            connection.sendall(PART)
        for _ in range(5):
            assert still_serves(address)


def test_large_pictures_do_not_delay_small_ones(gallery, monkeypatch):
    may = threading.Event()
    monkeypatch.setattr(forms, "read_image", held_if_large(may))
    monkeypatch.setattr(batching, "_MOST_LARGE", 3)
    large = png_with(size=(6_000, 3_000))
    with running(create_app(gallery, FakeEncoder(), ServiceSettings())) as address, ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(upload, address, large) for _ in range(4)]
        refused = next(as_completed(waiting))
        assert refused.result().status_code == 503
        assert "large pictures" in refused.result().json()["detail"]
        for _ in range(5):
            assert still_serves(address)
        may.set()
        assert sorted(one.result().status_code for one in waiting) == [200, 200, 200, 503]


def received(address: str) -> float:
    return float(re.search(r"\nccafl_upload_bytes (\S+)", httpx.get(f"{address}/metrics").text).group(1))


def held_if_large(may: threading.Event):
    def read(file, most_pixels):
        picture = read_image(file, most_pixels)
        assert picture.width < 1_000 or may.wait(60)
        return picture

    return read


def test_a_picture_of_too_many_pixels_is_not_decoded(service):
    service, address = service
    for width, height in ((20_000, 10_000), (10_000, 9_000)):
        content = png_with(size=(width, height))
        assert len(content) < MEGABYTE
        answer = upload(address, content)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("picture 1: too large")
    assert memory(service) < 1 << 30
    assert still_serves(address)


def test_the_limit_of_pixels_can_be_set(gallery):
    with client_of(gallery, pixels=100 * 50) as client:
        ready(client)
        for size, status in (((50, 100), 200), ((51, 100), 413)):
            files = {"picture": png(draw(0, size=size))}
            assert client.post("/api/search", files=files).status_code == status


def test_files_that_are_not_pictures_are_refused_with_the_reason(service):
    _, address = service
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jpg", png(draw(0)))
    jpeg = io.BytesIO()
    draw(0, size=(300, 600)).save(jpeg, "JPEG")
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 * MEGABYTE), 9))
    for content, reason in (
        (packed.getvalue(), "not a picture, whatever its name says"),
        (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
            "text such as SVG",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a picture"),
        (b"", "an empty file"),
        (jpeg.getvalue()[:-700], "damaged"),
        (png_with()[:60], "damaged"),
        (png_with(bomb), "damaged"),
        (png(draw(0, size=(3, 99))), "too small to show a person"),
        (repeated_scans((4_000, 4_000), 5_000), "would take too long to decode"),
    ):
        answer = upload(address, content)
        assert answer.status_code == 415, content[:40]
        assert answer.json()["detail"].startswith(f"picture 1: {reason}")
    assert still_serves(address)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"camera": "\0"}, 422),
        ({"camera": "a\nb"}, 422),
        ({"camera": b"\xff\xfe"}, 422),
        ({"camera": "x" * 5_000}, 422),
        ({"text": "a\0b"}, 422),
        ({"text": "x" * 2_000}, 422),
        ({"key": "\0" * 64}, 422),
        ({"key": "A" * 64}, 422),
        ({"key": ["0" * 64] * 9}, 422),
        ({"limit": "9" * 5_000}, 422),
        ({"offset": "-1"}, 422),
        ({"limit": "0"}, 422),
        ({"since": "9" * 400}, 422),
        ({"since": "0001-01-01T00:00:00+23:59", "text": "red"}, 200),
        ({"until": "9999-12-31T23:59:59-23:59", "text": "red"}, 200),
        ({"box": "1,1,9,9", "text": "red"}, 422),
        ({"box": "1,1," + "9" * 400 + ",9"}, 422),
        ({"fusion": "median"}, 422),
        ({"picture": "not a file"}, 422),
        ({"text": "red", "rerank": "true"}, 422),
    ],
)
def test_odd_values_are_refused(service, fields, status):
    _, address = service
    body = b""
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            raw_value = value if isinstance(value, bytes) else value.encode()
            body += b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), raw_value)
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{address}/api/search", content=body + b"--b--\r\n", headers=form)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert re.fullmatch(r'\{"detail":"[^\n]{1,400}"\}', answer.text)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"keys": ["\xff"]}', 400),
        (b'{"keys": ["\\ud800"]}', 422),
        (b'{"keys": ["\\u0000"]}', 422),
        (b'{"keys": []}', 422),
        (b'{"keys": [' + b"1" * 5_000 + b"]}", 400),
        (b"[" * 100_000, 400),
        (b'{"\\ud800": 1, "keys": ["%s"]}' % (b"0" * 64), 422),
        (b"", 422),
        (b"nonsense", 422),
        (b'{"keys": ["%s"]}' % (b"0" * 64), 409),
    ],
)
def test_odd_corrections_are_refused(service, body, status):
    _, address = service
    json = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/api/corrections/merge", content=body, headers=json)
    assert answer.status_code == status, answer.text
    assert re.fullmatch(r'\{"detail":"[^\n]{1,400}"\}', answer.text)
    assert httpx.get(f"{address}/api/identities/%00%ff").status_code == 422


@pytest.mark.faults
def test_a_thousand_uploads_at_once(service):
    service, address = service
    content = png(draw(1, size=(250, 500)).effect_spread(20))

    async def all_at_once() -> Counter:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=120) as client:
            files = {"picture": ("a.png", content)}
            asked = (client.post(f"{address}/api/search", files=files) for _ in range(1_000))
            return Counter(answer.status_code for answer in await asyncio.gather(*asked))

    statuses = asyncio.run(all_at_once())
    assert set(statuses) <= {200, 503}
    assert statuses[200] >= 64
    assert memory(service) < 2 << 30
    assert still_serves(address)
    counted = httpx.get(f"{address}/metrics").text
    assert "ccafl_queue_pictures 0.0" in counted
