"""What each part is worth: the rows, their shared beginnings, the table."""

import json
import shutil

import pytest
import torch

from ccafl import ablation, pipeline
from ccafl.ablation import ablate, fork_plan, load_plus, parse_seeds, rows_of
from ccafl.config import load_config
from ccafl.errors import InputError
from ccafl.pipeline import train_run
from ccafl.run_folder import RunFolder
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.schedule import phase_of, shared_epochs
from small_runs import SMALL, refusal

SETTINGS = [
    *SMALL,
    "stage2.epochs=5",
    "stage2.images=2",
    "stage2.intra_camera.epochs=2",
    "stage2.adversarial.first_epoch=3",
    "stage2.adversarial.last_epoch=5",
]
BRIEF = [
    *SETTINGS,
    "stage2.epochs=3",
    "stage2.intra_camera.epochs=1",
    "stage2.adversarial.first_epoch=2",
    "stage2.adversarial.last_epoch=3",
]


@pytest.fixture(scope="module")
def small():
    return load_config("market-split", SETTINGS)


@pytest.fixture(scope="module")
def brief():
    """As few epochs as show every row."""
    return load_config("market-split", BRIEF)


def learned(config) -> dict[str, list[str]]:
    """The name of every epoch's phase."""
    return [phase_of(config, epoch).name for epoch in range(config.stage2.epochs)]


def test_each_row_is_what_its_name_says(small):
    rows = rows_of(small)
    assert learned(rows["icdl"]) == ["intra"] * 5
    assert learned(rows["associated"]) == ["intra"] * 2 + ["inter"] * 3
    assert learned(rows["text"]) == ["intra + text"] * 2 + ["inter + text"] * 3
    assert learned(rows["ccafl"]) == ["intra"] * 2 + ["inter"] + ["inter + adversarial"] * 2
    assert learned(rows["supervised"]) == ["inter"] * 5
    assert learned(rows["supervised_ical"]) == ["inter"] * 3 + ["inter + adversarial"] * 2
    assert {rows[name].mode for name in rows if name.startswith("supervised")} == {"supervised"}
    assert learned(rows["precise_ics"]) == ["intra"] * 2 + ["global"] * 3
    assert rows["intra_l1"].stage2.intra_camera.centre_weight == 1
    assert rows["without_icdl"].stage2.intra_camera.centre_weight == 1
    assert rows["ccafl"] == small
    assert rows["ccafl_plus"].model.camera_norm
    assert rows["supervised_plus"] == rows["ccafl_plus"].model_copy(update={"mode": "supervised"})
    assert not rows["ccafl_paper"].stage2.association.one_camera_once
    assert rows["ccafl_paper"].stage2.association.rate == 1.7


def test_all_rows_train_on_equally_many_images(small):
    steps = {
        row.stage2.epochs * row.stage2.steps_per_epoch * row.stage2.identities * row.stage2.images
        for row in rows_of(small).values()
    }
    assert len(steps) == 1


def test_the_papers_phases_are_shares_of_the_epochs():
    of_half = rows_of(load_config("market1501", ["stage2.epochs=40"]))["ccafl_paper"].stage2
    assert (of_half.intra_camera.epochs, of_half.inter_camera.text_from) == (2, 5)
    assert (of_half.adversarial.first_epoch, of_half.adversarial.last_epoch) == (20, 25)
    assert of_half.milestones == (20, 25)


@pytest.mark.parametrize("name", ["market1501", "dukemtmc", "msmt17"])
def test_the_paper_has_no_row_where_ccafl_is_its_recipe(name):
    assert "ccafl_paper" not in rows_of(load_config(name))
    other_rate = rows_of(load_config(name, ["stage2.association.rate=3.0"]))["ccafl_paper"]
    assert other_rate == load_config(name)


def test_the_papers_row_is_the_data_sets_own_recipe():
    duke = rows_of(load_config("dukemtmc", ["stage2.epochs=40"]))["ccafl_paper"].stage2
    assert (duke.association.rate, duke.adversarial.margin, duke.inter_camera.text_from) == (1.5, 0.3, 20)
    assert (duke.adversarial.first_epoch, duke.adversarial.last_epoch) == (20, 30)
    unknown = load_config("market1501", ["paper=null", "stage2.epochs=40"])
    assert "ccafl_paper" not in rows_of(unknown)
    with pytest.raises(InputError, match="nowhere: no such configuration"):
        rows_of(load_config("market1501", ["paper=nowhere"]))


