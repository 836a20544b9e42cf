"""Accumulated identities, true persons and the numbering of query and gallery."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from ccafl.data.numbering import LabelledImages, accumulate, evaluation_images, persons_of
from ccafl.data.records import UNKNOWN_CAMERA, Record, camera_numbers

NAMES = st.text("0123abc-é", min_size=1, max_size=3)
PAIRS = st.lists(st.tuples(NAMES, NAMES), max_size=30)


def records_of(pairs: list[tuple[str, str]]) -> list[Record]:
    return [Record(Path(f"{number}.jpg"), camera, label) for number, (camera, label) in enumerate(pairs)]


@given(PAIRS)
def test_labels_are_dense_in_every_camera_and_identities_are_offset_plus_label(pairs: list[tuple[str, str]]) -> None:
    images = accumulate(records_of(pairs))
    assert len(images.identity_cameras) == len(set(pairs))
    offset = 0
    for camera in range(len(images.camera_names)):
        mine = images.cameras == camera
        labels = images.labels[mine]
        count = len(labels.unique())
        assert labels.unique().tolist() == list(range(count))
        assert (images.identities[mine] == offset + labels).all()
        assert (images.identity_cameras[offset : offset + count] == camera).all()
        offset += count
    assert offset == len(images.identity_cameras)


@given(PAIRS)
def test_numbers_lead_back_to_the_names(pairs: list[tuple[str, str]]) -> None:
    images = accumulate(records_of(pairs))
    names = [
        (images.camera_names[camera], images.identity_labels[identity])
        for camera, identity in zip(images.cameras.tolist(), images.identities.tolist(), strict=True)
    ]
    assert names == pairs
    assert [str(path) for path in images.paths] == [f"{number}.jpg" for number in range(len(pairs))]
    assert {images.cameras.dtype, images.labels.dtype, images.identities.dtype} == {torch.int64}


def test_times_are_seconds_whatever_their_offset() -> None:
    def images(*times: datetime | None) -> LabelledImages:
        return accumulate([Record(Path("x"), "a", "1", time=time) for time in times])

    assert images(None, None).times is None
    noon = datetime(1970, 1, 2, 12, tzinfo=UTC)
    found = images(noon, None, noon.astimezone(timezone(timedelta(hours=5)))).times
    assert found is not None
    assert found.dtype == torch.float64
    assert str(found.tolist()) == "[129600.0, nan, 129600.0]"


def test_one_label_in_two_cameras_is_two_identities() -> None:
    images = accumulate(records_of([("b", "7"), ("a", "7"), ("b", "3"), ("b", "7")]))
    assert images.camera_names == ("a", "b")
    assert images.identities.tolist() == [2, 0, 1, 2]
    assert images.labels.tolist() == [1, 0, 0, 1]
    assert images.identity_labels == ("7", "3", "7")


def test_persons_follow_the_order_of_the_identities() -> None:
    records = [
        Record(Path("x"), "b", "1", "anna"),
        Record(Path("y"), "a", "9", "bert"),
        Record(Path("z"), "a", "2", "anna"),
    ]
    persons = persons_of(records)
    assert persons is not None
    assert persons.tolist() == [0, 1, 0]


def test_one_unknown_person_makes_the_truth_unknown_wherever_it_stands() -> None:
    known, unknown = Record(Path("x"), "a", "1", "anna"), Record(Path("y"), "a", "1")
    assert persons_of([known, unknown]) is None
    assert persons_of([unknown, known]) is None


def test_query_and_gallery_share_numbers_and_keep_junk_and_distractors() -> None:
    query = [Record(Path("q"), "c2", "5", "5")]
    gallery = [
        Record(Path("g1"), "c1", "5", "5"),
        Record(Path("g2"), "c2", "0000", "0"),
        Record(Path("g3"), "c1", "-1", "-1"),
        Record(Path("g4"), "c1", "4"),
    ]
    asked, searched = evaluation_images(query, gallery)
    assert asked.cameras.tolist() == [1]
    assert searched.cameras.tolist() == [0, 1, 0, 0]
    assert asked.persons.tolist() == [2]
    assert searched.persons.tolist() == [2, 0, -1, 1]


def test_cameras_are_numbered_as_the_run_knows_them() -> None:
    assert list(camera_numbers(["yard", "door", "roof", "door"], ["door", "yard"])) == [1, 0, UNKNOWN_CAMERA, 0]
