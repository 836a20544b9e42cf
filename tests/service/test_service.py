"""The service's calls: searching, correcting and reporting, batched across clients; how it starts and ends."""

import io
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from ccafl.calibration import Calibration
from ccafl.errors import InputError
from ccafl.gallery import add_pictures, query
from ccafl.gallery.gallery import Gallery
from ccafl.service.app import create_app
from ccafl.service.limits import ServiceSettings
from ccafl.service.server import serve
from colour_people import (
    CAMERAS,
    FIRST,
    PERSONS,
    SHOTS,
    FakeEncoder,
    draw,
    filled,
    key_of,
    place_of,
    png,
    process,
    running,
    until,
)

OWN = "http://127.0.0.1"
EACH = len(PERSONS) * SHOTS  # pictures per camera


@pytest.fixture(scope="module")
def shared(tmp_path_factory, people) -> Iterator[TestClient]:
    """A client of a service whose gallery the tests only read."""
    folder, encoder = tmp_path_factory.mktemp("service") / "gallery.db", FakeEncoder()
    with filled(folder, encoder, people) as gallery, client_of(gallery, encoder) as client:
        yield client


@pytest.fixture
def client(gallery, encoder) -> Iterator[TestClient]:
    with client_of(gallery, encoder) as client:
        yield client


def client_of(gallery: Gallery, encoder: FakeEncoder, **settings) -> TestClient:
    return Ready(create_app(gallery, encoder, ServiceSettings(**settings)), base_url=OWN)


class Ready(TestClient):
    """A client that waits until the service is ready."""

    def __enter__(self):
        client = super().__enter__()
        while client.get("/ready").status_code != 200:
            time.sleep(0.01)
        return client


def search(client, *pictures: Image.Image, **fields) -> dict:
    answer = ask(client, *pictures, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(client, *pictures: Image.Image, **fields):
    files = [("picture", ("a.png", png(picture), "image/png")) for picture in pictures]
    return client.post("/api/search", files=files or None, data=fields)


def labels(found: dict) -> list[str]:
    return [hit["label"] for hit in found["hits"]]


def test_a_picture_finds_itself_first_then_those_nearest_to_it(shared, people):
    encoder, asked = FakeEncoder(), draw(1, 3)
    features = np.concatenate([encoder.encode([Image.open(p.path)]).features for p in people])
    cosines = features @ encoder.encode([asked]).features[0]
    found = search(shared, asked, limit=200)
    assert [hit["score"] for hit in found["hits"]] == pytest.approx(sorted(cosines.tolist(), reverse=True), abs=1e-6)
    scores = {key_of(p.path): cosine for p, cosine in zip(people, cosines, strict=True)}
    assert all(hit["score"] == pytest.approx(scores[hit["key"]], abs=1e-6) for hit in found["hits"])
    assert found["hits"][0] == {
        "key": key_of(people[EACH + SHOTS + 1].path),
        "camera": "corridor",
        "time": "2026-05-04T12:11:00Z",
        "source": str(people[EACH + SHOTS + 1].path),
        "label": "c1",
        "identity": "1",
        "name": "",
        "score": pytest.approx(1, abs=1e-6),
        "probability": None,
        "verdict": None,
        "footage": None,
        "frame": None,
        "box": None,
    }


def test_a_calibrated_model_says_how_probable_a_hit_is(tmp_path, people):
    encoder = FakeEncoder(calibration=Calibration(slope=40.0, offset=-34.0, pictures=6.0, joins=True))
    with filled(tmp_path / "gallery.db", encoder, people) as gallery, client_of(gallery, encoder) as client:
        found = search(client, draw(1), limit=200)
        stranger = search(client, Image.new("RGB", (32, 64), (200, 0, 200)), limit=200)
    assert {hit["verdict"] for hit in found["hits"]} == {"likely", "unlikely"}
    assert found["hits"][0]["probability"] > 0.9
    assert (found["nobody"], stranger["nobody"]) == (False, True)


def test_a_box_is_searched_for_instead_of_the_whole_picture(shared):
    both = Image.new("RGB", (64, 64))
    both.paste(draw(0), (0, 0))
    both.paste(draw(2), (32, 0))
    for box, person in (("0,0,32,64", "0"), ("32.4,0,100,100", "2")):
        assert {label[1:] for label in labels(search(shared, both, box=box, limit=6))} == {person}
    answer = ask(shared, both, box="63,0,10,10")
    assert answer.status_code == 422
    assert "64x64" in answer.json()["detail"]
    assert ask(shared, both, box=["0,0,9,9", ""]).status_code == 422


def test_boxes_are_of_the_upright_picture(shared):
    lying = draw(2).transpose(Image.Transpose.ROTATE_90)
    exif = lying.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    file = io.BytesIO()
    lying.save(file, "PNG", exif=exif)
    files = {"picture": ("a.png", file.getvalue())}
    found = shared.post("/api/search", files=files, data={"box": "0,0,32,64", "limit": 1}).json()
    assert labels(found)[0][1:] == "2"
    assert found["hits"][0]["score"] > 0.999
    assert shared.post("/api/search", files=files, data={"box": "40,0,20,20"}).status_code == 422


def test_a_large_picture_is_reduced_while_it_waits_and_finds_the_same(gallery):
    class Measuring(FakeEncoder):
        largest = 0

        def encode(self, pictures, cameras=None):
            self.largest = max(self.largest, *(max(picture.size) for picture in pictures))
            return super().encode(pictures, cameras)

    encoder, small = Measuring(), draw(3, size=(48, 96))
    large = small.resize((2_400, 4_800), Image.Resampling.NEAREST)
    with client_of(gallery, encoder) as client:
        found, same = (search(client, picture)["hits"] for picture in (small, large))
    assert [hit["key"] for hit in found] == [hit["key"] for hit in same]
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in same], abs=1e-3)
    assert encoder.largest == 1_200


