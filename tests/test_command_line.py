"""What every command offers: an example, JSON for scripts, quiet, and an early answer to a mistyped path."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from ccafl.cli import app, main
from ccafl.data.numbering import LabelledImages
from ccafl.evaluation.tables import trained_table
from ccafl.method.calibrated_association import Believed
from ccafl.options import json_to_stdout
from ccafl.pipeline import joins_of
from ccafl.terminal import show
from ccafl.training.run import Trained
from ccafl.words import counted, listed_names
from colour_people import draw
from small_runs import SMALL, as_options, one_line, refusal, run


def commands_of(group, path=()):
    """Every command with its words."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands_of(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands_of(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def db(small_run, world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("galleries") / "people.db"
    run("gallery", "add", small_run, world, "--db", folder)
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_example_of_a_command_is_accepted_by_it(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "runs/mine", "runs/other", "site"):
        Path(folder).mkdir(parents=True)
    command = COMMANDS[words]
    program, *example = shlex.split(command.epilog.removeprefix("Example: "))
    assert program == "ccafl"
    assert tuple(example[: len(words)]) == words
    assert command.make_context(words[-1], example[len(words) :]).params


def test_adding_says_which_pictures_were_in_the_training(small_run, world, tmp_path, capsys):
    trained = [row for row in csv.DictReader((world / "manifest.csv").open()) if row["split"] == "train"]
    run("gallery", "add", small_run, world, "--db", tmp_path / "people.db")
    assert f"{len(trained)} pictures were in the training of {small_run}" in capsys.readouterr().err
    draw(0).save(tmp_path / "new.png")
    run("gallery", "add", small_run, tmp_path / "new.png", "--db", tmp_path / "people.db")
    assert "training" not in capsys.readouterr().err


def test_json_is_all_that_is_on_stdout(small_run, world, db, tmp_path, capsys):
    small_run = shutil.copytree(small_run, tmp_path / "run")
    with_rates = {"mAP", "rank1"}
    cases = {
        ("gallery", "info", "--db", db): {"pictures", "cameras", "identities", "where"},
        ("gallery", "add", small_run, world, "--db", db): {"added", "known"},
        ("gallery", "join", "--db", db): {"joined labels", "identities"},
        ("data", "check", world): {"cameras", "problems", "own"},
        ("search", next(path for path in world.rglob("*") if path.suffix in (".png", ".jpg")), "--db", db): {
            "hits",
            "identities",
            "more",
        },
        ("evaluate", small_run, "--data", world): with_rates,
        ("train", "market-split", "--data", world, "--out", small_run, "--resume", *as_options(SETTINGS)): with_rates,
    }
    for arguments, keys in cases.items():
        run(*arguments, "--quiet", "--json")
        output, errors = capsys.readouterr()
        assert json.loads(output).keys() >= keys, arguments
        assert errors == "", arguments


SETTINGS = (*SMALL, "stage2.association.rate=1.0")  # of small_run


def test_json_without_a_value_is_standard_output():
    assert json_to_stdout([]) == []
    assert json_to_stdout(["--json"]) == ["--json", "-"]
    assert json_to_stdout(["--json", "--db", "x"]) == ["--json", "-", "--db", "x"]
    assert json_to_stdout(["--json", "-", "a"]) == ["--json", "-", "a"]
    assert json_to_stdout(["--json", "out.json"]) == ["--json", "out.json"]


def test_a_picture_is_never_taken_for_the_json_file(db, tmp_path, capsys):
    picture = tmp_path / "a.jpg"
    draw(0).save(picture)
    before = picture.read_bytes()
    assert "must end in .json" in refusal(capsys, "search", "--db", db, "--json", picture)
    assert picture.read_bytes() == before