def test_on_market_split_the_paper_has_its_milestones_and_no_text():
    split = load_config("market-split")
    paper, market = rows_of(split)["ccafl_paper"].stage2, load_config("market1501").stage2
    assert paper.milestones == (12, 15)  # 40 and 50 of 80 epochs
    assert (paper.adversarial.first_epoch, paper.adversarial.last_epoch) == (12, 15)
    assert not paper.intra_camera.text
    assert paper.inter_camera.text_from is None
    assert paper.association == market.association
    assert paper.learning_rate == split.stage2.learning_rate
    trained_tower = load_config("market-split", ["model.architecture=clip-synth", "model.weights=shipped"])
    with_text = rows_of(trained_tower)["ccafl_paper"].stage2
    assert (with_text.intra_camera.text, with_text.inter_camera.text_from) == (True, 3)


def test_the_ladder_names_text_where_ccafl_has_text(small):
    assert ablation.ladder_of(small) == ["intra_l1", "icdl", "associated", "ccafl", "ccafl_plus"]
    for name in ("demo", "market1501", "msmt17"):
        config = load_config(name)
        assert ablation.ladder_of(config) == ["intra_l1", "icdl", "associated", "text", "ccafl", "ccafl_plus"]
        rows = rows_of(config)
        text, ccafl = (
            [phase_of(rows[row], epoch) for epoch in range(config.stage2.epochs)] for row in ("text", "ccafl")
        )
        assert [(phase.learning, phase.text) for phase in text] == [(phase.learning, phase.text) for phase in ccafl]
        assert not any(phase.adversarial for phase in text)


def test_no_two_rows_are_the_same(small):
    rows = rows_of(small)
    assert "without_text" not in rows  # ``small`` has no text
    settings = [row.model_dump_json() for row in rows.values()]
    assert len(set(settings)) == len(settings)
    with_text = rows_of(load_config("market-split", [*SETTINGS, "stage2.intra_camera.text=true"]))
    assert not with_text["without_text"].stage2.intra_camera.text
    without_ical = rows_of(load_config("market-split", [*SETTINGS, "stage2.adversarial.last_epoch=3"]))
    assert "ccafl" in without_ical
    assert not {"associated", "supervised_ical"} & without_ical.keys()
    plus = rows_of(load_plus(small))
    assert not {"ccafl_plus", "supervised_plus"} & plus.keys()


def test_rows_begin_alike_until_their_settings_differ(small):
    rows = rows_of(small)
    assert shared_epochs(rows["icdl"], rows["associated"]) == 2
    assert shared_epochs(rows["associated"], rows["ccafl"]) == 3
    assert shared_epochs(rows["intra_l1"], rows["without_icdl"]) == 2
    assert shared_epochs(rows["intra_l1"], rows["precise_ics"]) == 2
    assert shared_epochs(rows["ccafl"], rows["precise_ics"]) == 0
    for name in ("supervised", "supervised_ical", "text", "intra_l1", "ccafl_plus"):
        assert shared_epochs(rows["icdl"], rows[name]) == 0
    assert shared_epochs(rows["ccafl"], rows["ccafl"]) == 5
    stage2 = small.stage2
    stronger = stage2.model_copy(update={"adversarial": stage2.adversarial.model_copy(update={"margin": 0.7})})
    assert shared_epochs(small, small.model_copy(update={"stage2": stronger})) == 3
    softer = stage2.model_copy(update={"inter_camera": stage2.inter_camera.model_copy(update={"temperature": 0.2})})
    assert shared_epochs(small, small.model_copy(update={"stage2": softer})) == 2
    assert shared_epochs(small, small.model_copy(update={"seed": 1})) == 0
    plan = fork_plan(rows)
    assert plan["associated"] == ("icdl", 2)
    assert plan["ccafl"] == ("associated", 3)
    assert plan["supervised_ical"] == ("supervised", 3)
    assert plan["ccafl_plus"] == (None, 0)


