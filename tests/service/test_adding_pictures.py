"""Pictures added while the gallery is served."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ccafl.gallery import Gallery, search
from colour_people import FakeEncoder, draw, filled, key_of, png, process
from small_runs import run

HEADER = {"Authorization": "Bearer a-token-of-the-tests"}
TOKEN = HEADER["Authorization"].split()[1]


def post(address, *pictures, header=HEADER, **fields):
    files = [("picture", (f"../{number}.png", picture, "image/png")) for number, picture in enumerate(pictures)]
    return httpx.post(f"{address}/api/pictures", files=files or None, data=fields, headers=header, timeout=60)


def found(address, picture) -> list[dict]:
    files = {"picture": ("a.png", picture, "image/png")}
    answer = httpx.post(f"{address}/api/search", files=files, headers=HEADER, data={"limit": 3})
    return answer.json()["hits"]


@pytest.fixture
def folder(tmp_path, people):
    filled(tmp_path / "gallery.db", FakeEncoder(), people).close()
    return tmp_path / "gallery.db"


def test_the_next_search_finds_what_was_added_and_others_read_it(folder, people, capsys):
    picture, known = png(draw(2, 40)), people[0].path.read_bytes()
    with process(folder, token=TOKEN) as (service, address):
        fields = {"camera": "roof", "label": "r1", "time": "2026-05-04T15:00"}
        added = post(address, picture, known, picture, **fields).json()
        assert added["added"] == 1
        assert added["keys"][0] == added["keys"][2]
        assert added["keys"][1] == key_of(people[0].path)
        hit = found(address, picture)[0]
        assert (hit["key"], hit["camera"], hit["label"]) == (added["keys"][0], "roof", "r1")
        assert (hit["time"], hit["source"]) == ("2026-05-04T15:00:00Z", "uploaded/0.png")
        assert httpx.get(f"{address}/api/gallery", headers=HEADER).json()["pictures"] == len(people) + 1
        thumbnail = f"{address}/api/pictures/{hit['key']}/thumbnail"
        assert httpx.get(thumbnail, headers=HEADER).content.startswith(b"\xff\xd8")
        again = post(address, known, camera="attic").json()
        assert again["added"] == 0
        assert found(address, known)[0]["camera"] == "attic"
        run("gallery", "info", "--db", folder)
        assert "roof" in capsys.readouterr().out
        service.send_signal(signal.SIGKILL)
    with Gallery.open(folder) as gallery:
        assert len(gallery) == len(people) + 1


def test_readers_beside_the_service_see_whole_additions(folder, people):
    batches = [[png(draw(person, 50 + 4 * number + person)) for person in range(4)] for number in range(6)]
    sizes, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            with Gallery.open(folder, read_only=True) as reader:
                sizes.add(len(reader))
                search(reader, FakeEncoder().encode([draw(1)]).features)

    with process(folder, token=TOKEN, rate=None) as (_, address), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for number, batch in enumerate(batches):
                assert post(address, *batch, camera="roof").json()["added"] == 4, number
        finally:
            done.set()
        reading.result()
    assert {(size - len(people)) % 4 for size in sizes} == {0}


def test_what_cannot_be_added_is_refused_and_nothing_is_written(folder, people):
    picture = png(draw(2, 40))
    with process(folder) as (_, address):
        refused = post(address, picture, camera="roof")
        assert refused.status_code == 403
        assert "with a token only" in refused.json()["detail"]
    with process(folder, token=TOKEN, rate=None) as (_, address):
        assert post(address, picture, camera="roof", header={}).status_code == 401
        for status, pictures, fields in (
            (422, [picture], {}),
            (422, [picture], {"camera": ""}),
            (422, [], {"camera": "roof"}),
            (422, [png(draw(2, 40 + n)) for n in range(9)], {"camera": "roof"}),
            (422, [picture], {"camera": "ro\nof"}),
            (422, [picture], {"camera": "roof", "time": "noon"}),
            (415, [picture, b"no picture"], {"camera": "roof"}),
            (413, [b" " * 18_000_000], {"camera": "roof"}),
        ):
            answer = post(address, *pictures, **fields)
            assert answer.status_code == status, answer.text
        assert httpx.get(f"{address}/api/gallery", headers=HEADER).json()["pictures"] == len(people)