def test_the_model_is_told_which_cameras_took_the_pictures(gallery, people):
    class Told(FakeEncoder):
        cameras = ()

        def encode(self, pictures, cameras=None):
            self.cameras = tuple(cameras or ())
            return super().encode(pictures, cameras)

    encoder, known = Told(), people[0]
    files = [("picture", ("a.png", content, "image/png")) for content in (known.path.read_bytes(), png(draw(0, 60)))]
    with client_of(gallery, encoder) as client:
        assert client.post("/api/search", files=files).status_code == 200
        assert encoder.cameras == (known.camera, "")


def test_several_pictures_are_searched_together(shared):
    encoder = FakeEncoder()
    one, other = encoder.encode([draw(0, 9), draw(1, 9)]).features
    mean, nearest = (search(shared, draw(0, 9), draw(1, 9), fusion=how, limit=200) for how in ("mean", "max"))
    seen = {hit["key"]: hit["score"] for hit in search(shared, draw(0, 9), limit=200)["hits"]}
    seen_other = {hit["key"]: hit["score"] for hit in search(shared, draw(1, 9), limit=200)["hits"]}
    length = np.linalg.norm((one + other) / 2)
    for hit in nearest["hits"]:
        assert hit["score"] == pytest.approx(max(seen[hit["key"]], seen_other[hit["key"]]), abs=1e-6)
    for hit in mean["hits"]:
        assert hit["score"] == pytest.approx((seen[hit["key"]] + seen_other[hit["key"]]) / 2 / length, abs=1e-5)


def test_search_by_a_picture_in_the_gallery(shared, people):
    key = key_of(people[4].path)
    found = search(shared, key=key, exclude_camera=CAMERAS[0], limit=4)
    assert {hit["label"] for hit in found["hits"]} == {"c2", "y2"}
    with_upload = search(shared, draw(2, 0), key=key, limit=3)
    assert {label[1:] for label in labels(with_upload)} == {"2"}
    assert ask(shared, key="0" * 64).status_code == 404


def test_a_description_finds_its_colours(shared):
    assert {label[1:] for label in labels(search(shared, text="a person in yellow and red", limit=6))} == {"2"}
    assert ask(shared, text=" ").status_code == 422
    assert ask(shared, draw(0), text="red").status_code == 422
    assert ask(shared).status_code == 422


def test_a_description_needs_a_text_tower(tmp_path, people):
    encoder = FakeEncoder(describes=False)
    with filled(tmp_path / "gallery.db", encoder, people[:2]) as gallery, client_of(gallery, encoder) as client:
        assert not client.get("/api/gallery").json()["text"]
        answer = ask(client, text="red")
        assert answer.status_code == 422
        assert "text tower" in answer.json()["detail"]


