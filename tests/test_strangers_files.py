"""Every kind of file that is read, as a stranger might make it: it is read, or refused in one line; nothing hangs."""

import io
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ccafl.config import dump, load_config
from ccafl.data.images import FORMATS, load_image, picture_size
from ccafl.data.links import read_links
from ccafl.data.source import read_source
from ccafl.data.topology import read_topology
from ccafl.data.trusted import trusted
from ccafl.encoders.encoder import open_encoder
from ccafl.encoders.export_metadata import _MARK as MARK
from ccafl.encoders.export_metadata import ExportMetadata, seal_onnx
from ccafl.footage.cameras import read_camera_table
from ccafl.footage.frames import Damage, FrameFolder, VideoFile
from ccafl.footage.given import read_detections, read_tracks
from ccafl.footage.ingest import ABOUT, finished
from ccafl.gallery import Gallery
from ccafl.model.weights import read_weights, write_weights
from ccafl.report.inputs import drawn_by_ccafl, read_events
from ccafl.run_folder import RunFolder, read_association
from ccafl.service.commands import _secret
from ccafl.training.checkpoint import load_checkpoint, save_checkpoint
from colour_people import FakeEncoder, filled
from harm import Tally, mutated, refused_at_most

SECONDS = float(os.environ.get("CCAFL_TEST_FUZZ_SECONDS", "20"))  # for each entrance, in the long form
FEW = 40  # files of each kind in the short form

MANIFEST = (
    "image,camera,label,split,person,time\n"
    "a/1.jpg,c1,007,train,7,2026-05-01T10:00:00Z\n"
    'a/2.jpg,c2,"x, y",train,7,2026-05-01T10:00:01\n'
    "a/3.jpg,c1,7,query,9,\na/4.jpg,c2,8,gallery,9,2026-05-01\n"
)
LINKS = "kind,camera_a,label_a,camera_b,label_b\nmust_link,c1,1,c2,2\ncannot_link,c1,3,c2,2\n"
TOPOLOGY = "camera_a,camera_b,shared,least_seconds,most_seconds\nc1,c2,yes,5,60\nc2,c3,never,,\n"
CVAT = """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>
<track id="0" label="person"><box frame="0" xtl="1.5" ytl="2" xbr="30" ybr="60" outside="0"/>
<box frame="1" xtl="2.5" ytl="2" xbr="31" ybr="60" outside="1"/></track></annotations>"""
EVENTS = [
    {"stage": 1, "epoch": 0, "losses": {"text": 1.5}, "seconds": 2.0},
    {"stage": 2, "epoch": 0, "phase": "intra-camera", "losses": {"total": 2}, "association": {"precision": None}},
]


def parquet() -> bytes:
    rows = [line.split(",") for line in MANIFEST.replace('"x, y"', "x").splitlines()]
    file = io.BytesIO()
    pq.write_table(pa.table(dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))), file)
    return file.getvalue()


