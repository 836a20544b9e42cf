"""A run's folder: who may write there, and the tables that are read back."""

import json
import subprocess
import sys

import pytest
import torch

from ccafl.config import load_config
from ccafl.data.numbering import accumulate
from ccafl.data.records import Record
from ccafl.errors import InputError
from ccafl.run_folder import RunFolder, flattened, read_association, write_association


@pytest.fixture
def config():
    return load_config("market-split")


@pytest.fixture
def run(tmp_path, config):
    folder = RunFolder(tmp_path / "run")
    folder.write_config(config)
    return folder


def test_only_a_folder_with_settings_is_a_run(run, config, tmp_path):
    assert run.begun
    assert run.read_config() == config
    other = RunFolder(tmp_path / "other")
    assert not other.begun
    with pytest.raises(InputError, match=r"other: is not a run \(no config.yaml\); give a folder made by ccafl train"):
        other.read_config()


def test_a_run_is_resumed_with_its_own_settings_only(run, config):
    run.check_usable(config, resume=True)
    stage2 = config.stage2.model_copy(update={"epochs": config.stage2.epochs + 1})
    changed = config.model_copy(update={"seed": 7, "stage2": stage2})
    differences = f"seed: {config.seed}, now 7; stage2.epochs: {config.stage2.epochs}, now {stage2.epochs}"
    with pytest.raises(InputError, match=rf"config.yaml: has other settings \({differences}\)"):
        run.check_usable(changed, resume=True)
    with pytest.raises(InputError, match="exists already"):
        run.check_usable(config, resume=False)


def test_a_run_without_the_name_of_its_papers_recipe_is_resumed(run, config):
    """As runs were written before that setting existed."""
    run.check_usable(config.model_copy(update={"paper": "msmt17"}), resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_training_begins_in_a_free_folder_only(tmp_path, config, resume):
    folder = RunFolder(tmp_path / "run")
    folder.check_usable(config, resume=resume)
    folder.path.mkdir()
    folder.check_usable(config, resume=resume)
    (folder.path / "mine.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        folder.check_usable(config, resume=resume)


def test_the_demo_trains_beside_the_world_it_drew(tmp_path, config):
    folder = RunFolder(tmp_path)
    folder.world.mkdir()
    folder.check_usable(config, resume=True)
    with pytest.raises(InputError, match="exists already"):
        folder.check_usable(config, resume=False)


def test_data_are_read_back_if_the_run_recorded_them(run, tmp_path, monkeypatch):
    assert run.read_data() is None
    monkeypatch.chdir(tmp_path)
    run.write_data(tmp_path.relative_to(tmp_path) / "images", "folder")
    assert run.read_data() == (tmp_path / "images", "folder")
    for content in ("[1]", "{", "{}", '{"path": 3}'):
        run.data.write_text(content)
        assert run.read_data() is None, content


def test_results_are_read_back_or_reported_as_damaged(run):
    assert run.read_results() is None
    run.write_results({"mAP": 0.5, "association": {"f1": None}})
    assert run.read_results() == json.loads(run.results.read_text()) == {"mAP": 0.5, "association": {"f1": None}}
    for content in ("{", "[1]"):
        run.results.write_text(content)
        with pytest.raises(InputError, match=r"results.json: is damaged"):
            run.read_results()


def test_an_association_is_read_as_it_was_written(tmp_path):
    labels = [("c1", "1"), ("c1", "a,b"), ("c2", "007"), ("c2", "\u00e9"), ("c3", "'=x"), ("c3", "=1+1")]
    images = accumulate([Record(tmp_path / "image.png", *label) for label in labels])
    table = tmp_path / "association.csv"
    write_association(table, images, torch.tensor([4, -1, 4, 0, -1, -1]))
    lines = table.read_text("utf-8").splitlines()
    assert lines[:3] == ["camera,label,identity", "c1,1,4", 'c1,"a,b",-1']
    assert lines[-2:] == ["c3,''=x,-1", "c3,'=1+1,-1"]  # no formulas in a spreadsheet
    found = read_association(table)
    assert list(found) == labels
    assert list(found.values()) == ["4", None, "4", "0", None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"camera,label\nc1,1\n", "no column identity among camera, label"),
        (b'camera,label,identity\nc1,"1,0', "cannot be read as CSV"),
        (b"camera,label,identity\nc1,\xff,0", "is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_table_that_is_not_an_association_is_refused(tmp_path, content, message):
    table = tmp_path / "association.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_association(table)


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    table = tmp_path / "association.csv"
    table.write_text("identity,camera,label,note\nanna,c1,1,seen\n", encoding="utf-8-sig")
    assert read_association(table) == {("c1", "1"): "anna"}


def test_nested_values_are_named_by_their_path():
    assert flattened({"a": 1, "b": {"c": {"d": 2}, "e": {}}, "f": None}, "/") == {"a": 1, "b/c/d": 2, "f": None}


def test_a_run_is_read_without_torch(tmp_path):
    program = "import sys; sys.modules['torch'] = None; import ccafl.run_folder"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
