"""Detections and tracks from files."""

import json

import numpy as np
import pytest

from ccafl.errors import InputError
from ccafl.footage.detections import Detections, from_supervision
from ccafl.footage.frames import Frame
from ccafl.footage.given import read_detections, read_tracks

CVAT = """<annotations><version>1.1</version>
<track id="4" label="person"><box frame="0" outside="0" xtl="1" ytl="2" xbr="11" ybr="32"/>
<box frame="1" outside="1" xtl="1" ytl="2" xbr="11" ybr="32"/></track>
<track id="5" label="car"><box frame="0" outside="0" xtl="1" ytl="2" xbr="11" ybr="32"/></track>
</annotations>"""


def frame(number: int) -> Frame:
    return Frame(number, 0.0, np.zeros((1, 1, 3), np.uint8), None, number)  # type: ignore[arg-type]


def test_tracks_of_persons_that_count(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,7,10,20,30,40,1,1,0.5\n1,8,10,20,30,40,0,1,1\n1,9,10,20,30,40,1,3,1\n2,7,11,20,30,40,1,7,1\n")
    tracks = read_tracks(path)
    found = tracks(frame(1))
    assert found.boxes.tolist() == [[10, 20, 40, 60]]
    assert tracks.update(frame(1), found).tolist() == [7]
    assert not tracks.over(7, 0.0, frame(1))
    assert tracks.over(7, 0.0, frame(2))


def test_tracks_of_cvat_count_frames_from_one_and_leave_out_what_is_outside_and_no_person(tmp_path):
    path = tmp_path / "cvat.xml"
    path.write_text(CVAT)
    tracks = read_tracks(path)
    found = tracks(frame(1))
    assert found.boxes.tolist() == [[1, 2, 11, 32]]
    assert found.tracks is not None
    assert found.tracks.tolist() == [4]
    assert len(tracks(frame(2))) == 0


def coco(frames: list[dict[str, object]], tracks: list[dict[str, object]]) -> str:
    """COCO's JSON of frames, and of a box in each; a second box is no person's."""
    images = [{"id": 10 + n, "file_name": f"{9 - n}.jpg", **frame} for n, frame in enumerate(frames)]
    boxes = [{"id": n, "image_id": 10 + n, "category_id": 1, "bbox": [n, 2, 10, 30]} for n in range(len(tracks))]
    annotations = [box | track for box, track in zip(boxes, tracks, strict=True)]
    car = {"id": 9, "image_id": 10, "category_id": 2, "bbox": [0, 0, 9, 9], "track_id": 6}
    categories = [{"id": 1, "name": "Person"}, {"id": 2, "name": "car"}]
    return json.dumps({"images": images, "annotations": [*annotations, car], "categories": categories})


@pytest.mark.parametrize(
    ("frames", "track"),
    [
        ([{"frame_id": 0}, {"frame_id": 1}], {"instance_id": 4}),  # CocoVID
        ([{"frame_id": 1}, {"frame_id": 2}], {"track_id": 4}),
        ([{"frame_index": 0, "video_id": 3}, {"frame_index": 1, "video_id": 3}], {"track_id": 4}),  # TAO
        ([{"file_name": "a.jpg"}, {"file_name": "b.jpg"}], {"attributes": {"track_id": 4}}),  # CVAT, Datumaro
    ],
)
def test_tracks_of_persons_in_coco(tmp_path, frames, track):
    path = tmp_path / "instances.json"
    path.write_text(coco(frames, [track, track]))
    tracks = read_tracks(path)
    for number in (1, 2):
        found = tracks(frame(number))
        assert found.boxes.tolist() == [[number - 1, 2, number + 9, 32]]
        assert found.tracks is not None
        assert found.tracks.tolist() == [4]


def label_studio(sequence: list[dict[str, object]]) -> str:
    """Label Studio's JSON of a person's track in six frames, and of a car's."""
    car = {"framesCount": 6, "labels": ["Car"], "sequence": [{"frame": 1, "enabled": True}]}
    person = {"framesCount": 6, "labels": ["Person"], "sequence": sequence}
    result = [{"id": name, "type": "videorectangle", "value": value} for name, value in (("c", car), ("p", person))]
    return json.dumps([{"id": 1, "annotations": [{"was_cancelled": False, "result": result}, {"was_cancelled": True}]}])


def test_tracks_of_label_studio_move_between_key_frames_and_have_gaps(tmp_path):
    path = tmp_path / "task.json"
    at = {"y": 20, "width": 10, "height": 40, "rotation": 0}
    keys = ((1, 0, True), (3, 20, False), (5, 50, True))
    path.write_text(label_studio([{"frame": n, "x": x, "enabled": enabled} | at for n, x, enabled in keys]))
    tracks = read_tracks(path)
    wide = np.zeros((100, 200, 3), np.uint8)
    found = {n: tracks(Frame(n, 0.0, wide, tmp_path, n)).boxes.round(3).tolist() for n in range(1, 8)}
    lefts = {1: 0, 2: 20, 3: 40, 5: 100, 6: 100}
    assert found == {n: [[lefts[n], 20, lefts[n] + 20, 60]] if n in lefts else [] for n in range(1, 8)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (coco([{}], [{}]), "no person has a track_id"),
        (coco([{"video_id": 1}, {"video_id": 2}], [{"track_id": 1}]), "several videos"),
        ("[]", "0 videos"),
        (
            label_studio([{"frame": 1, "enabled": True, "x": 0, "y": 0, "width": 9, "height": 9, "rotation": 5}]),
            "rotated",
        ),
        ('[{"annotations": [{"result": []}]}]', "no VideoRectangle"),
        ('{"images": [1]', "cannot be read as tracks of COCO"),
        ('{"images": [1], "annotations": []}', "cannot be read as tracks of COCO"),
    ],
)
def test_coco_that_cannot_be_meant_is_refused(tmp_path, text, says):
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_tracks(path)


def test_scores_of_another_scale_are_brought_to_one(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,0,0,10,20,-2\n1,-1,50,0,10,20,6\n2,-1,0,0,10,20,2\n")
    assert read_detections(path)(frame(1)).scores.tolist() == [0, 1]
    assert read_detections(path)(frame(2)).scores.tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3\n", "line 1: is not frame"),
        ("0,1,3,3,9,9,1\n", "line 1: is not frame"),
        ("1,-1,3,3,9,9,1\n", "line 1: has no track"),
        ("1,2,3,3,9,9,1\n1,2,4,4,9,9,1\n", "track 2 twice in frame 1"),
    ],
)
def test_tracks_that_cannot_be_meant_are_refused(tmp_path, text, says):
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_tracks(path)


class Supervised:
    """What supervision.Detections holds."""

    xyxy = np.array([[0, 0, 10, 20], [5, 5, 15, 25], [9, 9, 19, 29]], np.float32)
    confidence = np.array([0.9, 0.8, 0.7], np.float32)
    class_id = np.array([0, 2, 0])
    tracker_id = np.array([3, 4, 5])


def test_detections_of_supervision_keep_persons_scores_and_tracks():
    found = from_supervision(Supervised())
    assert isinstance(found, Detections)
    assert found.boxes.tolist() == Supervised.xyxy[[0, 2]].tolist()
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.tracks is not None
    assert found.tracks.tolist() == [3, 5]
