"""Names that attack: what is written from them is no formula, no markup and no command to the terminal."""

import base64
import csv
import io
import shutil
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from ccafl.cli import main
from ccafl.data.source import read_source
from ccafl.data.tables import rows_of_csv
from ccafl.gallery.adding import thumbnail as gallery_thumbnail
from ccafl.report.page import thumbnail as page_thumbnail
from ccafl.run_folder import read_association
from ccafl.terminal import printable
from colour_people import FakeEncoder, filled, people
from small_runs import SMALL, as_options
from walking_frames import ingested, walking_frames

__all__ = ["people"]

CAMERAS = ("=1+1", "[bold]\x1b[2J", "<script>alert(1)</script>")
LABELS = ("@SUM(A1)", "+a\x9b31m", "-x", ":smile:", "$\\alpha$", "\u202eg\u2028pj", "'=2", "]]><b>")
MARKUP = "<img src=\\\\evil.example\\x onerror=alert(1)>"  # without a slash, as a folder's name may be
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """``<camera>/<label>/<image>``, with training and test images; a label is a person everywhere."""
    root = tmp_path_factory.mktemp("hostile") / "data"
    for part, labels in (("", LABELS), ("query", LABELS[:2]), ("gallery", LABELS[:2])):
        for camera_number, camera in enumerate(CAMERAS):
            for number, label in enumerate(labels):
                folder = root / part / camera.replace("/", "|") / label
                folder.mkdir(parents=True)
                Image.new("RGB", (16, 32), (30 * number, 80 * camera_number, len(part))).save(folder / "1.png")
                Image.new("RGB", (16, 32), (30 * number, 80 * camera_number, 90)).save(folder / "2.png")
    return root


def shown(*arguments: object, code: int = 0) -> str:
    """What a command prints; it must not command the terminal."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text), pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = text.getvalue()
    assert ended.value.code == code, said
    assert printable(said) == said
    return said


def no_formulas(table: Path) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        for value in (value for row in csv.reader(file) for value in row):
            assert not value.startswith(FORMULA) or value == "-1", value


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A run with a hostile name, trained on hostile names."""
    run = tmp_path_factory.mktemp("hostile") / MARKUP
    shown("train", "market-split", "--data", data, "--out", run, *as_options((*SMALL, "stage2.association.rate=1.0")))
    return run


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Path:
    """The run's report, with pictures."""
    page = tmp_path_factory.mktemp("hostile") / "page.html"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing from")  # a glyph, says matplotlib
        shown("report", run, "--out", page, "--with-images")
    return page


def test_hostile_names_end_as_text_wherever_they_are_written(data, run, tmp_path):
    joined = tmp_path / "joined.csv"
    assert r"[bold]\x1b[2J" in shown("data", "check", data)
    shown("associate", run, "--data", data, "--out", joined)
    cameras = [camera.replace("/", "|") for camera in CAMERAS]
    for table in (joined, run / "association.csv"):
        no_formulas(table)
        assert set(read_association(table)) == {(camera, label) for camera in cameras for label in LABELS}
    shown("evaluate", run, "--data", data)
    assert "not allowed" in shown("gallery", "add", run, data, "--db", tmp_path / "gallery", code=2)


def test_hostile_names_are_text_in_a_report(page):
    html = page.read_text()
    assert "<script>alert" not in html
    assert "<img src=\\" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "]]><b>" not in html


def test_a_report_of_hostile_names_runs_nothing_and_loads_nothing(page, browser):
    asked, said = [], []
    tab = browser.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.as_uri())
    for folded in tab.locator("summary").all():
        folded.click()
    assert MARKUP in tab.locator("body").inner_text()
    assert tab.locator("[onerror], body script").count() == 0
    assert asked.pop(0) == page.as_uri()
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []
    assert said == []


def test_a_manifest_with_hostile_names_is_no_formula_and_read_as_it_was(tmp_path):
    rows = ["image,camera,label,person"]
    for camera in ("=c1", "@c2"):
        for person in range(6):
            name = f"={camera[1:]}-{person}.png"
            Image.new("RGB", (8, 16)).save(tmp_path / name)
            rows.append(f"{name},{camera},+{person}a,=p{person}")
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    shown("data", "split", tmp_path / "mine.csv", tmp_path / "split.csv")
    no_formulas(tmp_path / "split.csv")
    before, after = (read_source(tmp_path / name).records for name in ("mine.csv", "split.csv"))
    assert {(r.path, r.camera, r.person) for r in after} == {(r.path, r.camera, r.person) for r in before}


def test_footage_of_a_hostile_camera_is_no_formula(tmp_path):
    camera, out = "@hall\x1b[2J", tmp_path / "out"
    walking_frames(tmp_path, camera)
    shown("ingest", *ingested(tmp_path, camera), "--out", out)
    no_formulas(out / "manifest.csv")
    records = read_source(out).records
    assert {record.camera for record in records} == {camera}
    assert all(record.path.is_file() for record in records)
    assert {row["source"] for _, row in rows_of_csv(out / "manifest.csv", ("source",))} == {str(tmp_path / "frames")}


def test_a_name_makes_no_line_of_its_own(data, run, tmp_path):
    """Not even among the names of skipped images, which have a line each."""
    shutil.copytree(data, tmp_path / "data")
    bad = next((tmp_path / "data" / "=1+1").glob("*/1.png")).with_name("a.png\nerror: \x1b[2J\u2028forged.png")
    bad.write_bytes(b"no picture")
    out = tmp_path / "features.parquet"
    said = shown("extract", run, "--images", tmp_path / "data", "--out", out, "--skip-unreadable")
    assert "forged" in said
    assert not any(line.startswith(("error", "forged")) for line in said.splitlines())


def test_a_persons_hostile_name_is_no_formula_and_no_command(tmp_path, people):
    db, name = tmp_path / "gallery.db", "=HYPERLINK(1)[bold]\x9b2J"
    with filled(db, FakeEncoder(), people) as gallery:
        gallery.name("0", name)
    assert "=HYPERLINK(1)[bold]" in shown("gallery", "info", "--db", db)
    shown("gallery", "export", tmp_path / "out.csv", "--db", db)
    no_formulas(tmp_path / "out.csv")
    rows = [row for _, row in rows_of_csv(tmp_path / "out.csv", ("identity", "name"))]
    assert {row["identity"]: row["name"] for row in rows} == {"0": name, "1": "", "2": "", "": ""}


def test_thumbnails_carry_nothing_of_the_files_metadata():
    exif = Image.Exif()
    exif[0x010E] = "secret in EXIF"
    file = io.BytesIO()
    Image.new("RGB", (300, 600)).save(file, "JPEG", comment=b"secret comment", exif=exif, icc_profile=b"secret" * 30)
    for picture in (Image.open(file), Image.open(file).convert("RGB")):
        assert b"secret" not in gallery_thumbnail(picture)
        assert b"secret" not in base64.b64decode(page_thumbnail(picture).partition(",")[2])
