"""The synthetic world is reproducible, true to its manifest, and as hard as real cameras are."""

import csv
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ccafl.errors import InputError
from ccafl.synthetic.camera import random_camera
from ccafl.synthetic.caption import seen_side
from ccafl.synthetic.world import (
    CAMERA,
    CAPTION,
    CAPTIONED,
    HEADING,
    IMAGE,
    LABELS,
    PERSON,
    PRETRAINING_SEED,
    VISIT,
    WALK,
    World,
)
from ccafl.synthetic.write import count_images, synthesize

SIZE = (64, 32)
PERSONS, CAMERAS, IMAGES, SEED = 18, 3, 3, 7
Row = dict[str, str]
Pixels = npt.NDArray[np.float64]


def pixels(world: World, person: int, camera: int, index: int) -> Pixels:
    return np.asarray(world.picture(person, camera, index, SIZE)).astype(np.float64)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "out"
    return synthesize(out, seed=SEED, persons=PERSONS, cameras=CAMERAS, images=IMAGES, size=SIZE)


@pytest.fixture(scope="module")
def rows(written: Path) -> list[Row]:
    with written.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Reproducible


def test_the_same_seed_gives_the_same_bytes(written: Path, rows: list[Row], tmp_path: Path) -> None:
    again = synthesize(tmp_path / "again", seed=SEED, persons=PERSONS, cameras=CAMERAS, images=IMAGES, size=SIZE)
    assert again.read_bytes() == written.read_bytes()
    for row in rows:
        assert (again.parent / row["image"]).read_bytes() == (written.parent / row["image"]).read_bytes()


def test_different_seeds_give_different_persons_cameras_and_pictures() -> None:
    one, other = World(0, 3, 2), World(1, 3, 2)
    assert one.person(0) != other.person(0)
    assert not np.array_equal(one.camera(0).colours, other.camera(0).colours)
    assert np.abs(pixels(one, 0, 0, 0) - pixels(other, 0, 0, 0)).mean() > 5


def test_a_picture_depends_neither_on_counts_nor_on_order() -> None:
    few, many = World(SEED, 3, 2), World(SEED, 50, 5)
    many.picture(4, 3, 2, SIZE)
    assert few.person(0) == many.person(0)
    assert few.walk(0, 1) == many.walk(0, 1)
    assert np.array_equal(pixels(few, 0, 1, 2), pixels(many, 0, 1, 2))


def test_generators_of_different_purposes_never_coincide() -> None:
    world, indices = World(SEED, 3, 2), range(4)
    keys: list[tuple[int, ...]] = [
        (kind, i) for kind in (PERSON, CAMERA, VISIT, LABELS, CAPTIONED, HEADING) for i in indices
    ]
    keys += [(WALK, i, j) for i in indices for j in indices]
    keys += [(IMAGE, i, j, k) for i in indices for j in indices for k in indices]
    keys += [(CAPTION, i, j, k, 0) for i in indices for j in indices for k in indices]
    assert len({world.random(*key).random() for key in keys}) == len(keys)


# True to its manifest


def test_the_manifest_names_every_picture_once_with_its_camera_and_label(written: Path, rows: list[Row]) -> None:
    assert list(rows[0]) == ["image", "camera", "label", "split", "person", "caption", "time"]
    found = {path.relative_to(written.parent).as_posix() for path in written.parent.rglob("*.jpg")}
    assert sorted(row["image"] for row in rows) == sorted(found)
    assert len(rows) == count_images(seed=SEED, persons=PERSONS, cameras=CAMERAS, images=IMAGES)
    for row in rows:
        assert row["image"].startswith(f"images/{row['camera']}/{row['label']}/")
        assert Image.open(written.parent / row["image"]).size == SIZE[::-1]


def test_a_label_within_a_camera_is_one_person_and_no_person_is_missing(rows: list[Row]) -> None:
    persons: dict[tuple[str, str], set[str]] = defaultdict(set)
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        persons[row["camera"], row["label"]].add(row["person"])
        labels[row["camera"], row["person"]].add(row["label"])
    assert all(len(both) == 1 for both in [*persons.values(), *labels.values()])
    assert len({row["person"] for row in rows}) == PERSONS


