"""What the service shows of the footage behind its pictures, and that it reads no other file."""

import csv
import io
import os
from pathlib import Path

import pytest
from PIL import Image
from test_service import ask, client_of, search

from block_people import BROAD, TALL, edges, filmed
from ccafl.gallery.adding import add_pictures, listed
from ccafl.gallery.gallery import Gallery
from ccafl.service.footage import Passes
from colour_people import FakeEncoder, key_of

__all__ = ["filmed"]

FRAMES = (20, 30, 40)
TOKEN = "a-token-of-the-tests"


@pytest.fixture
def site(tmp_path, filmed):
    """A folder as ccafl ingest writes it, with its video: three pictures of a track in each of two cameras."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "hall.mp4").write_bytes(filmed.video.read_bytes())
    write_manifest(folder, filmed, folder / "hall.mp4")
    return folder


def write_manifest(folder: Path, filmed, footage: Path) -> None:
    rows = [("image", "camera", "label", "frame", "box", "source")]
    for camera, walk in zip(("hall", "yard"), filmed.walks, strict=False):
        for frame in FRAMES:
            left, top, _, _ = edges(walk, frame - 1)
            image = folder / camera / f"{frame}.png"
            image.parent.mkdir(exist_ok=True)
            Image.new("RGB", (32, 64), (frame, 40 + 80 * (camera == "yard"), 90)).save(image)
            rows.append((str(image), camera, "1", str(frame), f"{left},{top},{BROAD},{TALL}", str(footage)))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def key(site):
    return key_of(site / "hall" / "30.png")


def served(site: Path, tmp_path: Path, **settings):
    """A client of a service whose gallery has the site's pictures."""
    gallery = Gallery.create(tmp_path / "gallery.db", FakeEncoder())
    add_pictures(gallery, FakeEncoder(), listed(site, outside=True))
    return client_of(gallery, FakeEncoder(), **settings)


def test_tracks_are_found_and_searched_with(site, tmp_path, key):
    with served(site, tmp_path) as client:
        assert client.get("/api/gallery").json()["tracks"] == 2
        found = search(client, track=key, group="track")
        assert [(own["camera"], own["label"], own["pictures"]) for own in found["groups"]] == [
            ("hall", "1", 3),
            ("yard", "1", 3),
        ]
        assert [hit["key"] for hit in found["hits"]] == [own["keys"][0] for own in found["groups"]]
        assert {hit["frame"] for hit in found["hits"]} <= set(FRAMES)
        track = client.get(f"/api/track/{key}").json()
        assert {(one["camera"], one["frame"]) for one in track} == {("hall", frame) for frame in FRAMES}
        assert client.post("/api/search", data={"track": "0" * 64}).status_code == 404


def test_other_cameras_are_those_that_did_not_take_the_upload(site, tmp_path):
    with served(site, tmp_path) as client:
        unknown = Image.new("RGB", (32, 64), "red")
        content = ("a.png", (site / "hall" / "30.png").read_bytes(), "image/png")
        answer = client.post("/api/search", files={"picture": content}, data={"other_cameras": "true"}).json()
        assert (answer["taken_by"], {hit["camera"] for hit in answer["hits"]}) == (["hall"], {"yard"})
        given = search(client, unknown, other_cameras="true", taken_by="yard")
        assert {hit["camera"] for hit in given["hits"]} == {"hall"}
        refused = ask(client, unknown, other_cameras="true")
        assert refused.status_code == 422
        assert "nothing says which camera took the picture" in refused.json()["detail"]