def test_a_row_continued_from_another_ends_like_one_trained_alone(world, small, tmp_path, capsys):
    together = ablate(small, world, tmp_path / "both", seeds=[0], command="", only=["icdl", "associated", "ccafl"])
    trained = train_run(small, world, tmp_path / "alone")
    for name in ("mAP", "association", "same_person_mass_before", "same_person_mass", "camera_probe"):
        both = json.loads((tmp_path / "both" / "seed-0" / "ccafl" / "results.json").read_text())
        assert both[name] == trained[name], name
    checkpoints = [
        load_checkpoint(run / "checkpoints" / "last.pt")
        for run in (tmp_path / "both" / "seed-0" / "ccafl", tmp_path / "alone")
    ]
    for key, tensor in checkpoints[0]["encoder"].items():
        assert torch.equal(tensor, checkpoints[1]["encoder"][key]), key
    assert checkpoints[0]["config"] == checkpoints[1]["config"]
    events = [
        [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        for run in (tmp_path / "both" / "seed-0" / "ccafl", tmp_path / "alone")
    ]
    untimed = {"seconds": 0, "seconds_by_part": {}}
    assert [event | untimed for event in events[0]] == [event | untimed for event in events[1]]
    assert together["rows"]["ccafl"]["mAP"] == [trained["mAP"]]


def test_finished_rows_are_not_trained_again(world, brief, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ablate(brief, world, out, seeds=[0], command="", only=["icdl"])
    trained = []
    original = ablation.train_run
    monkeypatch.setattr(ablation, "train_run", lambda row, *a, **k: trained.append(row) or original(row, *a, **k))
    table = ablate(brief, world, out, seeds=[0, 1], command="ccafl ablate market-split", only=["icdl", "associated"])
    assert [(row.mode, row.seed) for row in trained] == [("ccafl", 0), ("intra", 1), ("ccafl", 1)]
    assert table == json.loads((out / "ablation.json").read_text())
    assert table["seeds"] == [0, 1]
    assert table["ladder"] == ["intra_l1", "icdl", "associated", "ccafl", "ccafl_plus"]
    assert all(len(table["rows"][row][figure]) == 2 for row in ("icdl", "associated") for figure in ("mAP", "rank1"))
    assert table["camera_chance"] == pytest.approx(1 / 3)
    page = (out / "ablation.md").read_text()
    assert "| `icdl` |" in page
    assert "`associated` - `icdl`" in page
    assert "ccafl ablate market-split" in page


def test_an_interrupted_fork_is_repeated(world, brief, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ablate(brief, world, out, seeds=[0], command="", only=["icdl", "associated"])
    expected = json.loads((out / "seed-0" / "associated" / "results.json").read_text())
    shutil.rmtree(out / "seed-0" / "associated")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_config", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.begin_as(out / "seed-0" / "icdl", 1, out / "seed-0" / "associated", brief)
    table = ablate(brief, world, out, seeds=[0], command="", only=["icdl", "associated"])
    assert table["rows"]["associated"]["mAP"] == [expected["mAP"]]


def test_the_demo_trains_shared_epochs_once(brief, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "DEMO_PERSONS", 9)
    monkeypatch.setattr(pipeline, "DEMO_CAMERAS", 3)
    monkeypatch.setattr(pipeline, "load_config", lambda name: brief if name == "demo" else load_config(name))
    runs = pipeline.demo(tmp_path / "demo")
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["intra"] == runs["intra"]
    intra, ccafl = (
        [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        for run in (tmp_path / "demo" / "intra", tmp_path / "demo")
    )
    equal = [one == other for one, other in zip(intra, ccafl, strict=True)]  # even in the seconds they took
    assert equal == [True] * 2 + [False] * 2  # stage 1's epoch and one of stage 2
    assert pipeline.demo(tmp_path / "demo") == runs


def test_the_table_shows_means_spreads_and_paired_differences():
    def row(maps, f1):
        figures = {figure: [] for figure in ablation.FIGURES}
        return figures | {"mAP": maps, "rank1": maps, "association_f1": f1, "seconds": [10.0, 20.0]}

    rows = {
        "supervised": row([0.8, 0.8], []),
        "icdl": row([0.2, 0.4], [0.1, 0.2]),
        "associated": row([0.3, 0.6], [0.3, 0.4]),
    }
    page = ablation.markdown(
        {
            "rows": rows,
            "ladder": ["icdl", "associated"],
            "seeds": [0, 1],
            "steps": [100],
            "camera_chance": 0.25,
            "command": "c",
            "commit": "d",
            "hardware": "e",
        }
    )
    assert "| `icdl` | 30.0 ± 14.1 |" in page
    assert "| `associated` - `icdl` | +15.0 ± 7.1 | +20.0 ± 0.0 |" in page
    assert "`associated`: 56.2 % of `supervised`'s mAP" in page
    assert "at chance level: 25.0" in page
    assert "`associated` - `supervised`" not in page


@pytest.mark.parametrize("text", ["", "a", "0,,1", "0,0", "-1", "1.5"])
def test_bad_seeds_are_refused(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)


def test_bad_rows_and_modes_end_with_one_line(world, tmp_path, capsys):
    for arguments, said in (
        (["--rows", "icdl,nonsense"], "nonsense: no such row"),
        (["--set", "mode=intra"], "an ablation removes parts of CCAFL"),
    ):
        ablation_of = ("ablate", "market-split", "--data", world, "--out", tmp_path / "out")
        assert said in refusal(capsys, *ablation_of, *arguments)
    assert not (tmp_path / "out").exists()


def test_runs_with_other_settings_are_refused(world, brief, tmp_path):
    ablate(brief, world, tmp_path / "out", seeds=[0], command="", only=["icdl"])
    other = brief.model_copy(update={"stage1": brief.stage1.model_copy(update={"epochs": 0})})
    with pytest.raises(InputError, match="trained with other settings"):
        ablate(other, world, tmp_path / "out", seeds=[0], command="", only=["icdl"])