def test_a_person_is_in_one_place_at_a_time_and_passes_the_cameras_in_turn(rows: list[Row]) -> None:
    times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for row in rows:
        times[row["person"], row["camera"]].append(datetime.fromisoformat(row["time"]))
    for person in {row["person"] for row in rows}:
        cameras = sorted(camera for who, camera in times if who == person)
        in_turn = [time for camera in cameras for time in times[person, camera]]
        assert all(earlier < later for earlier, later in pairwise(in_turn))
        assert all(time.utcoffset() == timedelta(0) for time in in_turn)


def test_training_and_test_persons_are_disjoint_and_a_third_are_test_persons(rows: list[Row]) -> None:
    training = {row["person"] for row in rows if row["split"] == "train"}
    tested = {row["person"] for row in rows if row["split"] != "train"}
    assert not training & tested
    assert len(tested) == PERSONS // 3


def test_a_test_persons_first_picture_in_each_camera_is_the_query(rows: list[Row]) -> None:
    groups: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        if row["split"] != "train":
            groups[row["camera"], row["person"]].append((row["image"], row["split"]))
    for group in groups.values():
        assert [split for _, split in sorted(group)] == ["query"] + ["gallery"] * (len(group) - 1)
        assert len(group) > 1


def test_at_least_two_cameras_but_not_all_see_each_person() -> None:
    world = World(SEED, 300, 5)
    seen = [world.cameras_of(person) for person in range(300)]
    assert min(map(len, seen)) == 2
    assert 0.58 < np.mean([len(cameras) for cameras in seen]) / 5 < 0.72


def test_walks_have_about_the_number_of_images_asked_for() -> None:
    world = World(SEED, 200, 2)
    counts = [world.count(person, 0, 6) for person in range(200)]
    assert min(counts) == 4
    assert 8 < max(counts) <= 10
    assert abs(np.mean(counts) - 6) < 0.4


def test_training_labels_reveal_nothing_across_cameras(tmp_path: Path) -> None:
    manifest = synthesize(tmp_path / "out", seed=3, persons=90, cameras=2, images=2, size=(16, 16))
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    number = {(row["camera"], row["person"]): int(row["label"][1:]) for row in rows}
    persons = sorted({row["person"] for row in rows})
    first, second = (np.array([number[camera, person] for person in persons]) for camera in ("c1", "c2"))
    assert not (first == second).any()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3
    assert abs(np.corrcoef(first, np.arange(len(persons)))[0, 1]) < 0.3
    for camera in ("c1", "c2"):  # nor does the order of the rows
        order = [row["label"] for row in rows if row["camera"] == camera]
        assert order == sorted(order)


# What the pictures show


def test_a_picture_is_not_blank(written: Path, rows: list[Row]) -> None:
    for row in rows[::5]:
        assert np.asarray(Image.open(written.parent / row["image"]).convert("L")).std() > 6


def test_most_walks_follow_the_usual_direction_and_turn_little() -> None:
    world = World(SEED, 400, 4)
    sides = [seen_side(world.heading(person, 1, 0) - world.usual_heading(1)) for person in range(400)]
    assert 0.65 < sides.count("front") / 400 < 0.95  # the camera's usual side
    headings = [world.heading(3, 1, index) for index in range(6)]
    assert np.ptp(headings) <= 25.1


def test_consecutive_cameras_see_different_sides() -> None:
    world = World(SEED, 3, 4)
    assert [seen_side(world.usual_heading(camera)) for camera in range(4)] == ["front", "back", "side", "side"]


def test_manifest_captions_are_the_worlds(rows: list[Row]) -> None:
    world = World(SEED, PERSONS, CAMERAS)
    for row in rows[::7]:
        person, camera = int(row["person"].removeprefix("person")), int(row["camera"].removeprefix("c")) - 1
        index = int(Path(row["image"]).stem.rpartition("_")[2])
        assert row["caption"] == world.caption(person, camera, index)