def test_a_picture_opens_its_frame_and_its_video_at_its_second(site, tmp_path, key, filmed):
    with served(site, tmp_path) as client:
        frame = Image.open(io.BytesIO(client.get(f"/api/pictures/{key}/frame").content))
        assert frame.size == (240, 160)
        left, top, _, _ = edges(filmed.walks[0], 29)
        red, green, blue = frame.getpixel((left + BROAD // 2, top - 2))
        assert red > 150 and green > 130 and blue < 110, "the box is drawn"  # noqa: PT018
        moment = client.get(f"/api/pictures/{key}/moment").json()
        assert moment["second"] == pytest.approx(2.9)
        video = client.get(f"/{moment['video']}")
        content = (site / "hall.mp4").read_bytes()
        assert (video.status_code, video.headers["content-type"], video.content) == (200, "video/mp4", content)


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=5-8", 206, slice(5, 9)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=0-99999999999", 206, slice(0, None)),
        ("bytes=99999999999-", 416, slice(0, 0)),
        ("bytes=9-5", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
    ],
)
def test_a_video_is_sent_in_parts(site, tmp_path, key, asked, status, part):
    content = (site / "hall.mp4").read_bytes()
    with served(site, tmp_path) as client:
        answer = client.get(f"/api/pictures/{key}/video", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (status, content[part])
        assert answer.headers["content-range"].endswith(f"/{len(content)}")


def test_a_missing_file_is_said_in_words_and_the_picture_is_its_thumbnail(site, tmp_path, key):
    with served(site, tmp_path) as client:
        assert Image.open(io.BytesIO(client.get(f"/api/pictures/{key}/picture").content)).size == (32, 64)
        (site / "hall.mp4").unlink()
        (site / "hall" / "30.png").write_bytes(b"something else")
        for what in ("frame", "moment", "video"):
            answer = client.get(f"/api/pictures/{key}/{what}")
            assert answer.status_code == 404
            assert "hall.mp4: is no longer there" in answer.json()["detail"]
        thumbnail = client.get(f"/api/pictures/{key}/thumbnail").content
        assert client.get(f"/api/pictures/{key}/picture").content == thumbnail


def link(video: Path, secret: Path) -> None:
    video.symlink_to(secret)


def playlist(video: Path, secret: Path) -> None:
    video.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n")


def concatenation(video: Path, secret: Path) -> None:
    video.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")


def text(video: Path, _: Path) -> None:
    video.write_text("a secret")


def pipe(video: Path, _: Path) -> None:
    os.mkfifo(video)


@pytest.mark.parametrize("forge", [link, playlist, concatenation, text, pipe])
def test_no_other_file_is_read(site, tmp_path, key, filmed, forge):
    """What was recorded is replaced by something that leads elsewhere, or by no video at all."""
    with served(site, tmp_path) as client:
        (site / "hall.mp4").unlink()
        forge(site / "hall.mp4", filmed.video)
        for what in ("frame", "moment", "video"):
            answer = client.get(f"/api/pictures/{key}/{what}")
            assert answer.status_code == 415, what
            assert set(answer.json()) == {"detail"}


def test_no_path_comes_from_a_request(site, tmp_path, key):
    with served(site, tmp_path) as client:
        for path in (
            f"{key}/../../../etc/passwd",
            "%2e%2e%2fetc%2fpasswd/video",
            f"{key}%2f..%2f/video",
            "hall.mp4/video",
        ):
            assert client.get(f"/api/pictures/{path}").status_code in (404, 422)


def test_a_video_needs_the_token_or_a_pass_made_with_it_for_this_picture(site, tmp_path, key):
    other = key_of(site / "yard" / "30.png")
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    with served(site, tmp_path, token=TOKEN) as client:
        for what in ("picture", "frame", "moment", "video"):
            assert client.get(f"/api/pictures/{key}/{what}").status_code == 401
        video = client.get(f"/api/pictures/{key}/moment", headers=with_token).json()["video"]
        assert client.get(f"/{video}", headers={"Range": "bytes=0-3"}).status_code == 206
        for forged in (
            video.replace(key, other),
            video.replace("/video", "/frame"),
            video[:-1],
            video.replace("=", "=9"),
        ):
            assert client.get(f"/{forged}").status_code == 401


def test_a_pass_ends():
    now, path = [0.0], f"/api/pictures/{'a' * 64}/video"
    passes = Passes(lambda: now[0])
    made = passes.make("a" * 64)
    assert passes.opens(made, path)
    assert not passes.opens("", path)
    now[0] = 7 * 3600.0
    assert not passes.opens(made, path)