def test_filters(shared):
    def times(**fields):
        return sorted(hit["time"][11:16] for hit in search(shared, draw(0), limit=200, **fields)["hits"])

    def cameras(**fields):
        return {hit["camera"] for hit in search(shared, draw(0), limit=200, **fields)["hits"]}

    assert cameras(camera=["yard", "entrance"]) == {"yard", "entrance"}
    assert cameras(exclude_camera=["yard"]) == {"entrance", "corridor"}
    assert cameras(camera="yard", exclude_camera="yard") == set()
    assert times(since=FIRST.isoformat(), until="2026-05-04T12:03") == ["12:00", "12:01", "12:02"]
    assert times(since="2026-05-04T14:22:00+02:00") == ["12:22", "12:23"]
    assert ask(shared, draw(0), camera="garden").status_code == 422


def test_pages_together_are_all_results(shared):
    whole = search(shared, draw(0), limit=200)
    pages = [search(shared, draw(0), limit=7, offset=offset) for offset in range(0, 24, 7)]
    assert [hit for page in pages for hit in page["hits"]] == whole["hits"]
    assert [page["more"] for page in pages] == [True, True, True, False]
    assert not whole["more"]


def test_features_are_standardised_by_the_cameras_of_known_pictures(client, gallery, people):
    keys = [key_of(people[0].path), key_of(people[-1].path)]
    asked, cameras = gallery.vectors(keys), tuple(people[number].camera for number in (0, -1))
    expected = query.search(gallery, asked, standardise=True, cameras=cameras, limit=5).hits
    found = search(client, key=keys, limit=5, camera_standardise=True)["hits"]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    unknown = query.search(gallery, asked, standardise=True, limit=5).hits
    assert [hit["score"] for hit in found] != pytest.approx([hit.score for hit in unknown], abs=1e-3)
    assert ask(client, text="red", camera_standardise=True).status_code == 422


def test_reranking_reorders_the_nearest(shared):
    plain, reranked = (search(shared, draw(0), limit=24, rerank=how) for how in (False, True))
    assert {hit["key"] for hit in plain["hits"]} == {hit["key"] for hit in reranked["hits"]}
    assert [hit["score"] for hit in plain["hits"]] != [hit["score"] for hit in reranked["hits"]]
    assert {label[1:] for label in labels(reranked)[:6]} == {"0"}


def test_hits_are_grouped_by_identity(shared):
    found = search(shared, draw(0), limit=24)
    best = {hit["key"]: hit for hit in found["hits"]}
    assert sorted(key for group in found["identities"] for key in group["keys"]) == sorted(best)
    for group in found["identities"]:
        assert {best[key]["identity"] for key in group["keys"]} == {group["identity"]}
        assert group["score"] == max(best[key]["score"] for key in group["keys"])
    assert found["identities"][0]["identity"] == "0"


def test_the_gallery_is_described(shared):
    facts = shared.get("/api/gallery").json()
    assert facts["cameras"] == [{"name": name, "pictures": EACH} for name in sorted(CAMERAS)]
    assert (facts["pictures"], facts["identities"]) == (3 * EACH, 3)
    assert (facts["first"], facts["last"]) == ("2026-05-04T12:00:00Z", "2026-05-04T12:23:00Z")
    named = {"name": "colours", "fingerprint": "f" * 64, "runtime": "numpy"}
    assert facts["model"] == named | {"takes_cameras": False, "mistakes_strangers": False}
    assert facts["text"]
    assert facts["limits"] == {"upload_mb": 16, "pixels": 64_000_000, "pictures": 8}


