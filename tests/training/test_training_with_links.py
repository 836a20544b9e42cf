"""Corrections by people in training: every association respects them, and a run is tied to its table."""

import csv
from pathlib import Path

import pytest

from ccafl.data.numbering import accumulate, persons_of
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.pipeline import associate_run, train_run
from ccafl.training import run as run_module
from ccafl.training.checkpoint import load_checkpoint

HEADER = "kind,camera_a,label_a,camera_b,label_b"


def corrected(config, table: Path, mode: str = "ccafl"):
    data = config.data.model_copy(update={"links": str(table)})
    return config.model_copy(update={"data": data, "mode": mode})


def write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER.split(","), *rows])
    return path


@pytest.fixture(scope="module")
def short(small):
    stage2 = small.stage2.model_copy(update={"epochs": 3, "steps_per_epoch": 1})
    return small.model_copy(update={"stage1": small.stage1.model_copy(update={"epochs": 0}), "stage2": stage2})


@pytest.fixture(scope="module")
def truth(world):
    """(camera, label) -> person, in the order of the accumulated identities."""
    records = read_source(world).train
    images = accumulate(records)
    cameras = [images.camera_names[camera] for camera in images.identity_cameras]
    return dict(zip(zip(cameras, images.identity_labels, strict=True), persons_of(records).tolist(), strict=True))


@pytest.fixture(scope="module")
def true_links(truth):
    """A must-link for every pair of one person, and a cannot-link for every other pair."""
    labels = list(truth)
    pairs = [(one, other) for number, one in enumerate(labels) for other in labels[:number]]
    same = [pair for pair in pairs if truth[pair[0]] == truth[pair[1]]]
    return [
        *(("must_link", *one, *other) for one, other in same),
        *(("cannot_link", *one, *other) for one, other in pairs if truth[one] != truth[other]),
    ]


@pytest.fixture(scope="module")
def table(true_links, tmp_path_factory):
    return write(tmp_path_factory.mktemp("links") / "corrections.csv", true_links)


@pytest.fixture(scope="module")
def run(world, small, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("corrected") / "run"
    return out, train_run(corrected(small, table), world, out)


def test_training_associates_as_linked(run, true_links, table):
    out, results = run
    assert (results["association"]["precision"], results["association"]["recall"]) == (1.0, 1.0)
    kinds = [kind for kind, *_ in true_links]
    assert results["links"] == {kind: kinds.count(kind) for kind in ("must_link", "cannot_link")}
    assert f"links: {table}" in (out / "config.yaml").read_text()


@pytest.mark.parametrize("mode", ["precise_ics", "intra"])
def test_other_modes_respect_links_where_they_associate(world, short, table, tmp_path, mode):
    results = train_run(corrected(short, table, mode), world, tmp_path / "run")
    assert results["association"]["f1"] == 1.0
    labels = {row.split(",")[2] for row in (tmp_path / "run" / "association.csv").read_text().split()[1:]}
    assert (labels == {"-1"}) == (mode == "intra")


def test_supervised_training_does_not_read_links(world, short, tmp_path):
    results = train_run(corrected(short, tmp_path / "nowhere.csv", "supervised"), world, tmp_path / "run")
    assert "links" not in results
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["links"] == ""


def test_a_run_joins_labels_as_linked(run, world, true_links, truth, tmp_path):
    out, _ = run
    must = [row for row in true_links if row[0] == "must_link"][:3]
    cannot = [row for row in true_links if row[0] == "cannot_link"][:3]
    few = write(tmp_path / "few.csv", [*must, *cannot])
    results = associate_run(out, world, tmp_path / "joined.csv", links=few)
    assert results["links"] == {"must_link": 3, "cannot_link": 3}
    with (tmp_path / "joined.csv").open() as file:
        joined = {(row["camera"], row["label"]): row["identity"] for row in csv.DictReader(file)}
    assert joined.keys() == truth.keys()
    for _, *labels in must:
        one, other = joined[tuple(labels[:2])], joined[tuple(labels[2:])]
        assert one == other != "-1"
    for _, *labels in cannot:
        one, other = joined[tuple(labels[:2])], joined[tuple(labels[2:])]
        assert one != other or one == "-1"


def test_an_unfinished_run_resumes_only_with_the_links_it_began_with(world, small, true_links, table, run, tmp_path):
    mine, out = tmp_path / "mine.csv", tmp_path / "run"
    mine.write_bytes(table.read_bytes())
    config = corrected(small, mine)
    saved = iter(range(100))
    with pytest.MonkeyPatch.context() as patch:
        original = run_module.save_checkpoint

        def stopping(*args):
            original(*args)
            if next(saved) == 1:
                raise KeyboardInterrupt

        patch.setattr(run_module, "save_checkpoint", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_run(config, world, out)
    last = (out / "checkpoints" / "last.pt").read_bytes()
    for rows in (true_links[1:], [("cannot_link", *true_links[0][1:]), *true_links[30:]], []):
        write(mine, rows)
        with pytest.raises(InputError, match=r"last.pt: was trained with other data.links"):
            train_run(config, world, out, resume=True)
    assert (out / "checkpoints" / "last.pt").read_bytes() == last
    same_links = [(kind, *labels[2:], *labels[:2]) for kind, *labels in reversed(true_links)]
    write(mine, same_links)
    results = train_run(config, world, out, resume=True)
    assert results | {"seconds": 0} == run[1] | {"seconds": 0}


def test_a_run_cannot_be_given_another_table(run, world, small, true_links, tmp_path):
    other = write(tmp_path / "other.csv", true_links)
    with pytest.raises(InputError, match=r"data.links: .*corrections.csv, now .*other.csv"):
        train_run(corrected(small, other), world, run[0], resume=True)


def test_lines_of_unknown_labels_are_reported_once(run, world, true_links, tmp_path, capsys):
    table = write(tmp_path / "more.csv", [true_links[0], ("must_link", "c1", "nobody", *true_links[0][1:3])])
    associate_run(run[0], world, tmp_path / "joined.csv", links=table)
    assert (
        capsys.readouterr().err.count(
            "more.csv: lines left out because the training images do not have their labels: 1\n"
        )
        == 1
    )


def test_a_bad_table_is_refused_before_anything_is_written(world, small, true_links, tmp_path):
    table = write(tmp_path / "bad.csv", [true_links[0], ("cannot_link", *true_links[0][1:])])
    with pytest.raises(InputError, match=r"bad.csv, line 3: .* line 2 that they are one"):
        train_run(corrected(small, table), world, tmp_path / "run")
    assert not (tmp_path / "run").exists()
