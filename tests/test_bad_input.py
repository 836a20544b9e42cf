"""Every bad input through the command line: one line on stderr that names the place, what is wrong and what to do, exit
code 2, and nothing half written.
"""

import csv
import json
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from ccafl.cli import main
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.run import Training
from small_runs import one_line, refusal
from small_runs import run as succeed

SMALL = [
    *("--set", "model.image_size=[32,16]"),
    *("--set", "stage1.epochs=1"),
    *("--set", "stage2.epochs=1"),
    *("--set", "stage2.steps_per_epoch=1"),
    *("--set", "stage2.identities=2"),
    *("--set", "stage2.images=2"),
]
HEADER = "image,camera,label,split,person"
FILE_LIMIT = 1_000_000  # bytes; a checkpoint of the small run takes 14 million


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world with its manifest."""
    folder = tmp_path_factory.mktemp("data") / "world"
    succeed("data", "synthesize", folder, "--persons", 6, "--cameras", 2, "--images", 2)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """A run trained on the world; tests do not change it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    succeed("train", "market-split", "--data", world, "--out", run, *SMALL)
    return run


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> Path:
    """A copy of the trained run to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def spoilt(tmp_path: Path, world: Path) -> Path:
    """A copy of the world to spoil."""
    return Path(shutil.copytree(world, tmp_path / "spoilt"))


def assert_says(message: str, *parts: object) -> None:
    """Check that the message contains these parts in this order."""
    rest = message
    for part in map(str, parts):
        assert part in rest, f"{part!r} is missing, or not in its place, in: {message}"
        rest = rest.partition(part)[2]


def files_in(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder``, hidden files too; None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file can grow beyond ``limit`` bytes: writes fail in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # Python ignores the signal, so that writes fail instead
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def in_a_process(*command: object) -> tuple[int, str]:
    """Exit code and stderr of the command in a process of its own."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def picture(path: Path, size: tuple[int, int] = (16, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)
    return path


def labelled_folders(root: Path, cameras: int = 2, labels: int = 2) -> Path:
    """``<camera>/<label>/<image>`` without query and gallery."""
    for camera in range(cameras):
        for label in range(labels):
            for number in range(2):
                picture(root / f"c{camera}" / f"p{label}" / f"{number}.jpg", (16 + camera, 32 + label))
    return root