def test_a_missing_path_is_refused_before_anything_heavy_is_loaded(tmp_path):
    program = (
        "import sys\nfrom ccafl.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    nowhere = str(tmp_path / "nowhere")
    for arguments in (
        ["data", "check", nowhere],
        ["train", "own", "--data", nowhere],
        ["evaluate", "clip-synth", "--data", nowhere],
    ):
        told = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert told.stdout == "2 False\n", arguments
        assert told.stderr == f"error: {nowhere}: no such file or folder; correct the path\n", arguments


def test_tables_in_a_pipe_keep_each_row_on_one_line(db, world, capsys):
    picture = next(path for path in world.rglob("*") if path.suffix in (".png", ".jpg"))
    run("search", picture, "--db", db)
    assert any(str(picture) in line for line in capsys.readouterr().out.splitlines())


def test_a_training_without_a_test_set_ends_with_its_joins(world, tmp_path, capsys):
    rows = [row for row in csv.DictReader((world / "manifest.csv").open()) if row["split"] == "train"]
    data = tmp_path / "data"
    shutil.copytree(world, data)
    with (data / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "camera", "label"], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    run("train", "market-split", "--data", data, "--out", tmp_path / "run", *as_options(SETTINGS))
    shown = capsys.readouterr().out
    assert "None" not in shown
    joins = json.loads((tmp_path / "run" / "results.json").read_text())["joins"]
    assert joins["labels"] == len({(row["camera"], row["label"]) for row in rows})
    assert joins["labels"] >= joins["joined"] >= 2 * joins["persons"] > 0
    assert f"{joins['joined']} of {joins['labels']} labels, into {joins['persons']} person" in shown
    assert "calibration" not in shown


def test_the_least_certain_joins_are_shown_first(capsys):
    identity_cameras, labels = torch.tensor([0, 0, 1, 1]), ("a", "b", "c", "d")
    none = torch.tensor([], dtype=torch.int64)
    images = LabelledImages((), none, none, none, ("hall", "yard"), identity_cameras, labels)
    links = torch.tensor([[0, 2], [1, 3], [0, 3]])  # the last was made once, and is no more
    believed = Believed(links, torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64))
    joins = joins_of(images, Trained(torch.tensor([0, 1, 0, 1]), {}, 0.0, believed))
    assert (joins["labels"], joins["joined"], joins["persons"]) == (4, 4, 2)
    assert joins["least_certain"] == [
        {"one": ["hall", "b"], "other": ["yard", "d"], "probability": 0.4},
        {"one": ["hall", "a"], "other": ["yard", "c"], "probability": 0.9},
    ]
    show(trained_table({"mAP": None, "association": {"estimated_precision": 0.9}, "joins": joins}))
    shown = capsys.readouterr().out
    assert re.search("joins probably right .* 90.0 %", shown)
    assert shown.index("hall/b") < shown.index("hall/a")
    assert "mAP" not in shown


def test_a_stray_picture_does_not_hide_the_other_problems(tmp_path, capsys):
    for camera, label in (("hall", "1"), ("hall", "2"), ("yard", "1")):
        folder = tmp_path / camera / label
        folder.mkdir(parents=True)
        draw(0).save(folder / "a.png")
    for stray in (tmp_path / "stray.png", tmp_path / "yard" / "stray.png"):
        draw(1).save(stray)
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(tmp_path)])
    output, errors = capsys.readouterr()
    assert ended.value.code == 2
    assert "3 labels have only one image" in output
    assert "stray.png: is not in <camera>/<label>/, nor 1 other; move them" in one_line(errors)


def test_nothing_points_to_a_split_that_would_be_refused(tmp_path, capsys):
    for camera in ("hall", "yard"):
        for label in "123":
            folder = tmp_path / camera / label
            folder.mkdir(parents=True)
            draw(0).save(folder / "a.png")
    run("data", "check", tmp_path)
    assert "data split" not in capsys.readouterr().out


def test_an_unknown_camera_is_refused_with_the_nearest_name(db, small_run, world, tmp_path, capsys):
    picture = next(path for path in world.rglob("*") if path.suffix in (".png", ".jpg"))
    for option in ("--camera", "--exclude-camera", "--taken-by"):
        assert "did you mean c1?" in refusal(capsys, "search", picture, "--db", db, option, "C1")
    assert "did you mean c1?" in refusal(capsys, "gallery", "forget", "--camera", "C1", "--db", db)
    extract = ("extract", small_run, "--images", world, "--out", tmp_path / "features.parquet", "--camera", "C1")
    assert "did you mean c1?" in refusal(capsys, *extract)
    assert "did you mean c1?" in refusal(capsys, "label", world, "--camera", "C1")


def test_an_erasure_can_be_tried_and_is_asked_for_at_a_terminal(db, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "people.db"
    shutil.copytree(db, copy)
    forget = ("gallery", "forget", "--camera", "c1", "--db", copy)

    def pictures() -> int:
        capsys.readouterr()
        run("gallery", "info", "--db", copy, "--json")
        return json.loads(capsys.readouterr().out)["pictures"]

    before = pictures()
    run(*forget, "--dry-run")
    assert "would be erased" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert "nothing was erased" in refusal(capsys, *forget)
    assert pictures() == before
    run(*forget, "--yes")
    assert pictures() < before


def test_the_format_of_an_exported_gallery_follows_its_suffix(db, tmp_path, capsys):
    run("gallery", "export", tmp_path / "out.csv", "--db", db)
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert f"{len(rows)} pictures in" in capsys.readouterr().out
    assert set(rows[0]) == {"key", "camera", "time", "source", "label", "identity", "name"}
    assert {row["camera"] for row in rows} == {"c1", "c2", "c3"}


def test_counts_and_names():
    assert [counted(number, "picture") for number in (0, 1, 1234)] == ["0 pictures", "1 picture", "1,234 pictures"]
    assert counted(2, "query", "queries") == "2 queries"
    assert listed_names(["c1", "c2"], "C1") == "did you mean c1?"
    assert listed_names(["hall", "yard"], "C1") == "there are hall, yard"
    assert listed_names([], "C1") == "there are none"
