"""Footage is reproducible, its boxes are those of the persons drawn, and persons come back in other cameras."""

import csv
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from ccafl.errors import InputError
from ccafl.synthetic.camera import Camera
from ccafl.synthetic.film import film, settings_for
from ccafl.synthetic.footage import Figure, Seen, compose, draw, film_camera, frames, lens, look
from ccafl.synthetic.routes import HURRY, Passage, Pose, route, starts, transit
from ccafl.synthetic.world import World

SIZE = (120, 160)
SETTINGS = settings_for(seed=5, minutes=1, cameras=2, persons=14, fps=1, size=SIZE)
FRAMES = 60
NAMES = ("c1", "c2")
Row = tuple[int, int, int, int, int, int, float]  # frame, track, left, top, width, height, visibility


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("footage") / "out", SETTINGS)


def truth(folder: Path, camera: str) -> Iterator[Row]:
    for line in (folder / f"{camera}.txt").read_text().splitlines():
        frame, track, left, top, width, height, confidence, kind, visibility = line.split(",")
        assert (confidence, kind) == ("1", "1")
        yield int(frame), int(track), int(left), int(top), int(width), int(height), float(visibility)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Reproducible, and written whole


def test_the_same_seed_gives_the_same_files_with_any_number_of_processes(written: Path, tmp_path: Path) -> None:
    drawn: list[int] = []
    again = film(tmp_path / "again", SETTINGS, processes=2, advance=drawn.append)
    assert bytes_of(again) == bytes_of(written)
    assert sum(drawn) == 2 * FRAMES
    other = film(tmp_path / "other", replace(SETTINGS, seed=6, minutes=0.05))
    assert (other / "c1.mp4").read_bytes() != (written / "c1.mp4").read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path, processes: int) -> None:
    def stop(drawn: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film(tmp_path / "out", SETTINGS, processes=processes, advance=stop)
    assert not any(tmp_path.iterdir())


def test_a_process_that_is_killed_ends_the_drawing(tmp_path: Path) -> None:
    def kill(drawn: int) -> None:
        multiprocessing.active_children()[0].kill()

    with pytest.raises(InputError, match="was ended"):
        film(tmp_path / "out", SETTINGS, processes=2, advance=kill)
    assert not any(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_every_frame_of_a_video_can_be_decoded(written: Path) -> None:
    assert sorted(bytes_of(written)) == sorted(
        [*(f"{name}.{kind}" for name in NAMES for kind in ("mp4", "txt")), "cameras.csv", "persons.csv", "world.json"]
    )
    for name in NAMES:
        with av.open(str(written / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.average_rate, stream.height, stream.width) == (1, *SIZE)
            shades = [frame.to_ndarray(format="gray").std() for frame in container.decode(stream)]
        assert len(shades) == FRAMES
        assert min(shades) > 3


# True


def test_boxes_are_whole_numbers_inside_the_frame_and_one_a_track(written: Path) -> None:
    for name in NAMES:
        rows = list(truth(written, name))
        assert rows == sorted(rows)
        assert len({row[:2] for row in rows}) == len(rows) > FRAMES / 2
        for frame, _, left, top, width, height, visibility in rows:
            assert 1 <= frame <= FRAMES
            assert 0 <= left < left + width <= SIZE[1]
            assert 0 <= top < top + height <= SIZE[0]
            assert 0 <= visibility <= 1


def test_a_track_is_one_passage_of_one_person(written: Path) -> None:
    persons = table(written / "persons.csv")
    for name in NAMES:
        found: dict[int, list[int]] = defaultdict(list)
        for frame, track, *_ in truth(written, name):
            found[track].append(frame)
        rows = {int(row["track"]): row for row in persons if row["camera"] == name}
        assert {track: (frames[0], frames[-1]) for track, frames in found.items()} == {
            track: (int(row["first"]), int(row["last"])) for track, row in rows.items()
        }
        for frames_of in found.values():
            assert frames_of == list(range(frames_of[0], frames_of[-1] + 1))
        for one, other in combinations(rows.values(), 2):  # nobody is in two places at once
            if one["person"] == other["person"]:
                assert int(one["last"]) < int(other["first"]) or int(other["last"]) < int(one["first"])


def test_tracks_lie_within_their_persons_passages_by_the_cameras_clock(written: Path) -> None:
    world = SETTINGS.world
    cameras = [film_camera(world, index, SIZE) for index in range(2)]
    rows = table(written / "persons.csv")
    for row in rows:
        camera = NAMES.index(row["camera"])
        first, last = (starts(world)[camera] + int(row[end]) - 1 for end in ("first", "last"))
        passages = route(world, cameras, int(row["person"].removeprefix("person")), 60)
        assert any(one.camera == camera and one.begin <= first <= last <= one.end for one in passages)
    assert len(rows) > 10


def test_a_person_is_seen_by_the_next_camera_after_a_walk(written: Path) -> None:
    begins = {row["camera"]: datetime.fromisoformat(row["start"]) for row in table(written / "cameras.csv")}
    seen: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for row in table(written / "persons.csv"):
        first, last = (begins[row["camera"]] + timedelta(seconds=int(row[end]) - 1) for end in ("first", "last"))
        seen[row["person"]].append((first, last, row["camera"]))
    gaps = [
        (later[0] - earlier[1]).total_seconds()
        for times in seen.values()
        for earlier, later in pairwise(sorted(times))
        if earlier[2] != later[2]
    ]
    assert len(gaps) > 2
    assert min(gaps) > (1 - HURRY) * transit(SETTINGS.world, 0, 1)


def test_videos_begin_at_different_times(written: Path) -> None:
    rows = table(written / "cameras.csv")
    assert [row["camera"] for row in rows] == list(NAMES)
    assert {row["fps"] for row in rows} == {"1"}
    begins = [datetime.fromisoformat(row["start"]) for row in rows]
    expected = starts(SETTINGS.world)
    assert (begins[1] - begins[0]).total_seconds() == pytest.approx(expected[1] - expected[0], abs=0.001)
    assert len(set(begins)) == 2


# What the frames show


@pytest.fixture(scope="module")
def world() -> World:
    return World(3, 12, 2)


@pytest.fixture(scope="module")
def camera(world: World) -> Camera:
    """Camera 0 with a sharp lens and nothing in front of the path."""
    camera = film_camera(world, 0, (240, 320))
    return replace(camera, blur=0.0, barrier=np.full_like(camera.barrier, np.inf))


def figures_of(world: World, camera: Camera) -> Iterator[tuple[Figure, Seen]]:
    """Persons along their passages, those that are to be seen."""
    for person in range(4):
        passage = route(world, [camera] * 2, person, 60)[0]
        for time in np.linspace(passage.begin, passage.end, 12).tolist():
            pose = passage.at(time)
            figure = draw(camera, world.person(person), pose) if pose else None
            for seen in look(camera, [(0, figure)]) if figure else []:
                yield figure, seen


def standing(world: World, camera: Camera, person: int, across: float, away: float) -> Figure:
    figure = draw(camera, world.person(person), Pose(np.array([across, away, 0.0]), 0.0, 0.0, 0.0))
    assert figure is not None
    return figure


def test_a_box_is_what_a_person_changes_in_the_frame(world: World, camera: Camera) -> None:
    empty = lens(camera, camera.frame)
    cut = 0
    for figure, seen in figures_of(world, camera):
        frame = empty.copy()
        compose(camera, frame, [figure])
        rows, columns = np.nonzero(np.abs(frame.astype(int) - empty).max(-1) > 12)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        box = np.array([seen.left, seen.top, seen.left + seen.width, seen.top + seen.height])
        assert np.abs(found - box).max() <= 3
        cut += seen.visibility < 1
    assert cut > 2  # by the frame's edge


def test_visibility_falls_behind_a_nearer_person_and_behind_what_stands_in_the_way(
    world: World, camera: Camera
) -> None:
    near, far = (standing(world, camera, person, 0.0, camera.walked[0] + away) for person, away in ((0, 0.0), (1, 0.7)))
    beside = standing(world, camera, 2, 1.5, camera.walked[0] + 0.7)
    front, hidden, other = look(camera, [(0, near), (1, far), (2, beside)])
    assert (front.visibility, other.visibility) == (1, 1)
    assert hidden.visibility < 0.8
    alone = look(camera, [(1, far)])[0]
    assert replace(hidden, visibility=1.0) == alone  # the box is that of the whole person
    low = np.full_like(camera.barrier, np.inf)
    low[alone.top + alone.height // 2 :] = far.depth - 0.5
    assert 0.2 < look(replace(camera, barrier=low), [(1, far)])[0].visibility < 0.7


def test_nearer_persons_and_things_are_drawn_in_front(world: World, camera: Camera) -> None:
    near, far = (standing(world, camera, person, 0.0, camera.walked[0] + away) for person, away in ((0, 0.0), (1, 0.7)))
    empty = lens(camera, camera.frame)
    both, one, none = empty.copy(), empty.copy(), empty.copy()
    compose(camera, both, [far, near])
    compose(camera, one, [near])
    tall, wide = near.body.shape
    here = np.s_[near.top : near.top + tall, near.left : near.left + wide]
    sure = (near.cover == 255)[: both[here].shape[0], : both[here].shape[1]]
    assert np.array_equal(both[here][sure], one[here][sure])
    assert not np.array_equal(both, one)
    compose(replace(camera, barrier=np.zeros_like(camera.barrier)), none, [far, near])
    assert np.array_equal(none, empty)


def test_legs_move_while_a_person_walks_and_rest_while_they_stand(world: World, camera: Camera) -> None:
    place = np.array([0.0, camera.walked[0], 0.0])

    def shape(phase: float, pace: float) -> np.ndarray:
        figure = draw(camera, world.person(0), Pose(place, np.pi / 2, phase, pace))
        assert figure is not None
        return figure.body

    assert len({shape(phase, 1.0).shape[1] for phase in np.arange(6.0)}) > 2
    assert all(np.array_equal(shape(phase, 0.0), shape(0.0, 0.0)) for phase in np.arange(6.0))


def test_the_camera_adds_its_noise_to_every_frame(world: World) -> None:
    camera = film_camera(world, 0, SIZE)
    pictures = np.array([frame for frame, _ in frames(world, camera, 0, [], [0.0, 0.1, 0.2])]).astype(float)
    assert 0.6 * camera.noise < np.diff(pictures, axis=0).std() / np.sqrt(2) < 1.1 * camera.noise


# Who walks where, and when


@pytest.fixture(scope="module")
def routes() -> tuple[World, list[Camera], list[list[Passage]]]:
    world = World(1, 40, 3)
    cameras = [film_camera(world, index, SIZE) for index in range(3)]
    return world, cameras, [route(world, cameras, person, 300) for person in range(40)]


def test_persons_come_back_in_another_camera_after_a_walk(
    routes: tuple[World, list[Camera], list[list[Passage]]],
) -> None:
    world, _, all_routes = routes
    for person, passages in enumerate(all_routes):
        assert {passage.camera for passage in passages} == set(world.cameras_of(person))
        ratios = [
            (later.begin - earlier.end) / transit(world, earlier.camera, later.camera)
            for earlier, later in pairwise(passages)
        ]
        assert all(1 - HURRY <= ratio <= 1 + HURRY for ratio in ratios)
        assert passages[0].begin < 300
        assert passages[-1].end > 0
    again = [passages for passages in all_routes if len({one.camera for one in passages}) < len(passages)]
    assert 10 < len(again) < 40


def test_a_passage_leads_from_out_of_sight_to_out_of_sight(
    routes: tuple[World, list[Camera], list[list[Passage]]],
) -> None:
    world, cameras, all_routes = routes
    sizes, speeds = [], []
    for passage in (passage for passages in all_routes[:10] for passage in passages):
        camera, who = cameras[passage.camera], world.person(passage.person)
        for end in (passage.begin, passage.end):
            figure = draw(camera, who, passage.at(end))
            assert figure is None or not look(camera, [(0, figure)])
        middle = draw(camera, who, passage.at((passage.begin + passage.end) / 2))
        sizes += [seen.height / SIZE[0] * 480 for seen in look(camera, [(0, middle)])]
        steps = np.hypot(*np.diff(passage.samples[:, :2], axis=0).T) / 0.05
        speeds.append(steps.max())
        assert passage.at(passage.begin - 0.01) is None
        assert passage.at(passage.end + 0.01) is None
    assert len(sizes) > 10
    assert 70 < min(sizes) < max(sizes) < 330
    assert 0.8 < min(speeds) < max(speeds) < 2.2  # metres a second


def test_somebody_stands_a_while(routes: tuple[World, list[Camera], list[list[Passage]]]) -> None:
    rests = [(passage.samples[:, 4] == 0).sum() * 0.05 for passages in routes[2] for passage in passages]
    assert 0.1 < np.mean([rest >= 3 for rest in rests]) < 0.5
    assert max(rests) < 11


# User errors


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"minutes": 0.0}, "minutes 0"),
        ({"fps": 0}, "fps 0"),
        ({"cameras": 1}, "cameras 1"),
        ({"persons": 0}, "persons 0"),
        ({"seed": -1}, "seed -1"),
        ({"size": (480, 641)}, "size 641x480"),
        ({"visits": "nobody"}, "visits nobody"),
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_for(**bad)  # type: ignore[arg-type]
