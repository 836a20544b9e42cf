"""What people know of the cameras, in training: it reaches the run with the images' times, and a run is tied to it."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ccafl.data.numbering import accumulate
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.pipeline import train_run
from ccafl.run_folder import RunFolder
from ccafl.training import run as run_module
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.topology import camera_topology, fingerprint_of
from small_runs import SMALL, as_options, refusal, run

LINES = ("c1,c2,yes,5,90000", "c3,*,never,,")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("camera_a,camera_b,shared,least_seconds,most_seconds", *lines)) + "\n")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cameras") / "cameras.csv", *LINES)


@pytest.fixture(scope="module")
def trained(world, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("topology") / "run"
    settings = (*SMALL, "stage1.epochs=0", f"data.topology={table}")
    run("train", "market-split", "--data", world, "--out", out, *as_options(settings))
    return out


def topology_of(table: Path, world: Path):
    images = accumulate(read_source(world).train)
    return camera_topology(table, images.camera_names, images.identity_cameras, images.identities, images.times)


def test_the_table_is_read_and_counted(trained, table):
    assert json.loads((trained / "results.json").read_text())["topology"] == {"yes": 1, "never": 2, "estimated": 0}
    assert RunFolder(trained).read_config().data.topology == str(table)


def test_the_times_are_those_of_the_manifest(table, world):
    topology = topology_of(table, world)
    records = read_source(world).train
    labels = sorted({(record.camera, record.label) for record in records})
    times = [[r.time.timestamp() for r in records if (r.camera, r.label) == label] for label in labels]
    torch.testing.assert_close(
        topology.seen.intervals, torch.tensor([[min(t), max(t)] for t in times], dtype=torch.float64), rtol=0, atol=0
    )
    assert topology.seen.complete.all()


def test_joining_with_a_table_counts_it(small_run, table, world, tmp_path, capsys):
    run("associate", small_run, "--data", world, "--out", tmp_path / "joined.csv", "--topology", table)
    assert "never" in capsys.readouterr().out
    wrong = write(tmp_path / "wrong.csv", "c1,c22,never,,")
    asked = ("associate", small_run, "--data", world, "--out", tmp_path / "other.csv", "--topology", wrong)
    assert "wrong.csv, line 2: the images have no camera c22; correct it (c2" in refusal(capsys, *asked)
    assert not (tmp_path / "other.csv").exists()


def test_seconds_without_times_are_said_to_have_no_effect(small_run, table, world, tmp_path, capsys):
    with (world / "manifest.csv").open(newline="") as file:
        rows = [{**row, "image": world / row["image"], "time": ""} for row in csv.DictReader(file)]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    said = "its seconds have no effect because the images have no times"
    for data, lines, times in ((tmp_path, LINES, 1), (world, LINES, 0), (tmp_path, ("c1,c2,yes,,",), 0)):
        given = write(tmp_path / "given.csv", *lines)
        capsys.readouterr()
        out = tmp_path / "joined.csv"
        run("associate", small_run, "--data", data, "--allow-outside", "--out", out, "--topology", given)
        assert capsys.readouterr().err.count(said) == times


def test_a_gallery_is_joined_with_a_table(small_run, table, world, tmp_path, capsys):
    db = tmp_path / "gallery.db"
    run("gallery", "add", small_run, world, "--db", db)
    run("gallery", "join", "--db", db, "--topology", table)
    wrong = write(tmp_path / "wrong.csv", "c1,c1,never,,")
    assert "wrong.csv, line 2: pairs camera c1 with itself" in refusal(
        capsys, "gallery", "join", "--db", db, "--topology", wrong
    )
    both = ("--topology", table, "--association", small_run / "association.csv")
    assert "leave one out" in refusal(capsys, "gallery", "join", "--db", db, *both)


def test_supervised_training_does_not_read_the_table(world, small_run, tmp_path):
    config = RunFolder(small_run).read_config()
    data = config.data.model_copy(update={"topology": str(tmp_path / "nowhere.csv")})
    results = train_run(config.model_copy(update={"data": data, "mode": "supervised"}), world, tmp_path / "run")
    assert "topology" not in results
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["topology"] == ""


def test_the_fingerprint_is_of_what_the_table_says(table, world, tmp_path):
    def fingerprint(*lines: str) -> str:
        return fingerprint_of(topology_of(write(tmp_path / "other.csv", *lines), world))

    assert fingerprint() == fingerprint_of(None) == ""
    mine = fingerprint_of(topology_of(table, world))
    assert mine == fingerprint("c2,c3,never,,", "c3,c1,never,,", "c2,c1,yes,5.0,9e4")
    others = {
        mine,
        fingerprint(LINES[0]),
        fingerprint(LINES[1]),
        fingerprint("c1,c2,yes,6,90000", LINES[1]),
        fingerprint("c1,c2,yes,5,90001", LINES[1]),
    }
    assert len(others) == 5


def test_the_fingerprint_is_of_the_times_where_they_have_an_effect(table, world, tmp_path):
    images = accumulate(read_source(world).train)

    def fingerprint(given: Path, times) -> str:
        return fingerprint_of(
            camera_topology(given, images.camera_names, images.identity_cameras, images.identities, times)
        )

    later = images.times.clone()
    later[0] += 1
    unknown = torch.where(images.times == images.times.min(), torch.nan, images.times)
    assert len({fingerprint(table, times) for times in (images.times, later, unknown, None)}) == 4
    untimed = write(tmp_path / "untimed.csv", LINES[1])
    assert fingerprint(untimed, images.times) == fingerprint(untimed, None)


def test_an_unfinished_run_resumes_only_with_the_table_it_began_with(world, small_run, tmp_path, monkeypatch):
    mine, out = write(tmp_path / "mine.csv", *LINES), tmp_path / "run"
    config = RunFolder(small_run).read_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"topology": str(mine)})})
    original = run_module.save_checkpoint

    def stopping(*args):
        original(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_run(config, world, out)
    write(mine, *LINES[1:])
    with pytest.raises(InputError, match=r"last.pt: was trained with another data.topology"):
        train_run(config, world, out, resume=True)
    write(mine, *reversed(LINES))
    assert train_run(config, world, out, resume=True)["topology"] == {"yes": 1, "never": 2, "estimated": 0}
