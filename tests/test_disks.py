"""Every command that writes, on a disk that is full or read-only: one line, exit code 2, and what was there stays.

The disks are real: file systems of memory, which root and, on most machines, any user can mount for a process.
"""

import shutil
import sys
from pathlib import Path

import pytest

from harm import can_mount, on_a_disk
from small_runs import SMALL, as_options
from small_runs import run as succeed
from walking_frames import ingested, walking_frames

PROGRAM = [sys.executable, "-c", "import sys; from ccafl.cli import main; main(sys.argv[1:])"]
LARGE = ("train", "resume", "export", "export program", "footage", "add", "forget", "export a gallery")
"""Commands whose outputs are cut short by a disk with a little room."""
READERS = ("info", "search", "check")
"""Commands that need no place on the disk where the gallery or the data are."""


@pytest.fixture(scope="module")
def things(world, small_run, tmp_path_factory) -> Path:
    """A gallery, footage, and what else commands begin with; tests do not change them."""
    folder = tmp_path_factory.mktemp("things")
    succeed("gallery", "add", small_run, world, "--db", folder / "gallery")
    walking_frames(folder, "hall")
    return folder


def command(name: str, disk: Path, world: Path, run: Path, things: Path) -> list[object]:
    picture, own_run, own = next(iter(sorted(world.rglob("*.jpg")))), disk / "run", ("--db", disk / "gallery")
    training = ("market-split", "--data", world, *as_options(SMALL))
    return {
        "train": ["train", *training, "--out", own_run],
        "resume": ["train", *training, "--set", "stage2.association.rate=1.0", "--out", own_run, "--resume"],
        "ablate": ["ablate", *training, "--out", disk / "rows", "--rows", "icdl", "--seeds", "0"],
        "demo": ["demo", "--out", disk / "demo"],
        "evaluate": ["evaluate", own_run, "--data", world],
        "extract": ["extract", run, "--images", world / "images", "--out", disk / "features.parquet"],
        "associate": ["associate", run, "--data", world, "--out", disk / "joined.csv"],
        "report": ["report", run, "--out", disk / "page.html"],
        "export": ["export", run, "--out", disk / "export"],
        "export program": ["export", run, "--program", "--out", disk / "export"],
        "ingest": ["ingest", *ingested(things, "hall"), "--out", disk / "crops"],
        "pretrain": [
            "pretrain",
            disk / "clip",
            "--persons",
            4,
            "--cameras",
            2,
            "--views",
            2,
            "--batch",
            4,
            "--epochs",
            1,
        ],
        "synthesize": ["data", "synthesize", disk / "world", "--persons", 3, "--cameras", 2],
        "footage": ["data", "synthesize", disk / "film", "--footage", "--persons", 2, "--cameras", 2, "--minutes", 0.1],
        "split": ["data", "split", world, disk / "split.csv"],
        "split as Parquet": ["data", "split", world, disk / "split.parquet"],
        "add to a new gallery": ["gallery", "add", run, world, "--db", disk / "new"],
        "add": ["gallery", "add", run, things / "frames", "--camera", "c9", *own],
        "join": ["gallery", "join", *own],
        "remove": ["gallery", "remove", world / "images" / "c1", *own],
        "forget": ["gallery", "forget", "--camera", "c1", *own],
        "export a gallery": ["gallery", "export", disk / "gallery.parquet", *own],
        "corrections": ["gallery", "corrections", disk / "corrections.csv", *own],
        "sheet": ["search", picture, "--db", things / "gallery", "--sheet", disk / "sheet.jpg"],
        "json": ["search", picture, "--db", things / "gallery", "--json", disk / "found.json"],
        "info": ["gallery", "info", *own],
        "search": ["search", picture, *own],
        "check": ["data", "check", disk / "world"],
    }[name]


BEGIN_WITH = {
    **dict.fromkeys(("resume", "evaluate"), "run"),
    **dict.fromkeys(
        ("add", "join", "remove", "forget", "export a gallery", "corrections", "info", "search"), "gallery"
    ),
    "check": "world",
}
"""What the disk holds at first."""
COMMANDS = (
    *("train", "resume", "ablate", "demo", "evaluate", "extract", "associate", "report", "export", "export program"),
    *("ingest", "pretrain", "synthesize", "footage", "split", "split as Parquet", "add to a new gallery", "add"),
    *("join", "remove", "forget", "export a gallery", "corrections", "sheet", "json", *READERS),
)


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder, those apart that fill the disk."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("full", "room")
    }


def without_a_place(name: str, how: str, tmp_path: Path, world: Path, run: Path, things: Path, room: int = 0) -> None:
    """Run a command on such a disk, and check what it says and leaves."""
    disk, before, after = (tmp_path / part for part in ("disk", "before", "after"))
    for folder in (disk, before, after):
        folder.mkdir()
    if not can_mount(disk):
        pytest.skip("no disk can be mounted: run as root, or where users may have namespaces")
    if name in BEGIN_WITH:
        place = {"run": run, "gallery": things / "gallery", "world": world}[BEGIN_WITH[name]]
        shutil.copytree(place, before / BEGIN_WITH[name])
    done = on_a_disk(disk, before, after, how, [*PROGRAM, *command(name, disk, world, run, things)], room=room)
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert name in READERS or room
        return
    assert name not in READERS, done.stderr
    assert done.returncode == 2, done.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], done.stderr
    assert str(disk) in errors[0]
    old, new = content(before), content(after)
    begun = {"events.jsonl", "config.yaml", "data.json", "lock", "demo.lock"}
    for file, written in new.items():
        name = Path(file).name
        assert not name.startswith("."), f"{file} is left behind"
        if file in old:
            assert written == old[file] or name == "lock" or not written.startswith(b"SQLite"), file
    assert old.keys() <= new.keys() | begun


@pytest.mark.parametrize("name", ["info", "forget"])
def test_a_full_disk_and_a_read_only_one_cost_one_line(name, tmp_path, world, small_run, things):
    for how in ("full", "read-only"):
        place = tmp_path / how
        place.mkdir()
        without_a_place(name, how, place, world, small_run, things)


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_a_full_or_read_only_disk(name, tmp_path, world, small_run, things, tally):
    for how, room in (("full", 0), *((("full", 100_000),) if name in LARGE else ()), ("read-only", 0)):
        place = tmp_path / f"{how}-{room}"
        place.mkdir()
        with tally.attempt():
            without_a_place(name, how, place, world, small_run, things, room)
        shutil.rmtree(place)