def test_a_picture_and_its_thumbnail(shared, people):
    key = key_of(people[0].path)
    assert shared.get(f"/api/pictures/{key}").json()["source"] == str(people[0].path)
    small = shared.get(f"/api/pictures/{key}/thumbnail")
    assert Image.open(io.BytesIO(small.content)).size == (32, 64)
    assert (small.headers["content-type"], small.headers["cache-control"][:7]) == ("image/jpeg", "private")
    again = shared.get(f"/api/pictures/{key}/thumbnail", headers={"If-None-Match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path in (f"/api/pictures/{'0' * 64}", f"/api/pictures/{'0' * 64}/thumbnail"):
        assert shared.get(path).status_code == 404
    assert shared.get("/api/pictures/abc").json()["detail"].startswith("key: ")


def test_an_identity_in_order_of_time(shared):
    told = shared.get("/api/identities/1").json()
    assert [picture["label"] for picture in told["pictures"]] == ["e1", "e1", "c1", "c1", "y1", "y1"]
    assert told["pictures"] == sorted(told["pictures"], key=lambda picture: picture["time"])
    assert shared.get("/api/identities/nobody").status_code == 404


def test_an_identity_may_have_any_name(gallery, encoder):
    gallery.join(dict.fromkeys([("yard", "y0")], "Ä/b ?#%2F"))
    with running(create_app(gallery, encoder, ServiceSettings())) as address:
        told = httpx.get(f"{address}/api/identities/%C3%84%2Fb%20%3F%23%252F")
        assert [picture["label"] for picture in told.json()["pictures"]] == ["y0", "y0"]


def test_joins_are_corrected(client, people):
    one, corridor, unknown = (key_of(people[number].path) for number in (0, EACH, 2 * EACH + 6))
    answer = client.post("/api/corrections/merge", json={"keys": [one, unknown]})
    assert answer.json()["identity"] == "0"
    assert len(client.get("/api/identities/0").json()["pictures"]) == 8
    assert client.post("/api/corrections/split", json={"keys": [corridor]}).json()["identity"] == "3"
    assert client.get(f"/api/pictures/{corridor}").json()["identity"] == "3"
    assert client.get("/api/gallery").json()["identities"] == 4
    assert search(client, draw(0, SHOTS), limit=1)["hits"][0]["identity"] == "3"
    rows = client.get("/api/corrections").json()
    made = {"kind": "must_link", "camera_a": "entrance", "label_a": "e0", "camera_b": "yard", "label_b": "y3"}
    assert any(made.items() <= row.items() for row in rows)
    table = client.get("/api/corrections.csv")
    assert table.headers["content-disposition"].startswith("attachment")
    assert table.text.splitlines()[0] == "kind,camera_a,label_a,camera_b,label_b"
    assert len(table.text.splitlines()) == len(rows) + 1
    refused = client.post("/api/corrections/split", json={"keys": [corridor]})
    assert refused.status_code == 409
    assert "leave out those" in refused.json()["detail"]


def test_a_gallery_is_looked_through_without_a_query(client, people):
    found = client.get("/api/persons", params={"limit": 2}).json()
    assert (found["total"], found["joined"]) == (3 + len(CAMERAS), 3)  # the last person's labels are not joined
    assert [person["identity"] for person in found["persons"]] == ["2", "1"]  # the latest first
    assert found["persons"][0]["cameras"] == list(CAMERAS)[::-1]
    rest = client.get("/api/persons", params={"limit": 200, "offset": 2}).json()["persons"]
    assert [(own["identity"], own["label"]) for own in rest] == [("0", "y0"), ("", "y3"), ("", "c3"), ("", "e3")]
    pictures = client.get("/api/pictures", params={"camera": "corridor", "limit": 3, "offset": 1}).json()
    assert pictures["total"] == EACH
    latest = [key_of(own.path) for own in people if own.camera == "corridor"][::-1]
    assert [own["key"] for own in pictures["pictures"]] == latest[1:4]
    assert client.get("/api/pictures", params={"limit": 1}).json()["total"] == len(people)
    assert client.get("/api/pictures", params={"camera": "cellar"}).status_code == 404


def test_doubtful_joins_are_answered_and_answers_are_taken_back(client, gallery):
    gallery.join(dict.fromkeys([("entrance", "e0"), ("corridor", "c1"), ("yard", "y0")], "7"))
    found = client.get("/api/review").json()
    (asked,) = (
        own for own in found["questions"] if own["joined"] and "c1" in (own["one"]["label"], own["other"]["label"])
    )
    one, other = ({name: asked[side][name] for name in ("camera", "label")} for side in ("one", "other"))
    answered = client.post("/api/corrections", json={"kind": "cannot_link", "one": one, "other": other}).json()
    assert gallery.ledger.tracklets_of("7") == [("entrance", "e0"), ("yard", "y0")]
    assert client.get("/api/review").json()["total"] < found["total"]
    (made,) = client.get("/api/corrections").json()
    assert made["kind"] == "cannot_link"
    assert {made["key_a"], made["key_b"]} <= {entry.key for entries in gallery.all_entries() for entry in entries}
    for _ in range(2):  # the second time nothing is left to take back
        assert client.post("/api/corrections/undo", json={"change": answered["change"]}).status_code == 204
        assert client.get("/api/corrections").json() == []
    assert len(gallery.ledger.tracklets_of("7")) == 3
    assert client.get("/api/review").json() == found
    gone = client.post("/api/corrections/remove", json={"one": one, "other": other})
    assert gone.status_code == 409


def test_a_person_is_named(client, gallery, people):
    for identity, name, status in (
        ("0", "Ann", 204),
        ("1", "Ann", 409),
        ("9", "Bob", 409),
        ("1", "\u202eBob <b>", 204),
    ):
        assert client.post("/api/names", json={"identity": identity, "name": name}).status_code == status
    assert {hit["identity"]: hit["name"] for hit in search(client, draw(0), limit=50)["hits"]}["0"] == "Ann"
    assert client.get("/api/identities/0").json()["name"] == "Ann"
    assert {own["name"] for own in client.get("/api/persons").json()["persons"]} == {"Ann", "\u202eBob <b>", ""}


def test_the_page_and_its_files(shared):
    page = shared.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    script = shared.get("/page/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "no-cache"
    again = shared.get("/page/app.js", headers={"If-None-Match": f'W/"x", {script.headers["etag"]}'})
    assert again.status_code == 304
    for other in ("nothing.js", "..%2Fservice.py", "%2e%2e%2fservice.py", "%2e%2e", ""):
        assert shared.get(f"/page/{other}").status_code == 404


def test_requests_are_counted(client):
    search(client, draw(0))
    search(client, draw(0), draw(1), text="")
    ask(client)
    counts = client.get("/metrics").text
    assert 'ccafl_requests_total{route="/api/search",status="200"} 2.0' in counts
    assert 'ccafl_requests_total{route="/api/search",status="422"} 1.0' in counts
    assert "ccafl_batch_pictures_sum 3.0" in counts
    assert "ccafl_batch_pictures_count 2.0" in counts
    assert f"ccafl_gallery_pictures {3 * EACH}.0" in counts
    assert "ccafl_queue_pictures 0.0" in counts


def test_the_time_spent_is_reported(shared):
    told = ask(shared, draw(0)).headers["server-timing"]
    assert [part.partition(";dur=")[0] for part in told.split(", ")] == ["read", "wait", "model", "search"]


class Held(FakeEncoder):
    """An encoder that waits until it is released, and refuses pictures of one colour."""

    def __init__(self) -> None:
        super().__init__()
        self.may, self.busy, self.batches = threading.Event(), threading.Event(), []
        self.may.set()

    def hold(self) -> None:
        """Nothing any more; what was done is forgotten."""
        self.may.clear()
        self.busy.clear()
        self.batches.clear()

    def encode(self, pictures, cameras=None):
        self.batches.append(len(pictures))
        self.busy.set()
        assert self.may.wait(60)
        if any(picture.getpixel((0, 0)) == (255, 0, 255) for picture in pictures):
            raise RuntimeError("cannot be encoded")
        return super().encode(pictures, cameras)


@pytest.fixture
def held() -> Held:
    return Held()


@contextmanager
def calling(address: str) -> Iterator[tuple[httpx.Client, ThreadPoolExecutor]]:
    """A client and threads to call from."""
    with ThreadPoolExecutor(8) as clients, httpx.Client(base_url=address, timeout=60) as client:
        yield client, clients


def waiting(client) -> int:
    return int(float(client.get("/metrics").text.partition("\nccafl_queue_pictures ")[2].split()[0]))


def test_waiting_searches_share_a_forward_pass_and_each_gets_its_answer(gallery, held):
    with running(create_app(gallery, held, ServiceSettings())) as address, calling(address) as (client, clients):
        held.hold()
        first = clients.submit(search, client, draw(3))
        assert held.busy.wait(60)
        others = [clients.submit(search, client, *[draw(n)] * (n + 1), limit=6) for n in range(4)]
        until(lambda: waiting(client) == 1 + 10)
        held.may.set()
        assert {label[1:] for label in labels(first.result())[:6]} == {"3"}
        for person, other in enumerate(others):
            assert {label[1:] for label in labels(other.result())} == {str(person)}
    assert held.batches == [1, 10]


def test_a_search_whose_client_has_gone_is_dropped(gallery, held):
    with running(create_app(gallery, held, ServiceSettings())) as address, calling(address) as (client, clients):
        held.hold()
        first = clients.submit(search, client, draw(3))
        assert held.busy.wait(60)
        with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=address, timeout=0.3) as impatient:
            search(impatient, draw(0))
        until(lambda: waiting(client) == 1)
        held.may.set()
        assert first.result()["hits"]
    assert held.batches == [1]


def test_a_full_queue_refuses_searches(gallery, held):
    settings = ServiceSettings(queue=3, pictures=3)
    with running(create_app(gallery, held, settings)) as address, calling(address) as (client, clients):
        held.hold()
        first = clients.submit(search, client, draw(3), draw(3))
        assert held.busy.wait(60)
        refused = ask(client, draw(0), draw(0))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        second = clients.submit(search, client, draw(0))
        until(lambda: waiting(client) == 3)
        held.may.set()
        assert first.result()["hits"]
        assert second.result()["hits"]
        assert search(client, draw(0), draw(0))["hits"]


def test_one_failing_search_does_not_fail_others(gallery, held, caplog):
    bad = Image.new("RGB", (32, 64), (255, 0, 255))
    with running(create_app(gallery, held, ServiceSettings())) as address, calling(address) as (client, clients):
        held.hold()
        first = clients.submit(ask, client, draw(3))
        assert held.busy.wait(60)
        others = [clients.submit(ask, client, picture) for picture in (draw(0), bad)]
        too_deep = clients.submit(ask, client, draw(0), rerank=True, offset=190, limit=20)
        until(lambda: waiting(client) == 4)
        held.may.set()
        statuses = [one.result().status_code for one in (first, *others, too_deep)]
        assert statuses == [200, 200, 500, 422]
        assert search(client, draw(0))["hits"]
    assert held.batches[:2] == [1, 3]
    assert "cannot be encoded" in caplog.text


def test_it_is_alive_before_it_is_ready(gallery, held):
    held.may.clear()
    app = create_app(gallery, held, ServiceSettings())
    with TestClient(app, base_url=OWN) as client:
        assert client.get("/health").json() == {"status": "alive"}
        for answer in (client.get("/ready"), client.get("/api/gallery"), ask(client, draw(0))):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        held.may.set()
        until(lambda: client.get("/ready").status_code == 200)
        assert search(client, draw(0))["hits"]


def test_another_model_is_refused(gallery):
    with pytest.raises(InputError, match="holds features of colours"):
        create_app(gallery, FakeEncoder(fingerprint="e" * 64), ServiceSettings())


def test_it_ends_with_the_error_that_kept_it_from_loading(gallery):
    class Broken(FakeEncoder):
        def encode(self, pictures, cameras=None):
            raise InputError("the weights are gone")

    with pytest.raises(InputError, match="the weights are gone"):
        serve(gallery, Broken(), ServiceSettings(port=0))


def test_a_port_in_use_is_reported(gallery, encoder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot be listened on"):
            serve(gallery, encoder, ServiceSettings(port=port))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_finishes_requests_in_progress_and_then_ends(tmp_path, people, encoder, end):
    folder = tmp_path / "gallery.db"
    filled(folder, encoder, people).close()
    with process(folder) as (service, address), socket.create_connection(place_of(address)) as connection:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
            + png(draw(0))
            + b"\r\n--b--\r\n"
        )
        head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body[:-9])
        until(lambda: "POST" not in httpx.get(f"{address}/metrics").text)
        service.send_signal(end)
        until(lambda: _refused(address))
        connection.sendall(body[-9:])
        answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["hits"][0]["label"][1:] == "0"
        assert service.wait(60) == 0
    with Gallery.open(folder) as gallery:  # no longer locked
        assert len(gallery) == len(people)


def _refused(address: str) -> bool:
    try:
        socket.create_connection(place_of(address), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.skipif(
    not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(),
    reason="this machine has no IPv6: run on one that has",
)
def test_it_listens_on_ipv6(tmp_path, people, encoder):
    folder = tmp_path / "gallery.db"
    filled(folder, encoder, people).close()
    with process(folder, host="::1") as (_, address):
        assert address.startswith("http://[::1]:")
        assert httpx.get(f"{address}/api/gallery").json()["pictures"] == len(people)


# --- A gallery that fails ---------------------------------------------------------------------------------------------


def test_a_damaged_gallery_is_reported_with_its_reason(gallery, client):
    gallery.ledger.write([("drop table corrections", ())])
    merged = {"keys": [e.key for e in gallery.of_identity("0")]}
    for answer in (client.get("/api/corrections"), client.post("/api/corrections/merge", json=merged)):
        assert answer.status_code == 503
        assert "no such table: corrections" in answer.json()["detail"]


def test_a_vanished_collection_is_reported_with_its_reason(tmp_path, encoder, people, milvus_server):
    with Gallery.create(tmp_path / "g.db", encoder, uri=milvus_server) as gallery:
        add_pictures(gallery, encoder, people)
        with client_of(gallery, encoder) as client:
            assert search(client, draw(1))["hits"]
            for collection in gallery._vectors._collections.values():
                gallery._vectors._client.drop_collection(collection)
            answer = ask(client, draw(1))
    assert answer.status_code == 503
    assert "Milvus has no collection" in answer.json()["detail"]
