"""The gallery's commands, run on a small world: training, adding, searching, correcting and forgetting."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import ccafl
from ccafl.cli import main
from ccafl.config import load_config
from ccafl.data.numbering import accumulate
from ccafl.data.source import read_source
from ccafl.encoders import open_encoder
from ccafl.gallery import Gallery, adding, commands, merge, search, split
from ccafl.gallery.commands import parse_time
from ccafl.gallery.entries import Found, Hit
from ccafl.gallery.sheet import COLUMNS, contact_sheet
from ccafl.training.association import associate_identities
from colour_people import FakeEncoder, draw, key_of
from small_runs import refusal, run


@pytest.fixture(scope="module")
def trained(small_run) -> Path:
    return small_run


@pytest.fixture(scope="module")
def kept(trained, world, tmp_path_factory) -> Path:
    """A gallery of the world, which tests must not change."""
    db = tmp_path_factory.mktemp("galleries") / "gallery.db"
    run("gallery", "add", trained, world, "--db", db)
    return db


@pytest.fixture
def db(kept, tmp_path) -> Path:
    """A copy of the gallery that tests may change."""
    return Path(shutil.copytree(kept, tmp_path / "gallery.db"))


def records(world: Path) -> list:
    source = read_source(world)
    return [*source.train, *source.query, *source.gallery]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


# --- A gallery of a run -----------------------------------------------------------------------------------------------


def test_adding_again_adds_nothing_and_a_run_brings_its_identities(kept, trained, world, tmp_path, capsys):
    before = json.dumps(_dump(kept))
    run("gallery", "add", trained, world, world / "manifest.csv", "--db", kept)
    shown = capsys.readouterr().out
    count = len(records(world))
    assert re.search(r"added\s+│ 0", shown)
    assert re.search(rf"known\s+│ {count}", shown)
    assert re.search(rf"duplicates\s+│ {count}", shown)
    assert json.dumps(_dump(kept)) == before
    table = {(r["camera"], r["label"]): r["identity"] for r in rows_of(trained / "association.csv")}
    with Gallery.open(kept) as gallery:
        assert gallery.ledger.identities() == {t: identity for t, identity in table.items() if identity != "-1"}
        assert gallery.model_place == trained
        entries = {e.source: e for some, _ in gallery.all() for e in some}
        for record in records(world):
            entry = entries[str(record.path)]
            assert (entry.camera, entry.time) == (record.camera, record.time)


def _dump(db: Path) -> list:
    with Gallery.open(db) as gallery:
        return [
            [str(e), *map(float, row)]
            for some, encoded in gallery.all()
            for e, row in zip(some, encoded.features, strict=True)
        ]


def test_features_are_those_of_the_run(kept, trained, world):
    with Gallery.open(kept) as gallery:
        path = records(world)[0].path
        found = gallery.vectors([key_of(path)])
    np.testing.assert_allclose(found, ccafl.load(trained).embed([path]).numpy(), atol=2e-2)


def test_info_shows_what_a_gallery_holds(kept, trained, world, capsys):
    run("gallery", "info", "--db", kept)
    shown = capsys.readouterr().out.replace("\n", "")
    count = len(records(world))
    for words in (
        rf"pictures\s+│ {count} ",
        r"camera c1\s+│ \d+ ",
        r"identities\s+│ \d+ ",
        r"taken\s+│ 20\d\d-",
        "run ",
    ):
        assert re.search(words, shown), words
    with Gallery.open(kept) as gallery:
        info = gallery.info()
    times = [record.time for record in records(world)]
    assert (info.first, info.last) == (min(times), max(times))
    assert (info.model_place, info.where) == (trained, kept / "gallery.sqlite")


def test_a_search_writes_a_sheet_and_a_table(kept, world, tmp_path, capsys):
    query = records(world)[0]
    sheet, table, rows = tmp_path / "sheet.jpg", tmp_path / "found.json", tmp_path / "found.csv"
    run("search", query.path, "--db", kept, "--limit", 5, "--sheet", sheet, "--json", table, "--csv", rows)
    shown, said = capsys.readouterr()
    assert said.count("was not calibrated by a training, so scores are cosines") == 1
    assert "was trained on drawn persons" not in said, "these are drawn, too"
    assert f"written to {sheet}" in shown.replace("\n", "")
    assert re.search(rf"│ 1 +│ 1\.0000 +│ +\d* *│ {query.camera} ", shown)
    found = json.loads(table.read_text())
    with rows.open() as file:
        listed = [(row["key"], row["probability"]) for row in csv.DictReader(file)]
    assert listed == [(hit["key"], "") for hit in found["hits"]]
    assert len(found["hits"]) == 5
    scores = {hit["source"]: hit["score"] for hit in found["hits"]}
    assert scores[str(query.path)] == pytest.approx(max(scores.values()), abs=1e-6), "float32 may swap the very nearest"
    assert query.time.isoformat() in {hit["time"] for hit in found["hits"]}
    assert sorted(key for group in found["identities"] for key in group["keys"]) == sorted(
        hit["key"] for hit in found["hits"]
    )
    assert found["more"] is True
    assert Image.open(sheet).width > 600
    others = ("--exclude-camera", query.camera, "--limit", len(records(world)))
    run("search", query.path, "--db", kept, *others, "--rerank", "--json", table)
    assert {hit["camera"] for hit in json.loads(table.read_text())["hits"]} == {"c1", "c2", "c3"} - {query.camera}


def test_the_python_calls_are_the_same(kept, world, tmp_path):
    path = records(world)[3].path
    run("search", path, "--db", kept, "--limit", 7, "--json", tmp_path / "found.json")
    with Gallery.open(kept) as gallery:
        encoder = open_encoder(gallery.model_place)
        found = search(gallery, encoder.encode([Image.open(path)]).features, limit=7)
    written = json.loads((tmp_path / "found.json").read_text())["hits"]
    assert [hit.entry.key for hit in found.hits] == [hit["key"] for hit in written]
    np.testing.assert_allclose([hit.score for hit in found.hits], [hit["score"] for hit in written], atol=1e-6)


def test_filters_boxes_and_several_pictures(kept, world, tmp_path):
    one, other = records(world)[0], records(world)[1]
    table = tmp_path / "found.json"

    def found(*arguments) -> list[dict]:
        run("search", "--db", kept, "--json", table, *arguments)
        return json.loads(table.read_text())["hits"]

    every = ("--limit", len(records(world)))
    assert {hit["camera"] for hit in found(one.path, "--camera", "c1", "--camera", "c3", *every)} == {"c1", "c3"}
    since, until = one.time.isoformat(), (other.time if other.time > one.time else one.time).isoformat()
    assert all(since <= hit["time"] < until for hit in found(one.path, "--since", since, "--until", until))
    width, height = Image.open(one.path).size
    box = (0, height // 2, width // 2, height // 2)
    asked = {
        (one.path, other.path): ([one.path, other.path], "mean"),
        (one.path, other.path, "--fusion", "max"): ([one.path, other.path], "max"),
        (one.path, "--box", f"-9,{box[1]},{box[2] + 9},999"): (
            [Image.open(one.path).crop((*box[:2], width // 2, height // 2 * 2))],
            "mean",
        ),
    }
    for arguments, (pictures, fusion) in asked.items():
        written = found(*arguments, "--limit", 9)
        with Gallery.open(kept) as gallery:
            features = (
                open_encoder(gallery.model_place)
                .encode([p if isinstance(p, Image.Image) else Image.open(p) for p in pictures])
                .features
            )
            expected = search(gallery, features, fusion=fusion, limit=9)
        assert [hit["key"] for hit in written] == [hit.entry.key for hit in expected.hits]
        assert [hit["score"] for hit in written] == [hit.score for hit in expected.hits]


def test_joining_within_the_gallery_is_the_runs_association(db, trained, world, capsys):
    run("gallery", "join", "--db", db)
    with Gallery.open(db) as gallery:
        entries = [(e, row) for some, encoded in gallery.all() for e, row in zip(some, encoded.features, strict=True)]
        now = gallery.ledger.identities()
    source = [record for record in records(world) if record.label]
    images = accumulate(sorted(source, key=lambda record: key_of(record.path)))
    features = {e.key: row for e, row in entries}
    ordered = torch.from_numpy(np.stack([features[key_of(path)] for path in images.paths]))
    settings = load_config(str(trained / "config.yaml")).stage2.association
    expected = associate_identities(ordered, images.identities, images.identity_cameras, settings)
    names = [images.camera_names[camera] for camera in images.identity_cameras]
    assert now == {
        (camera, label): str(identity)
        for camera, label, identity in zip(names, images.identity_labels, expected.identities.tolist(), strict=True)
        if identity >= 0
    }
    assert re.search(rf"joined labels\s+│ {len(now)} ", capsys.readouterr().out)


def _pictures(gallery: Gallery) -> dict[str, list[str]]:
    """Keys by identity, one per label."""
    found = defaultdict(dict)
    for some, _ in gallery.all():
        for entry in some:
            if entry.identity:
                found[entry.identity][entry.camera, entry.label] = entry.key
    return {identity: list(keys.values()) for identity, keys in found.items()}


def test_corrections_outlive_joining_and_adding_and_are_written_for_training(db, trained, world, tmp_path):
    with Gallery.open(db) as gallery:
        of = _pictures(gallery)
        apart, one, other = sorted(of, key=lambda identity: -len(of[identity]))[:3]
        merge(gallery, [of[one][0], of[other][0]])
        split(gallery, of[apart][:1])
        together = [gallery.get([of[i][0]])[0] for i in (one, other)]
        alone, left = gallery.get([of[apart][0], of[apart][1]])
    run("gallery", "corrections", tmp_path / "links.csv", "--db", db)
    rows = rows_of(tmp_path / "links.csv")
    assert sorted({row["kind"] for row in rows}) == ["cannot_link", "must_link"]
    joins = (
        ("gallery", "join", "--db", db),
        ("gallery", "join", "--db", db, "--association", trained / "association.csv"),
        ("gallery", "add", trained, world, "--db", db, "--association", trained / "association.csv"),
    )
    for command in joins:
        run(*command)
        with Gallery.open(db) as gallery:
            identities = gallery.ledger.identities()
        first, second = (identities[e.camera, e.label] for e in together)
        assert first == second
        assert identities.get((alone.camera, alone.label)) != identities.get((left.camera, left.label), "none")
    run("gallery", "corrections", tmp_path / "again.csv", "--db", db)
    assert rows_of(tmp_path / "again.csv") == rows


def test_adding_more_leaves_identities_as_they_were_made(db, trained, world):
    with Gallery.open(db) as gallery:
        gallery.join({("c1", "x"): "41"})
    run("gallery", "add", trained, world, "--db", db)
    with Gallery.open(db) as gallery:
        assert gallery.ledger.identities() == {("c1", "x"): "41"}


def test_removing_and_forgetting(db, capsys):
    with Gallery.open(db) as gallery:
        count = len(gallery)
        person, keys = max(_pictures(gallery).items(), key=lambda item: len(item[1]))
        pictures = len(gallery.of_identity(person))
    run("gallery", "forget", person, "--db", db)
    assert f"{pictures} pictures erased" in capsys.readouterr().out
    with Gallery.open(db) as gallery:
        assert gallery.get(keys) == []
        assert not gallery.ledger.tracklets_of(person)
        assert len(gallery) == count - pictures
        left = [e for some, _ in gallery.all() for e in some]
        of_camera = [e for e in left if e.camera == "c1"]
        cut = sorted(e.time for e in left if e.camera != "c1")[5]
        folder = Path(next(e.source for e in left if e.camera == "c3" and e.time >= cut)).parent
        below = [e for e in left if Path(e.source).parent == folder and e.time >= cut]
    run("gallery", "forget", "--camera", "c1", "--db", db)
    assert f"{len(of_camera)} pictures erased" in capsys.readouterr().out
    run("gallery", "forget", "--before", cut.isoformat(), "--db", db)
    assert "5 pictures erased" in capsys.readouterr().out
    relative = os.path.relpath(folder)
    run("gallery", "remove", relative, "--db", db)
    assert f"{len(below)} pictures erased" in capsys.readouterr().out
    with Gallery.open(db) as gallery:
        now = [e for some, _ in gallery.all() for e in some]
        assert len(now) == count - pictures - len(of_camera) - 5 - len(below)
        assert all(e.time >= cut and e.camera != "c1" and Path(e.source).parent != folder for e in now)
        assert gallery.ledger.thumbnail_keys() == {e.key for e in now}


def test_export_is_the_gallery(kept, tmp_path):
    run("gallery", "export", tmp_path / "out.parquet", "--db", kept)
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with Gallery.open(kept) as gallery:
        rows = [(e, row) for some, encoded in gallery.all() for e, row in zip(some, encoded.features, strict=True)]
    assert len(table) == len(rows)
    for written, (entry, features) in zip(table, rows, strict=True):
        assert written["features"] == features.tolist()
        properties = ("key", "camera", "time", "source", "label", "identity", "name")
        assert {name: written[name] for name in properties} == {name: getattr(entry, name) for name in properties}


# --- What is refused --------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_in_one_line(kept, trained, world, tmp_path, capsys):
    picture, nothing = records(world)[0].path, tmp_path / "nothing"
    draw(0).save(tmp_path / "loose.png")
    (tmp_path / "letter.jpg").write_text("dear")
    cases = {
        ("search", picture, "--db", nothing): "is not a gallery; make one",
        ("search", "--db", kept): "give either pictures of a person, or a description",
        ("search", picture, "--db", kept, "--text", "red"): "give either pictures of a person, or a description",
        ("search", nothing, "--db", kept): "cannot be read",
        ("search", tmp_path / "letter.jpg", "--db", kept): "not a picture",
        ("search", picture, "--db", kept, "--box", "1,2,3"): "is not x,y,width,height",
        ("search", picture, "--db", kept, "--box", "999,0,9,9"): "covers too little of the picture",
        ("search", picture, "--db", kept, "--json", tmp_path / "found.csv"): "must end in .json",
        ("gallery", "export", tmp_path / "out.xlsx", "--db", kept): "a table of pictures must end in .parquet, .csv",
        ("gallery", "corrections", tmp_path / "links.txt", "--db", kept): "a table of corrections must end in .csv",
        ("search", picture, "--db", kept, "--box", "0,0,9,9", "--box", "0,0,9,9"): "2 boxes for 1 picture;",
        ("search", picture, "--db", kept, "--since", "noon"): "--since noon: is not a time",
        (
            "search",
            picture,
            "--db",
            kept,
            "--sheet",
            tmp_path / "sheet.gif",
        ): "a contact sheet must end in .jpg, .jpeg, .png",
        ("search", picture, "--db", kept, "--limit", "99999"): "the best 1 to 16,384",
        ("search", picture, "--db", kept, "--limit", "201", "--rerank"): "re-ranking orders the 200 nearest",
        ("search", picture, "--db", kept, "--model", nothing): "is not a run",
        ("search", "--db", kept, "--text", "a man in red"): "no trained text tower",
        ("gallery", "info", "--db", nothing): "is not a gallery",
        ("gallery", "info", "--db", trained): "is not a gallery",
        ("gallery", "add", nothing, world, "--db", nothing): "is not a run",
        ("gallery", "add", trained, nothing, "--db", nothing): "no such file or folder",
        ("gallery", "add", trained, tmp_path, "--db", nothing): "--camera",
        ("gallery", "add", trained, world, "--db", trained): "exists and is not a gallery",
        (
            "gallery",
            "add",
            trained,
            world,
            "--db",
            nothing,
            "--association",
            world / "manifest.csv",
        ): "no column identity",
        ("gallery", "add", trained, world, "--db", nothing, "--uri", "http://127.0.0.1:9"): "Milvus does not answer",
        ("gallery", "add", trained, world, "--db", kept, "--uri", "http://127.0.0.1:9"): "leave out --uri",
        ("gallery", "remove", nothing, "--db", kept): "has no picture from there",
        ("gallery", "forget", "--db", kept): "give exactly one of",
        ("gallery", "forget", "1", "--camera", "c1", "--db", kept): "give exactly one of",
        ("gallery", "forget", "nobody", "--db", kept): "no identity nobody",
        ("gallery", "forget", "--camera", "c9", "--db", kept): "no camera of this gallery",
        ("gallery", "forget", "--before", "soon", "--db", kept): "--before soon: is not a time",
        ("gallery", "join", "--db", kept, "--association", nothing): "cannot be read",
        ("serve", "--db", nothing): "is not a gallery",
        ("serve", "--db", kept, "--host", "0.0.0.0"): "token",
    }
    before = _dump(kept)
    for arguments, message in cases.items():
        assert message in refusal(capsys, *arguments), arguments
    assert _dump(kept) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "letter.jpg",
        "loose.png",
        *(["nothing"] if nothing.exists() else []),
    ]


def test_another_or_missing_model_is_refused_in_one_line(db, trained, world, tmp_path, capsys):
    picture = records(world)[0].path
    with Gallery.open(db) as gallery:
        gallery.ledger.write_facts({"model_place": str(tmp_path / "moved")})
    assert "has moved or is gone; give its place with --model" in refusal(capsys, "search", picture, "--db", db)
    run("search", picture, "--db", db, "--model", trained)
    with Gallery.open(db) as gallery:
        gallery.ledger.write_facts({"fingerprint": "0" * 64})
    for arguments in (
        ("search", picture, "--model", trained),
        ("gallery", "add", trained, world),
        ("serve", "--model", trained),
    ):
        assert re.search("holds features of run .*use that model, or add", refusal(capsys, *arguments, "--db", db))


def test_a_gallery_in_use_is_refused_in_one_line(kept, capsys):
    with Gallery.open(kept):
        assert "is in use by another ccafl" in refusal(capsys, "gallery", "join", "--db", kept)
        run("gallery", "info", "--db", kept)


def test_unreadable_pictures_are_listed_and_the_rest_added(trained, world, tmp_path, capsys):
    folder = tmp_path / "yard"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(records(world)[0].path.read_bytes())
    (folder / "bad.jpg").write_text("dear")
    add = ("gallery", "add", trained, folder, "--db", tmp_path / "g.db", "--camera", "yard")
    assert "bad.jpg: not a picture" in refusal(capsys, *add)
    run(*add, "--skip-unreadable")
    out, err = capsys.readouterr()
    assert f"{folder / 'bad.jpg'}: not a picture" in err
    assert re.search(r"skipped\s+│ 1", out)
    with Gallery.open(tmp_path / "g.db") as gallery:
        assert [(e.camera, e.label) for some, _ in gallery.all() for e in some] == [("yard", "")]


def test_ctrl_c_says_how_to_resume(trained, world, tmp_path, monkeypatch, capsys):
    original, puts = Gallery.put, iter(range(100))

    def stopping(*arguments):
        if next(puts) == 1:
            raise KeyboardInterrupt
        original(*arguments)

    command = ["gallery", "add", str(trained), str(world), "--db", str(tmp_path / "g.db")]
    with monkeypatch.context() as patched:
        patched.setattr(adding, "BATCH", 20)
        patched.setattr(Gallery, "put", stopping)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 130
    said = "stopped; what is finished is kept: resume train with --resume, other commands by repeating them\n"
    assert capsys.readouterr().err == said
    with Gallery.open(tmp_path / "g.db") as gallery:
        assert len(gallery) == 20
    run(*command)
    with Gallery.open(tmp_path / "g.db") as gallery:
        assert len(gallery) == len(records(world))


# --- Descriptions, contact sheets, times, help ------------------------------------------------------------------------


def test_a_description_finds_people(gallery, tmp_path, monkeypatch):
    gallery.close()
    monkeypatch.setattr(commands, "model_of", lambda *_: FakeEncoder())
    found = commands.find(
        [], tmp_path / "gallery.db", text="yellow above and red below", sheet=tmp_path / "sheet.png", limit=6
    )
    assert {hit.entry.identity for hit in found.hits} == {"2"}
    assert Image.open(tmp_path / "sheet.png").width > 600


def test_a_sheet_shows_every_hit_and_query(gallery, encoder):
    found = search(gallery, encoder.encode([draw(1)]).features, limit=COLUMNS + 2)
    jpegs = [gallery.thumbnail(hit.entry.key) for hit in found.hits]
    two, one = (contact_sheet(queries, found.hits, jpegs) for queries in ([draw(1), draw(1)], [draw(1)]))
    assert two.size == one.size, "as high as the hits' two rows"
    assert two.tobytes() != one.tobytes()
    for number in range(len(jpegs)):
        without = contact_sheet([draw(1)], found.hits, [None if n == number else jpeg for n, jpeg in enumerate(jpegs)])
        assert without.tobytes() != one.tobytes()
    assert contact_sheet([], found.hits, jpegs).width < one.width
    long = Hit(found.hits[0].entry.__class__("0" * 64, "a very long camera name " * 20, None, "", "", ""), 0.5)
    assert contact_sheet([], [long], [None]).size == contact_sheet([], found.hits[:1], [None]).size
    assert contact_sheet([draw(0)], Found((), False).hits, []).width > 0


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-05-01", "2026-05-01T00:00:00+00:00"),
        ("2026-05-01T14:03", "2026-05-01T14:03:00+00:00"),
        ("2026-05-01T14:03:00Z", "2026-05-01T14:03:00+00:00"),
        ("2026-05-01T14:03:00+02:00", "2026-05-01T14:03:00+02:00"),
    ],
)
def test_times_are_read_as_iso_8601(text, time):
    assert parse_time(text, "--before").isoformat() == time


def test_help_needs_no_heavy_library():
    heavy = ("torch", "numpy", "pyarrow", "pymilvus", "fastapi", "PIL")
    imports = "import sys, ccafl.cli, ccafl.encoders, ccafl.gallery, ccafl.service"
    program = f"{imports}; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
