"""Who passes which cameras: every pattern keeps its promise, and the usual world stays as it always was."""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccafl.data.check import check
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.synthetic.visits import PATTERNS, SMALLEST
from ccafl.synthetic.world import World
from ccafl.synthetic.write import count_images, synthesize

PERSONS = 2000


def seen(visits: str, cameras: int = 6, persons: int = PERSONS) -> list[tuple[int, ...]]:
    world = World(5, persons, cameras, visits=visits)
    return [world.cameras_of(person) for person in range(persons)]


def sizes(passed: list[tuple[int, ...]]) -> list[int]:
    """The number of persons in each camera."""
    counts = Counter(camera for cameras in passed for camera in cameras)
    return [counts[camera] for camera in range(max(counts) + 1)]


@pytest.mark.parametrize("visits", PATTERNS)
@pytest.mark.parametrize("cameras", [4, 20])
def test_every_pattern_uses_all_cameras_and_lists_them_in_order(visits: str, cameras: int) -> None:
    passed = seen(visits, cameras)
    assert all(list(one) == sorted(set(one)) and one for one in passed)
    assert {camera for one in passed for camera in one} == set(range(cameras))


@pytest.mark.parametrize("visits", PATTERNS)
def test_a_persons_cameras_follow_from_the_seed_and_not_from_the_other_persons(visits: str) -> None:
    assert seen(visits, persons=50) == seen(visits, persons=60)[:50]
    other = World(6, 50, 6, visits=visits)
    assert seen(visits, persons=50) != [other.cameras_of(person) for person in range(50)]


def test_pairs_are_passed_by_their_own_people_only() -> None:
    passed = Counter(seen("pairs"))
    assert set(passed) == {(0, 1), (2, 3), (4, 5)}
    assert min(passed.values()) > 0.9 * PERSONS / 3


def test_a_camera_of_a_chain_shares_people_with_its_neighbours_only() -> None:
    passed = Counter(seen("chain"))
    assert set(passed) == {(camera, camera + 1) for camera in range(5)}
    assert min(passed.values()) > 0.8 * PERSONS / 5


def test_nobody_passes_camera_0_and_another_one_where_it_is_apart() -> None:
    passed = seen("apart")
    assert {one for one in passed if 0 in one} == {(0,)}
    assert min(len(one) for one in passed if 0 not in one) == 2
    first, *others = sizes(passed)
    assert first == pytest.approx(np.mean(others), rel=0.1)


def test_uneven_cameras_shrink_geometrically() -> None:
    passed = seen("uneven")
    assert min(map(len, passed)) == 2
    counts = np.array(sizes(passed))
    assert (np.diff(counts) < 0).all()
    assert counts[0] > 0.95 * PERSONS
    assert counts[-1] / counts[0] == pytest.approx(SMALLEST, rel=0.4)


def test_one_camera_only_sees_half_of_the_people() -> None:
    lengths = [len(one) for one in seen("half")]
    assert lengths.count(1) / PERSONS == pytest.approx(0.5, abs=0.04)


# Written worlds


def test_the_usual_world_is_what_it_was_before_there_were_others(tmp_path: Path) -> None:
    manifest = synthesize(tmp_path / "world", seed=7, persons=18, cameras=3, images=3, size=(64, 32))
    text = manifest.read_bytes()
    assert hashlib.sha256(text).hexdigest() == "7551025d450e9fd5196153b1514acc0a43a2f8c747b66d4c3c46fbe14744f237"
    picture = Image.open(manifest.parent / "images/c1/p114/c1_p114_00.jpg").convert("RGB")
    bands = np.asarray(picture.resize((1, 4), Image.Resampling.BOX)).reshape(4, 3)
    assert np.abs(bands - np.array([[79, 71, 72], [70, 61, 69], [57, 54, 60], [52, 46, 46]])).max() <= 2
    named = synthesize(tmp_path / "named", seed=7, persons=18, cameras=3, images=3, size=(64, 32), visits="usual")
    for path in manifest.parent.rglob("*.*"):
        assert path.read_bytes() == (named.parent / path.relative_to(manifest.parent)).read_bytes()


@pytest.mark.parametrize("visits", PATTERNS)
@pytest.mark.parametrize("images", [1, 2])
def test_written_worlds_follow_the_pattern_and_every_query_has_an_answer(
    visits: str, images: int, tmp_path: Path
) -> None:
    settings = {"seed": 3, "persons": 16, "cameras": 4, "images": images, "visits": visits, "test_fraction": 0.5}
    manifest = synthesize(tmp_path / "world", size=(16, 16), **settings)  # type: ignore[arg-type]
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count_images(**settings)  # type: ignore[arg-type]

    passed: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        passed[int(row["person"].removeprefix("person"))].add(int(row["camera"].removeprefix("c")) - 1)
    world = World(3, 16, 4, visits=visits)
    assert {person: tuple(sorted(cameras)) for person, cameras in passed.items()} == {
        person: world.cameras_of(person) for person in range(16)
    }

    source = read_source(manifest.parent)
    tested = {person for person in range(8, 16) if len(world.cameras_of(person)) > 1}
    assert {record.person for record in source.query} == {f"person{person:04d}" for person in tested}
    assert len(source.query) == sum(len(world.cameras_of(person)) for person in tested)
    assert {record.person for record in source.gallery} == {f"person{person:04d}" for person in range(8, 16)}
    assert not any("queries have no image" in problem for problem in check(source, manifest.parent).problems)


def test_one_image_means_one_for_every_training_label(tmp_path: Path) -> None:
    manifest = synthesize(tmp_path / "world", seed=0, persons=12, cameras=3, images=1, size=(16, 16))
    source = read_source(manifest.parent)
    labels = Counter((record.camera, record.label) for record in source.train)
    assert set(labels.values()) == {1}
    tested = Counter((record.camera, record.person) for record in [*source.query, *source.gallery])
    assert min(tested.values()) == 2


@pytest.mark.parametrize(
    ("visits", "cameras", "message"),
    [
        ("nobody", 4, "visits nobody: no such pattern; choose from usual, pairs"),
        ("pairs", 5, "visits pairs: 5 cameras do not make pairs; give an even number"),
        ("apart", 2, "visits apart: 2 cameras are too few; give 3 or more"),
    ],
)
def test_a_pattern_that_does_not_exist_or_suit_the_cameras_is_refused(
    visits: str, cameras: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "world", seed=0, persons=6, cameras=cameras, visits=visits)
    assert not any(tmp_path.iterdir())