def test_any_number_of_processes_draws_the_same_world(tmp_path: Path) -> None:
    one, two = (
        synthesize(
            tmp_path / str(processes), seed=1, persons=70, cameras=3, images=2, size=(16, 16), processes=processes
        )
        for processes in (1, 2)
    )
    assert one.read_bytes() == two.read_bytes()
    for picture in one.parent.rglob("*.jpg"):
        assert picture.read_bytes() == (two.parent / picture.relative_to(one.parent)).read_bytes()


def test_many_persons_look_alike_and_no_two_are_the_same() -> None:
    world = World(SEED, 200, 2)
    persons = [world.person(index) for index in range(200)]
    assert len(set(persons)) == 200
    looks = {(person.upper_colour.name, person.lower_colour.name) for person in persons}
    assert len(looks) < 50
    for attribute in ("sex", "hair", "upper", "pattern", "lower", "bag", "hat", "bag_side", "carried"):
        assert len({getattr(person, attribute) for person in persons}) > 1


def test_a_change_of_camera_alters_a_picture_more_than_a_change_of_person() -> None:
    world = World(SEED, 12, 3)
    pictures = np.array(
        [[[pixels(world, person, camera, index) for index in (0, 2)] for camera in range(3)] for person in range(12)]
    ).reshape(12, 3, 2, -1)

    def distance(one: Pixels, other: Pixels) -> float:
        return float(np.sqrt(((one - other) ** 2).mean(axis=-1)).mean())

    same_camera = distance(pictures[:, :, 0], pictures[:, :, 1])
    other_camera = distance(pictures[:, :, 0], np.roll(pictures[:, :, 1], 1, axis=1))
    other_person = distance(pictures[:, :, 0], np.roll(pictures[:, :, 1], 1, axis=0))
    assert same_camera < other_person < other_camera


def test_strain_sets_how_far_a_camera_departs_from_a_faithful_picture() -> None:
    faithful, usual, strained = (random_camera(np.random.default_rng(3), 1, strain) for strain in (0.0, 1.0, 2.0))
    assert faithful.blur == faithful.noise == 0
    assert faithful.colours.sum(axis=1) == pytest.approx(1)  # grey stays grey
    assert strained.blur == pytest.approx(2 * usual.blur)
    assert strained.noise == pytest.approx(2 * usual.noise)
    casts = [np.log(camera.colours.sum(axis=1)) for camera in (usual, strained)]
    assert casts[1] == pytest.approx(2 * casts[0])
    little, much = (np.abs(camera.tones.astype(float) - faithful.tones).mean() for camera in (usual, strained))
    assert 0 < little < much


# User errors


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"persons": 2}, "persons 2"),
        ({"cameras": 1}, "cameras 1"),
        ({"images": 0}, "images 0"),
        ({"seed": -1}, "seed -1"),
        ({"seed": PRETRAINING_SEED}, "reserved for pretraining"),
        ({"size": (128, 4)}, "size 128x4"),
        ({"test_fraction": 1.0}, "test fraction 1.0"),
    ],
)
def test_a_number_out_of_range_is_refused_and_nothing_is_written(
    tmp_path: Path, bad: dict[str, object], message: str
) -> None:
    good: dict[str, object] = {"seed": 0, "persons": 3, "cameras": 2}
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "out", **(good | bad))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_non_empty_folder_is_left_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        synthesize(tmp_path, seed=0, persons=3, cameras=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("existed", [True, False])
def test_an_interrupted_world_leaves_nothing_and_progress_counts_images(tmp_path: Path, existed: bool) -> None:
    out = tmp_path / "out"
    seen: list[int] = []
    if existed:
        out.mkdir()

    def stop(images: int) -> None:
        seen.append(images)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(out, seed=0, persons=3, cameras=2, images=2, size=(16, 16), advance=stop)
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if existed else [])
    seen.clear()
    synthesize(out, seed=0, persons=3, cameras=2, images=2, size=(16, 16), advance=lambda images: seen.append(images))
    assert sum(seen) == count_images(seed=0, persons=3, cameras=2, images=2)