def table(folder: Path, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- Data -------------------------------------------------------------------------------------------------------------


def missing_folder(root: Path) -> tuple[object, ...]:
    return root, "no such file or folder", "correct the path"


def empty_folder(root: Path) -> tuple[object, ...]:
    root.mkdir()
    return root, "is empty", "put the images there"


def folder_without_images(root: Path) -> tuple[object, ...]:
    (root / "c1" / "p1").mkdir(parents=True)
    return root, "holds no images", "see the README"


def image_directly_in_the_folder(root: Path) -> tuple[object, ...]:
    labelled_folders(root)
    return picture(root / "stray.jpg"), "is not in <camera>/<label>/", "move it into the folder"


def image_in_a_camera_without_label(root: Path) -> tuple[object, ...]:
    labelled_folders(root)
    return picture(root / "c1" / "stray.jpg"), "is not in <camera>/<label>/", "move it into the folder"


def no_camera_in_a_name(root: Path) -> tuple[object, ...]:
    picture(root / "bounding_box_train" / "0002_c1s1_000451_03.jpg")
    stray = picture(root / "bounding_box_train" / "0002_000451_03.jpg")
    return stray, "no camera in its name", "0002_c1s1_000451_03.jpg", "rename or remove it"


def two_images_with_one_name(root: Path) -> tuple[object, ...]:
    first = picture(root / "a" / "0002_c1s1_000451_03.jpg")
    second = picture(root / "b" / "0002_c1s1_000451_03.jpg")
    return second, "has the same name as", first, "remove one of them"


def manifest_with_an_image_twice(root: Path) -> tuple[object, ...]:
    image = picture(root / "a.jpg")
    path = table(root, HEADER, "a.jpg,c1,1,train,", "a.jpg,c2,1,train,")
    return f"{path}, line 3", f"image {image} is in line 2 already", "remove one"


def manifest_without_a_column(root: Path) -> tuple[object, ...]:
    path = table(root, "image,label", "a.jpg,1")
    return path, "no column camera", "add it"


def manifest_with_an_empty_label(root: Path) -> tuple[object, ...]:
    path = table(root, HEADER, "a.jpg,c1,1,train,", "b.jpg,c1,,train,")
    return f"{path}, line 3", "label is empty", "fill it in or remove the line"


def manifest_with_a_short_line(root: Path) -> tuple[object, ...]:
    path = table(root, HEADER, "a.jpg,c1,1")
    return f"{path}, line 2", "3 values for 5 columns", "correct it"


def manifest_with_an_unknown_split(root: Path) -> tuple[object, ...]:
    path = table(root, HEADER, "a.jpg,c1,1,test,")
    return f"{path}, line 2", "unknown split 'test'", "use train, query, gallery"


def manifest_with_two_persons_for_a_label(root: Path) -> tuple[object, ...]:
    path = table(root, HEADER, "a.jpg,c1,1,train,anna", "b.jpg,c1,1,train,ben")
    return f"{path}, line 3", "label 1 of camera c1 is person ben here and anna before", "give a label one person"


def manifest_that_is_not_parquet(root: Path) -> tuple[object, ...]:
    root.mkdir()
    path = root / "manifest.parquet"
    path.write_text("image,camera,label\n")
    return path, "cannot be read as Parquet", "replace it"


LAYOUTS: list[Callable[[Path], tuple[object, ...]]] = [
    missing_folder,
    empty_folder,
    folder_without_images,
    image_directly_in_the_folder,
    image_in_a_camera_without_label,
    no_camera_in_a_name,
    two_images_with_one_name,
    manifest_with_an_image_twice,
    manifest_without_a_column,
    manifest_with_an_empty_label,
    manifest_with_a_short_line,
    manifest_with_an_unknown_split,
    manifest_with_two_persons_for_a_label,
    manifest_that_is_not_parquet,
]

MISPLACED = (image_directly_in_the_folder, image_in_a_camera_without_label)  # data check reports on the other images


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_badly_laid_out_data_are_refused_by_every_command_that_reads_them(
    layout: Callable[[Path], tuple[object, ...]], tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "images", tmp_path / "out"
    parts = layout(data)
    before = files_in(trained)
    for command in (
        ("train", "market-split", "--data", data, "--out", out, *SMALL),
        ("data", "check", data),
        ("data", "split", data, out),
        ("evaluate", trained, "--data", data),
        ("associate", trained, "--data", data, "--out", out),
    ):
        reported = command[:2] == ("data", "check") and layout in MISPLACED
        assert_says(refusal(capsys, *command, shown=reported), *parts)
        assert not out.exists()
    assert files_in(trained) == before


def test_unknown_source_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for command in (
        ("train", "market-split", "--data", world, "--out", out),
        ("data", "check", world),
        ("data", "split", world, out),
    ):
        message = refusal(capsys, *command, "--source", "market")
        assert_says(message, "market: no such kind of source", "choose one of", "market1501")
    assert not out.exists()


def truncate(image: Path) -> str:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return "damaged"


def write_text_in(image: Path) -> str:
    image.write_text("This is no picture.\n")
    return "not a picture"


def shrink(image: Path) -> str:
    picture(image, (1, 1))
    return "too small to show a person (1x1 pixels)"


def remove(image: Path) -> str:
    image.unlink()
    return "cannot be read (No such file or directory)"


BREAKAGES = [truncate, write_text_in, shrink, remove]


def images_of(world: Path, split: str) -> list[Path]:
    with (world / "manifest.csv").open(newline="") as file:
        return [world / row["image"] for row in csv.DictReader(file) if row["split"] == split]


@pytest.mark.parametrize("split", ["train", "gallery"])
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.__name__)
def test_training_refuses_an_unreadable_image(
    breakage: Callable[[Path], str], split: str, spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = images_of(spoilt, split)[0], tmp_path / "out"
    reason = breakage(image)
    message = refusal(capsys, "train", "market-split", "--data", spoilt, "--out", out, *SMALL)
    assert_says(message, image, reason, "fix or remove", "--skip-unreadable")
    assert not out.exists()


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.__name__)
def test_evaluation_refuses_an_unreadable_image(
    breakage: Callable[[Path], str], spoilt: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = images_of(spoilt, "gallery")[0]
    reason = breakage(image)
    before = files_in(run)
    assert_says(refusal(capsys, "evaluate", run, "--data", spoilt), image, reason, "replace or remove it")
    assert files_in(run) == before


def test_association_refuses_an_unreadable_image(
    spoilt: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = images_of(spoilt, "train")[0], tmp_path / "joined.csv"
    reason = truncate(image)
    message = refusal(capsys, "associate", trained, "--data", spoilt, "--out", out)
    assert_says(message, image, reason, "fix or remove")
    assert "--skip-unreadable" not in message, "associate has no such option"
    assert not out.exists()


def test_unreadable_images_are_all_counted_in_one_refusal(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = images_of(spoilt, "train")[:3]
    for image in images:
        truncate(image)
    message = refusal(capsys, "train", "market-split", "--data", spoilt, "--out", tmp_path / "out", *SMALL)
    assert_says(message, images[0], "(and 2 more: ", images[1], images[2])


def test_unreadable_images_are_listed_once_and_left_out_if_asked(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = images_of(spoilt, "train"), tmp_path / "out"
    bad = [*images[:3], images_of(spoilt, "gallery")[0]]
    reasons = [breakage(image) for breakage, image in zip(BREAKAGES, bad, strict=True)]
    succeed("train", "market-split", "--data", spoilt, "--out", out, *SMALL, "--skip-unreadable")
    errors = capsys.readouterr().err
    assert "skipped 4 unreadable images" in errors
    for image, reason in zip(bad, reasons, strict=True):
        named = [line for line in errors.splitlines() if str(image) in line]
        assert len(named) == 1, errors
        assert reason in named[0]
    assert json.loads((out / "results.json").read_text())["images"] == len(images) - 3


def test_skipped_images_are_listed_with_brackets_in_their_names(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(world, tmp_path / "[bold]" / "a[" / "b]"))  # to Rich, [bold] and [/b] are markup
    image = images_of(data, "train")[0]
    write_text_in(image)
    succeed("train", "market-split", "--data", data, "--out", tmp_path / "out", *SMALL, "--skip-unreadable")
    assert str(image) in capsys.readouterr().err


def test_training_refuses_when_no_image_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_folders(tmp_path / "images"), tmp_path / "out"
    for image in data.rglob("*.jpg"):
        write_text_in(image)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["train", "market-split", "--data", str(data), "--out", str(out), *SMALL, "--skip-unreadable"])
    assert stop.value.code == 2
    listed, error, end = capsys.readouterr().err.partition("error: ")
    assert listed.startswith("skipped 8 unreadable images")
    assert_says(error + end, "error: ", "no training image can be read")
    assert not out.exists()


def test_one_camera_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_folders(tmp_path / "images", cameras=1), tmp_path / "out"
    message = refusal(capsys, "train", "market-split", "--data", data, "--out", out, *SMALL)
    assert_says(message, data, "one camera (c0)", "add cameras or set mode=intra")
    assert not out.exists()


def test_one_label_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_folders(tmp_path / "images", cameras=1, labels=1), tmp_path / "out"
    message = refusal(capsys, "train", "market-split", "--data", data, "--out", out, *SMALL, "--set", "mode=intra")
    assert_says(message, data, "only one label", "label more persons")
    assert not out.exists()


def test_supervised_mode_without_persons_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_folders(tmp_path / "images"), tmp_path / "out"
    message = refusal(capsys, "train", "market-split", "--data", data, "--out", out, *SMALL, "--set", "mode=supervised")
    assert_says(message, data, "needs the true person of every image", "give a manifest with them")
    assert not out.exists()


def test_evaluation_without_query_and_gallery_is_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled_folders(tmp_path / "images")
    before = files_in(run)
    message = refusal(capsys, "evaluate", run, "--data", data)
    assert_says(message, data, "has no query and gallery", "add query/ and gallery/")
    assert files_in(run) == before


def test_association_without_training_images_is_refused(
    tmp_path: Path, world: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (world / "manifest.csv").read_text().splitlines()
    data = table(tmp_path / "images", lines[0], *(f"{world}/{line}" for line in lines[1:] if ",train," not in line))
    for command in (("associate", trained), ("train", "market-split")):
        message = refusal(capsys, *command, "--data", data, "--allow-outside", "--out", tmp_path / "out")
        assert_says(message, data, "no training image", ";")
        assert not (tmp_path / "out").exists()


def test_split_without_persons_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_folders(tmp_path / "images"), tmp_path / "out"
    message = refusal(capsys, "data", "split", data, out)
    assert_says(message, data / "c0" / "p0" / "0.jpg", "its true person is unknown", "give a manifest with persons")
    assert not out.exists()


def test_split_of_two_persons_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "images", HEADER, "a.jpg,c1,1,train,anna", "b.jpg,c1,2,train,ben")
    message = refusal(capsys, "data", "split", data, tmp_path / "out")
    assert_says(message, data, "2 persons are too few", "give at least three")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "mine.csv", "mine.parquet"])
def test_split_leaves_a_manifest_that_exists(
    name: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    manifest = out if name else tmp_path / "manifest.csv"
    manifest.write_text("mine")
    message = refusal(capsys, "data", "split", world, out)
    assert_says(message, manifest, "exists already", "choose another output or remove it")
    assert files_in(tmp_path) == {manifest.name: b"mine"}


@pytest.mark.parametrize(
    ("option", "value"), [("persons", 2), ("persons", -1), ("cameras", 1), ("cameras", 0), ("images", 0), ("seed", -1)]
)
def test_synthesis_refuses_numbers_out_of_range(
    option: str, value: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, "data", "synthesize", tmp_path / "world", f"--{option}", value)
    assert_says(message, f"{option} {value}: too small", "give", "or more")
    assert files_in(tmp_path) == {}


def test_synthesis_refuses_unknown_visits_and_names_the_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, "data", "synthesize", tmp_path / "world", "--visits", "nobody")
    assert_says(message, "visits nobody", "choose from usual, pairs, chain, apart, uneven, half")
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--footage", "--images", 3], ["--images 3", "not for --footage"]),
        (["--minutes", 3], ["--minutes 3", "only for --footage"]),
        (["--footage", "--size", "large"], ["size large", "640x480"]),
        (["--footage", "--fps", 0], ["fps 0: out of range", "give 1 to"]),
    ],
)
def test_synthesis_of_footage_refuses_options_that_do_not_fit(
    options: list[object], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_says(refusal(capsys, "data", "synthesize", tmp_path / "world", *options), *words)
    assert files_in(tmp_path) == {}


def test_synthesis_leaves_a_folder_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert_says(refusal(capsys, "data", "synthesize", tmp_path), tmp_path, "exists already", "choose another output")
    assert files_in(tmp_path) == {"mine.txt": b"mine"}


# --- Settings ---------------------------------------------------------------------------------------------------------

UNKNOWN = ("is not a setting", "remove it or correct its name")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("stage2: {epoch: 3}", ("stage2.epoch ", *UNKNOWN), id="unknown key"),
        pytest.param("optimizer: adam", ("optimizer ", *UNKNOWN), id="unknown section"),
        pytest.param("stage2: {epochs: many}", ("stage2.epochs is 'many'", "valid integer"), id="word for a number"),
        pytest.param("stage2: {epochs: 1.5}", ("stage2.epochs is 1.5", "valid integer"), id="fraction of an epoch"),
        pytest.param("stage2: [1]", ("stage2 is [1]", "valid dictionary"), id="list for a section"),
        pytest.param("stage2: {epochs: 0}", ("stage2.epochs is 0", "greater than or equal to 1"), id="no epoch"),
        pytest.param(
            "mode: magic", ("mode is 'magic'", "'ccafl', 'intra', 'supervised' or 'precise_ics'"), id="unknown mode"
        ),
        pytest.param("model: {image_size: [32]}", ("model.image_size", "required"), id="one side only"),
        pytest.param("model: {image_size: [8, 8]}", ("model.image_size", "at least 16 pixels"), id="tiny images"),
        pytest.param("mode: ccafl\nstage2: {epochs: 3", ("line 2", "not valid YAML", "fix it"), id="not YAML"),
        pytest.param("mode: ccafl\nseed: 2024-13-45", ("not valid YAML", "fix it"), id="impossible date"),
        pytest.param("mode: " + "[" * 5000 + "]" * 5000, ("not valid YAML (nested too deeply)",), id="deep nesting"),
        pytest.param("stage2: &a {x: *a}", ("not valid YAML (settings have no aliases)",), id="an alias to itself"),
        pytest.param(
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
            ("not valid YAML (settings have no aliases)",),
            id="alias bomb",
        ),
        pytest.param("just words", ("is not a mapping of settings", "see the shipped configurations"), id="words"),
    ],
)
def test_bad_settings_in_a_file_are_refused(
    text: str, parts: tuple[str, ...], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "mine.yaml", tmp_path / "out"
    config.write_text(text)
    small = [] if text.startswith(("stage2", "just", "model: {image")) else SMALL
    assert_says(refusal(capsys, "train", config, "--data", world, "--out", out, *small), config, *parts)
    assert not out.exists()


def test_configuration_that_is_not_text_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "mine.yaml", tmp_path / "out"
    config.write_bytes(b"mode: \xff\xfe")
    message = refusal(capsys, "train", config, "--data", world, "--out", out)
    assert_says(message, config, "cannot be read as text", "give a YAML file")
    assert not out.exists()


def test_unknown_configuration_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, "train", "market", "--data", world, "--out", tmp_path / "out")
    assert_says(message, "market: no such configuration", "give a YAML file or one of", "demo", "market1501")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        pytest.param("stage2.epoch=3", ("stage2.epoch ", *UNKNOWN), id="unknown key"),
        pytest.param("stage3.epochs=3", ("stage3 ", *UNKNOWN), id="unknown section"),
        pytest.param("stage2.epochs=many", ("stage2.epochs is 'many'", "valid integer"), id="word for a number"),
        pytest.param("stage2=3", ("stage2 is 3", "valid dictionary"), id="number for a section"),
        pytest.param("seed=-1", ("seed is -1", "greater than or equal to 0"), id="negative seed"),
        pytest.param("seed.of=1", ("seed ", "valid integer"), id="section for a number"),
        pytest.param("mode.of=1", ("--set mode.of=1", "mode has no keys below it", "see"), id="key below a value"),
        pytest.param("stage2.epochs", ("--set stage2.epochs", "key.path=value", "stage2.epochs=40"), id="no value"),
        pytest.param("stage2.milestones=[1", ("--set stage2.milestones=[1", "not valid YAML", "fix it"), id="no YAML"),
        pytest.param("seed=2024-13-45", ("--set seed=2024-13-45", "not valid YAML"), id="impossible date"),
        pytest.param("model.architecture=RN5", ("RN5: no such architecture", "choose", "RN50"), id="architecture"),
        pytest.param("model.architecture=coca_base", ("coca_base: ", "not CLIP's own", "choose"), id="other towers"),
        pytest.param("model.weights=openai", ("openai: no such file", "give an existing file"), id="no such weights"),
        pytest.param("model.template=A person.", ("template 'A person.'", "exactly one {}", "put it"), id="template"),
        pytest.param("runtime.accelerator=abacus", ("runtime: ", "set runtime.accelerator"), id="accelerator"),
        pytest.param("runtime.devices=0", ("runtime: ", "set runtime.accelerator"), id="no device"),
    ],
)
def test_bad_settings_on_the_command_line_are_refused(
    setting: str, parts: tuple[str, ...], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    message = refusal(capsys, "train", "market-split", "--data", world, "--out", out, *SMALL, "--set", setting)
    assert_says(message, *parts)
    assert not out.exists()


def wrong_shapes(path: Path) -> tuple[str, ...]:
    save_file({"visual.conv1.weight": torch.zeros(7, 3, 3, 3)}, path)
    return "not weights of tiny", "in the file", "name the architecture that the file belongs to"


def not_weights(path: Path) -> tuple[str, ...]:
    path.write_text("weights")
    return "unreadable, damaged or not weights", "give"


@pytest.mark.parametrize("write", [wrong_shapes, not_weights], ids=lambda write: write.__name__)
def test_weights_that_do_not_fit_are_refused(
    write: Callable[[Path], tuple[str, ...]], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = tmp_path / "weights.safetensors", tmp_path / "out"
    parts = write(weights)
    command = ("train", "market-split", "--data", world, "--out", out, *SMALL)
    assert_says(refusal(capsys, *command, "--set", f"model.weights={weights}"), weights, *parts)
    assert not out.exists()


# --- Runs -------------------------------------------------------------------------------------------------------------


def test_training_leaves_an_output_folder_that_exists(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for resume in ((), ("--resume",)):
        message = refusal(capsys, "train", "market-split", "--data", world, "--out", tmp_path, *SMALL, *resume)
        assert_says(message, tmp_path, "exists already", "choose another output or remove it")
        assert files_in(tmp_path) == {"mine.txt": b"mine"}


def test_training_leaves_a_run_that_exists(world: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_in(trained)
    message = refusal(capsys, "train", "market-split", "--data", world, "--out", trained, *SMALL)
    assert_says(message, trained, "exists already", "continue with --resume, or choose another output")
    assert files_in(trained) == before


def test_training_leaves_a_file_with_the_name_of_its_folder(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    assert_says(refusal(capsys, "train", "market-split", "--data", world, "--out", out, *SMALL), out, "exists already")
    below = refusal(capsys, "train", "market-split", "--data", world, "--out", out / "run", *SMALL)
    assert_says(below, out / "run", "cannot be created", "choose another output")
    assert out.read_text() == "mine"


def test_resuming_with_other_settings_is_refused(
    world: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(trained)
    command = ("train", "market-split", "--data", world, "--out", trained, "--resume", *SMALL)
    message = refusal(capsys, *command, "--set", "stage2.epochs=2")
    assert_says(message, trained / "config.yaml", "stage2.epochs: 1, now 2", "use them or another --out")
    assert files_in(trained) == before


def test_resuming_on_other_data_is_refused(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_in(trained)
    other = labelled_folders(tmp_path / "images")
    message = refusal(capsys, "train", "market-split", "--data", other, "--out", trained, "--resume", *SMALL)
    assert_says(message, trained / "checkpoints" / "last.pt", "other images or labels", "give the same --data")
    assert files_in(trained) == before


def using(run: Path, world: Path, out: Path) -> list[tuple[object, ...]]:
    """Every command that opens a run."""
    return [
        ("evaluate", run, "--data", world),
        ("extract", run, "--images", world, "--out", out),
        ("associate", run, "--data", world, "--out", out),
    ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        pytest.param("architecture", "clip-synth", id="architecture"),
        pytest.param("image_size", [64, 32], id="image size"),
    ],
)
def test_checkpoint_of_another_network_is_refused(
    setting: str, value: object, run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["model"][setting] = value
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    before, out = files_in(run), tmp_path / "out"
    for command in using(run, world, out)[:2]:
        message = refusal(capsys, *command)
        assert_says(message, run / "checkpoints" / "last.pt", " in the file and ", "use the configuration it was")
    assert files_in(run) == before
    assert not out.exists()


def test_folder_that_is_not_a_run_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (world, tmp_path / "missing"):
        for command in using(folder, world, tmp_path / "out"):
            assert_says(refusal(capsys, *command), folder, "is not a run", "give a folder made by ccafl train")
    assert files_in(tmp_path) == {}


def test_run_that_has_not_trained_is_refused(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "checkpoints")
    for command in using(run, world, tmp_path / "out"):
        message = refusal(capsys, *command)
        assert_says(message, run / "checkpoints" / "last.pt", "no such checkpoint", "give the folder of a run")
    assert not (tmp_path / "out").exists()


def test_unknown_checkpoint_is_refused(trained: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, "evaluate", trained, "--data", world, "--checkpoint", "first")
    assert_says(message, trained / "checkpoints" / "first.pt", "no such checkpoint", "give")


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def other_text(content: bytes) -> bytes:
    return b"not a checkpoint\n"


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


def broken_pickle(content: bytes) -> bytes:
    return b"\x80\x02K\x01e."


def zip_with_a_bad_pickle(content: bytes) -> bytes:
    return content.replace(b"camera_names", b"\xff" * 12)


@pytest.mark.parametrize(
    "damage",
    [cut_short, emptied, other_text, zeros, broken_pickle, zip_with_a_bad_pickle],
    ids=lambda damage: damage.__name__,
)
def test_damaged_checkpoint_is_refused(
    damage: Callable[[bytes], bytes], run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = run / "checkpoints" / "last.pt", tmp_path / "out"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    (run / "checkpoints" / "previous.pt").unlink()
    before = files_in(run)
    for command in (
        *using(run, world, out),
        ("train", "market-split", "--data", world, "--out", run, "--resume", *SMALL),
    ):
        assert_says(refusal(capsys, *command), checkpoint, "is damaged or not a checkpoint", "train again")
        assert files_in(run) == before
        assert not out.exists()


@pytest.mark.parametrize(
    "results",
    [
        '{"mAP": "high"}',
        *(pytest.param(text, marks=pytest.mark.faults) for text in ('{"association": [1]}', '{"steps": null}', "[]")),
        '{"a": ' * 5000,
        '{"mAP": 0.5',
    ],
    ids=["text", "list", "null", "no object", "deep", "cut short"],
)
def test_damaged_results_of_a_run_are_refused(
    results: str, run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "results.json").write_text(results)
    message = refusal(capsys, "export", run, "--program", "--out", tmp_path / "out")
    assert_says(message, run / "results.json", "is damaged", "remove it or train again")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    ["3", '{"stage": 1}', '{"stage": 2, "epoch": 0, "losses": {"total": "high"}}', "[" * 5000 + "]" * 5000, "\0"],
    ids=["number", "no epoch", "text for a loss", "deep", "NUL"],
)
def test_events_that_are_none_are_refused(line: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = run / "events.jsonl"
    events.write_text(line + "\n" + events.read_text())
    assert_says(refusal(capsys, "report", run), f"{events}, line 1", "is not", "remove the line")


def test_damaged_settings_of_a_run_are_refused(run: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.yaml").write_text("mode: [")
    message = refusal(capsys, "evaluate", run, "--data", world)
    assert_says(message, run / "config.yaml", "line 1", "not valid YAML", "fix it")


# --- Extraction -------------------------------------------------------------------------------------------------------


def test_extraction_without_pictures_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "empty", tmp_path / "features.parquet"
    message = refusal(capsys, "extract", trained, "--images", folder, "--out", out)
    assert_says(message, folder, "no such file or folder", "give a picture or a folder of pictures")
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    message = refusal(capsys, "extract", trained, "--images", folder, "--out", out)
    assert_says(message, folder, "holds no pictures", "give a folder that does")
    assert not out.exists()


def test_extraction_skips_an_unreadable_picture_only_if_asked(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, out = labelled_folders(tmp_path / "images"), tmp_path / "features.parquet"
    bad = pictures / "c0" / "p0" / "0.jpg"
    write_text_in(bad)
    message = refusal(capsys, "extract", trained, "--images", pictures, "--out", out)
    assert_says(message, bad, "not a picture", "--skip-unreadable")
    assert not out.exists()
    succeed("extract", trained, "--images", pictures, "--out", out, "--skip-unreadable")
    assert str(bad) in capsys.readouterr().err
    assert str(bad) not in pq.read_table(out)["image"].to_pylist()
    assert pq.read_table(out).num_rows == 7


def test_extraction_into_a_folder_is_refused(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.parquet"
    out.mkdir()
    assert_says(refusal(capsys, "extract", trained, "--images", world, "--out", out), out, "cannot be written", ";")
    assert files_in(tmp_path) == {"features.parquet": None}


def test_extraction_leaves_what_is_not_a_regular_file(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    subprocess.run(["mkfifo", pipe], check=True)  # like /dev/null, which only root could replace
    assert_says(refusal(capsys, "extract", trained, "--images", world, "--out", pipe), pipe, "cannot be written", ";")
    assert pipe.is_fifo()


# --- A full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run stopped by the user after its first stage, with the first stage's checkpoint."""

    def stop(run: Training) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_encoder_stage", stop)
        with pytest.raises(SystemExit) as end:
            main(["train", "market-split", "--data", str(world), "--out", str(run), *SMALL])
    assert end.value.code == 130
    return run


def test_full_disk_keeps_the_previous_checkpoint_and_the_run_can_resume(
    stopped: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = stopped / "checkpoints" / "last.pt"
    before = last.read_bytes()
    command = ("train", "market-split", "--data", world, "--out", stopped, "--resume", *SMALL)
    with full_disk(FILE_LIMIT):
        message = refusal(capsys, *command)
    assert_says(message, stopped / "checkpoints", "cannot be written", "free space")
    assert "enforce" not in message, "PyTorch's own message is no help"
    assert [path.name for path in last.parent.iterdir()] == ["last.pt"]
    assert last.read_bytes() == before
    assert load_checkpoint(last)["stage"] == 1
    assert not (stopped / "results.json").exists()
    succeed(*command)
    assert load_checkpoint(last)["stage"] == 2
    assert json.loads((stopped / "results.json").read_text())["epochs"] == 1
    assert [json.loads(line)["stage"] for line in (stopped / "events.jsonl").read_text().splitlines()] == [1, 2]


def test_full_disk_at_the_first_checkpoint_leaves_a_run_that_can_resume(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("train", "market-split", "--data", world, "--out", out, *SMALL)
    with full_disk(FILE_LIMIT):
        message = refusal(capsys, *command)
    assert_says(message, out / "checkpoints" / "last.pt", "cannot be written", "free space")
    assert list((out / "checkpoints").iterdir()) == []
    succeed(*command, "--resume")
    assert (out / "results.json").is_file()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")  # no thread may print a traceback
def test_full_disk_at_the_events_is_reported_with_their_path(
    stopped: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events, last = stopped / "events.jsonl", stopped / "checkpoints" / "last.pt"
    before = last.read_bytes()
    with full_disk(events.stat().st_size):
        message = refusal(capsys, "train", "market-split", "--data", world, "--out", stopped, "--resume", *SMALL)
    assert_says(message, events, "; free space")
    assert last.read_bytes() == before


@pytest.mark.parametrize("command", ["extract", "associate", "split", "split as Parquet", "synthesize"])
def test_full_disk_leaves_no_half_written_output(
    command: str, trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("out.csv" if command in ("associate", "split") else "out.parquet")
    arguments = {
        "extract": ("extract", trained, "--images", world, "--out", out),
        "associate": ("associate", trained, "--data", world, "--out", out),
        "split": ("data", "split", world, out),
        "split as Parquet": ("data", "split", world, out),
        "synthesize": ("data", "synthesize", out, "--persons", 3, "--cameras", 2),
    }[command]
    with full_disk(10):
        message = refusal(capsys, *arguments, shown=command == "associate")
    assert_says(message, out, "cannot be written", "free space or choose another")
    assert files_in(tmp_path) == {}


def test_full_disk_keeps_the_previous_output(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    for command in using(trained, world, out)[1:]:
        with full_disk(10):
            message = refusal(capsys, *command, shown=command[0] in ("evaluate", "associate"))
        assert_says(message, out, "cannot be written", "free space")
        assert files_in(tmp_path) == {"out": b"mine"}


# --- In a process of its own ------------------------------------------------------------------------------------------


def test_installed_command_shows_no_traceback(tmp_path: Path) -> None:
    code, errors = in_a_process(Path(sysconfig.get_path("scripts")) / "ccafl", "data", "check", tmp_path / "missing")
    assert code == 2
    assert_says(one_line(errors), tmp_path / "missing", "no such file or folder", "correct the path")


@pytest.mark.faults  # most of its time imports what the one above does without
def test_split_in_a_process_shows_no_traceback(tmp_path: Path) -> None:
    data, out = table(tmp_path / "images", HEADER, "a.jpg,c1,,train,"), tmp_path / "out"
    code, errors = in_a_process(sys.executable, "-c", "from ccafl.cli import main; main()", "data", "split", data, out)
    assert code == 2
    assert_says(one_line(errors), f"{data}, line 2", "label is empty", "fill it in")
    assert not out.exists()
