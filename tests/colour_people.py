"""A small world for the tests of gallery and service: people of plain colours, and an encoder of colours.

`FakeEncoder` sees colours, so that a picture's nearest are those with the same clothes, and sentences name colours.
`draw` draws a person; `filled` makes a gallery, in which `JOINED` says whose labels are joined. `running` serves an
application, `process` a gallery in a process of its own. The fixtures below are shared by both rooms' conftest.py.
"""

import hashlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image, ImageDraw

from ccafl.calibration import Calibration
from ccafl.encoders.encoder import Encoded
from ccafl.gallery.adding import Picture, add_pictures
from ccafl.gallery.gallery import Gallery

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 160, 40),
    "blue": (30, 40, 200),
    "yellow": (220, 200, 40),
    "white": (240, 240, 240),
    "black": (15, 15, 15),
}
PERSONS = (("red", "blue"), ("green", "black"), ("yellow", "red"), ("white", "green"))  # above and below the belt
CAMERAS = ("entrance", "corridor", "yard")
SHOTS = 2  # per person and camera
FIRST = datetime(2026, 5, 4, 12, tzinfo=UTC)
JOINED = {  # the last person's labels are not joined
    (camera, f"{camera[0]}{person}"): str(person) for camera in CAMERAS for person in range(len(PERSONS) - 1)
}


class FakeEncoder:
    """Sees where colours are, how green the first pixel is, and which named colours occur; uses no model.

    Set ``fingerprint`` for another model, ``describes`` for one without a text tower,
    ``calibration`` for scores as probabilities.
    """

    def __init__(
        self, *, fingerprint: str = "f" * 64, describes: bool = True, calibration: Calibration | None = None
    ) -> None:
        self.fingerprint, self.name, self.place, self.runtime = fingerprint, "colours", Path("/colours"), "numpy"
        self.dim, self.describes = 3 * 64 + 2, describes
        self.text_dim = len(COLOURS) if describes else None
        self.camera_names: tuple[str, ...] = CAMERAS
        self.takes_cameras = False
        self.calibration: Calibration | None = calibration
        self.drawn = False

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        small = np.stack([np.asarray(p.convert("RGB").resize((12, 24), Image.Resampling.BOX)) for p in pictures])
        bins = (small.astype(np.int64) >> 6) @ [16, 4, 1]
        bands = bins.reshape(len(pictures), 3, -1)
        counts = (bands[..., None] == np.arange(64)).sum(2).reshape(len(pictures), -1)
        shade = small[:, 0, 0, 1] * (np.pi / 64)
        features = np.column_stack([np.sqrt(counts), 4 * np.cos(shade), 4 * np.sin(shade)])
        named = np.array(list(COLOURS.values()))
        distances = np.linalg.norm(small[:, :, :, None].astype(np.float64) - named, axis=-1)
        shares = ((distances == distances.min(-1, keepdims=True)) & (distances < 80)).sum((1, 2))
        return Encoded(_unit(features), _unit(shares + 0.01) if self.describes else None)

    def encode_text(self, sentences: Sequence[str]) -> np.ndarray:
        return _unit([[0.01 + (colour in sentence.split()) for colour in COLOURS] for sentence in sentences])


def _unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(person: int, shade: int = 0, size: tuple[int, int] = (32, 64)) -> Image.Image:
    """A person in front of a grey wall; ``shade`` (0, 1, ...) makes another picture of the same colours."""
    image = Image.new("RGB", size, (120, 120 + shade, 120))
    pen = ImageDraw.Draw(image)
    width, height = size
    for colour, (top, bottom) in zip(PERSONS[person], ((0.2, 0.6), (0.6, 1)), strict=True):
        pen.rectangle((width // 5, int(top * height), 4 * width // 5, int(bottom * height)), fill=COLOURS[colour])
    return image


def filled(folder: Path, encoder: FakeEncoder, people: Sequence[Picture]) -> Gallery:
    """An open gallery of ``people``, joined by `JOINED`."""
    gallery = Gallery.create(folder, encoder)
    add_pictures(gallery, encoder, people)
    gallery.join(JOINED)
    return gallery


def key_of(path: Path) -> str:
    """The key of a file in a gallery."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def running(app) -> Iterator[str]:
    """Serve the application over a real connection; gives its address once it is ready."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, server_header=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = "http://{}:{}".format(*listener.getsockname())
        try:
            while httpx.get(f"{address}/ready").status_code != 200:
                time.sleep(0.02)
            yield address
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def process(folder: Path, *, before: str = "", verify=True, **settings) -> Iterator[tuple[subprocess.Popen, str]]:
    """Serve the gallery in a process of its own; gives the process and its address, and kills it at the end.

    ``before`` is code that it runs first; ``verify`` is a TLS context that trusts its certificate.
    """
    settings = {"port": 0} | settings
    code = f"{before}; " * bool(before) + (
        "from pathlib import Path; from colour_people import FakeEncoder; from ccafl.gallery.gallery import Gallery; "
        "from ccafl.service.limits import ServiceSettings; from ccafl.service.server import serve; "
        f"serve(Gallery.open(Path({str(folder)!r})), FakeEncoder(), ServiceSettings(**{settings!r}))"
    )
    paths = filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))
    here = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=here) as service:
        try:
            address = re.search(r"https?://\S+", service.stderr.readline()).group()
            while httpx.get(f"{address}/ready", verify=verify).status_code != 200:
                time.sleep(0.02)
            yield service, address
        finally:
            service.kill()


def place_of(address: str) -> tuple[str, int]:
    """Host and port of an address."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return host, int(port)


def until(condition) -> None:
    """Wait until the condition holds, for at most a minute, far more than it takes."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def memory(service: subprocess.Popen) -> int:
    """The process's peak memory in bytes."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text()).group(1))


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> list[Picture]:
    """Picture files with camera, label and time: a minute apart, camera by camera."""
    folder = tmp_path_factory.mktemp("people")
    pictures = []
    for number, camera in enumerate(CAMERAS):
        for person in range(len(PERSONS)):
            for shot in range(SHOTS):
                path = folder / f"{camera}-{person}-{shot}.png"
                draw(person, number * SHOTS + shot).save(path)
                time = FIRST + timedelta(minutes=len(pictures))
                pictures.append(Picture(path, camera, f"{camera[0]}{person}", time))
    return pictures


@pytest.fixture
def encoder() -> FakeEncoder:
    """The encoder of the galleries here."""
    return FakeEncoder()


@pytest.fixture
def gallery(tmp_path, people, encoder):
    """An open gallery of all people, joined by `JOINED`."""
    with filled(tmp_path / "gallery.db", encoder, people) as made:
        yield made