def picture(form: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 12, 3), dtype=np.uint8)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    Image.fromarray(noise).save(file, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return file.getvalue()


def sealed_export(path: Path) -> None:
    """As whoever forges an export can: the digest is put right."""
    blank = re.sub(re.escape(MARK) + rb"[0-9a-f]{64}", lambda _: MARK + b"0" * 64, path.read_bytes())
    path.write_bytes(blank)
    if MARK + b"0" * 64 in blank:
        seal_onnx(path)
    open_encoder(path)


def film(folder: Path) -> bytes:
    import av

    path = folder / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(12):
            pixels = np.full((64, 64, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def frames_of(path: Path) -> None:
    video = VideoFile(path)
    for _, (number, _, _) in zip(range(50), video.frames(0.0, Damage()), strict=False):
        assert number


def rate_of(path: Path) -> None:
    frames = FrameFolder(path.parent)
    assert 0 < frames.rate < 1e4


def whole_gallery(path: Path) -> None:
    with Gallery.open(path.parent, read_only=True) as gallery:
        gallery.info()
        for entries, _ in gallery.all():
            [gallery.thumbnail(entry.key) for entry in entries]
        gallery.ledger.corrections()
        gallery.camera_statistics()


def gallery_file(folder: Path) -> bytes:
    from ccafl.gallery.adding import Picture

    for number in range(6):
        Image.new("RGB", (16, 32), (40 * number, 0, 90)).save(folder / f"{number}.png")
    people = [Picture(folder / f"{n}.png", f"c{n % 2}", f"p{n}") for n in range(6)]
    filled(folder / "g", FakeEncoder(), people).close()
    return (folder / "g" / "gallery.sqlite").read_bytes()


def checkpoint(folder: Path) -> bytes:
    path = folder / "last.pt"
    save_checkpoint(path, {"stage": 2, "epoch": 1, "encoder": {"weight": torch.ones(3, 4)}, "camera_names": ["c1"]})
    return path.read_bytes()


def weights(folder: Path, how: str) -> bytes:
    path, state = folder / f"weights.{how}", {"layer.weight": torch.ones(3, 4), "layer.bias": torch.zeros(3)}
    if how == "safetensors":
        write_weights(path, state)
    elif how == "jit":
        torch.jit.script(torch.nn.Linear(4, 3)).save(path)
    else:
        torch.save(state, path)
    return path.read_bytes()


def onnx_file(folder: Path) -> bytes:
    """An export without weights worth the name: what is read of it before a session is made, and the session."""
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 4])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 96])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 96])
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["features"])]
    graph = helper.make_graph(nodes, "g", [images], [features], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    properties = ExportMetadata("0" * 64, "run", (8, 4), ("c1",)).properties()
    helper.set_model_props(model, properties)
    path = folder / "sealed.onnx"
    path.write_bytes(model.SerializeToString())
    seal_onnx(path)
    return path.read_bytes()


Entrance = tuple[str, bytes, Callable[[Path], object]]
"""A file's name, an honest content, and what reads it."""


def kinds(folder: Path) -> dict[str, Entrance]:
    """The entrance of each kind of file."""
    run = lambda path: RunFolder(path.parent)  # noqa: E731
    jsonl = "".join(json.dumps(event) + "\n" for event in EVENTS).encode()
    about = json.dumps({"settings": {"fps": 5}, "counts": {"frames": 3, "seconds": 1.5}}).encode()
    found: dict[str, Entrance] = {
        "manifest": ("manifest.csv", MANIFEST.encode(), lambda path: read_source(path, outside=True)),
        "manifest in its folder": ("manifest.csv", MANIFEST.encode("utf-16"), lambda path: read_source(path.parent)),
        "manifest as Parquet": ("manifest.parquet", parquet(), lambda path: read_source(path, outside=True)),
        "settings": ("own.yaml", dump(load_config("own")).encode(), lambda path: load_config(str(path))),
        "a run's settings": ("config.yaml", dump(load_config("own")).encode(), lambda path: run(path).read_config()),
        "a run's data": ("data.json", b'{"path": "/data", "source": "folder"}', lambda path: run(path).read_data()),
        "results": (
            "results.json",
            b'{"mAP": 0.5, "f1": {"a": null}}',
            lambda path: run(path).read_results(),
        ),
        "events": ("events.jsonl", jsonl, read_events),
        "association": ("joined.csv", b"camera,label,identity\nc1,1,0\nc2,1,-1\n", read_association),
        "links": ("links.csv", LINKS.encode(), read_links),
        "topology": ("cameras.csv", TOPOLOGY.encode(), lambda path: read_topology(path, ["c1", "c2", "c3"])),
        "topology as YAML": (
            "cameras.yaml",
            b"- {camera_a: c1, camera_b: c2, shared: yes, least_seconds: 5}\n"
            b"- {camera_a: c2, camera_b: c3, shared: never}\n",
            lambda path: read_topology(path, ["c1", "c2", "c3"]),
        ),
        "cameras' starts": ("c.csv", b"camera,start,fps\nc1,2026-05-01T10:00,25\nc2,,12.5\n", read_camera_table),
        "detections": ("det.txt", b"1,-1,10,20,30,60,0.9,-1,-1,-1\n2,-1,11,20,30,60,0.8\n", read_detections),
        "tracks": ("gt.txt", b"1,1,10,20,30,60,1,1,0.9\n2,1,11,20,30,60,1,1,0.8\n", read_tracks),
        "tracks as CVAT": ("tracks.xml", CVAT.encode(), read_tracks),
        "rate of frames": ("seqinfo.ini", b"[Sequence]\nname=a\nframeRate=25\nseqLength=2\n", rate_of),
        "footage done": (ABOUT, about, lambda path: finished(path.parent.parent, path.parent.name, {"fps": 5})),
        "world": ("world.json", b'{"seed": 0, "persons": 3}', lambda path: drawn_by_ccafl(path.parent)),
        "token": ("token", b"secret\n", lambda path: _secret(None, path)),
        "checkpoint": ("last.pt", checkpoint(folder), load_checkpoint),
        "export": ("model.onnx", onnx_file(folder), open_encoder),
        "export, sealed again": ("model.onnx", onnx_file(folder), sealed_export),
        "gallery": ("gallery.sqlite", gallery_file(folder), whole_gallery),
        "video": ("film.mp4", film(folder), frames_of),
        "trusted tables": ("table", b"a\n", trusted),
    }
    for how in ("safetensors", "pt", "jit"):
        found[f"weights ({how})"] = (f"weights.{how}", weights(folder, how), read_weights)
    for form in FORMATS:
        found[form] = (f"picture.{form}", picture(form), lambda path: (picture_size(path), load_image(path)))
    return found


@pytest.fixture(scope="module")
def entrances(tmp_path_factory) -> dict[str, Entrance]:
    return kinds(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with a frame, so that a sequence of frames is one."""
    folder = tmp_path / "camera"
    folder.mkdir()
    Image.new("RGB", (8, 16)).save(folder / "1.png")
    return folder


def attack(kind: str, entrance: Entrance, place: Path, moments: Iterator[object], tally: Tally) -> None:
    """Read honest content, then mutations for as long as there are moments."""
    name, honest, read = entrance
    chance, path = random.Random(kind), place / name
    path.write_bytes(honest)
    read(path)
    for _ in moments:
        path.write_bytes(mutated(honest, chance))
        with tally.attempt(), refused_at_most():
            read(path)


def until(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield


def test_some_changed_files_of_every_kind_are_read_or_refused(entrances, place, tally):
    for kind, entrance in entrances.items():
        attack(kind, entrance, place, iter(range(FEW)), tally)


@pytest.mark.faults
def test_changed_files_of_every_kind_are_read_or_refused(entrances, place, tally):
    for kind, entrance in entrances.items():
        attack(kind, entrance, place, until(time.monotonic() + SECONDS), tally)
