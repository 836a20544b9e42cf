"""Names that attack: what is written from them is no formula, no markup and no command to the terminal."""

import base64
import csv
import io
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
LABELS = ("@SUM(A1)", "+a\x9b31m", "-x", ":smile:", "$\\alpha$", "\u202egpj", "'=2", "]]><b>")
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


def shown(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints; it must not command the terminal."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = "".join(capfd.readouterr())
    assert ended.value.code == 0, said
    assert printable(said) == said
    return said


def no_formulas(table: Path) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        for value in (value for row in csv.reader(file) for value in row):
            assert not value.startswith(FORMULA) or value == "-1", value


def test_hostile_names_end_as_text_wherever_they_are_written(data, tmp_path, capfd):
    run, joined, page = tmp_path / "run", tmp_path / "joined.csv", tmp_path / "page.html"
    training = ("train", "market-split", "--data", data, "--out", run, *as_options(SMALL))
    said = shown(capfd, "data", "check", data)
    assert r"[bold]\x1b[2J" in said
    shown(capfd, *training, "--set", "stage2.association.rate=1.0")
    shown(capfd, "associate", run, "--data", data, "--out", joined)
    cameras = [camera.replace("/", "|") for camera in CAMERAS]
    for table in (joined, run / "association.csv"):
        no_formulas(table)
        assert set(read_association(table)) == {(camera, label) for camera in cameras for label in LABELS}
    said = shown(capfd, "report", run, "--out", page, "--with-images")
    assert "missing from" not in said  # a glyph, says matplotlib
    html = page.read_text()
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "]]><b>" not in html


def test_a_manifest_with_hostile_names_is_no_formula_and_read_as_it_was(tmp_path, capfd):
    rows = ["image,camera,label,person"]
    for camera in ("=c1", "@c2"):
        for person in range(6):
            name = f"={camera[1:]}-{person}.png"
            Image.new("RGB", (8, 16)).save(tmp_path / name)
            rows.append(f"{name},{camera},+{person}a,=p{person}")
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    shown(capfd, "data", "split", tmp_path / "mine.csv", tmp_path / "split.csv")
    no_formulas(tmp_path / "split.csv")
    before, after = (read_source(tmp_path / name).records for name in ("mine.csv", "split.csv"))
    assert {(r.path, r.camera, r.person) for r in after} == {(r.path, r.camera, r.person) for r in before}


def test_footage_of_a_hostile_camera_is_no_formula(tmp_path, capfd):
    camera, out = "@hall\x1b[2J", tmp_path / "out"
    walking_frames(tmp_path, camera)
    shown(capfd, "ingest", *ingested(tmp_path, camera), "--out", out)
    no_formulas(out / "manifest.csv")
    records = read_source(out).records
    assert {record.camera for record in records} == {camera}
    assert all(record.path.is_file() for record in records)
    assert {row["source"] for _, row in rows_of_csv(out / "manifest.csv", ("source",))} == {str(tmp_path / "frames")}


def test_a_persons_hostile_name_is_no_formula_and_no_command(tmp_path, people, capfd):
    db, name = tmp_path / "gallery.db", "=HYPERLINK(1)[bold]\x9b2J"
    with filled(db, FakeEncoder(), people) as gallery:
        gallery.name("0", name)
    assert "=HYPERLINK(1)[bold]" in shown(capfd, "gallery", "info", "--db", db)
    shown(capfd, "gallery", "export", tmp_path / "out.csv", "--db", db)
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
