"""Detectors: what moves, and exports for ONNX Runtime in each layout."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from block_people import HEIGHT, RATE, WIDTH, Walk, edges, scene
from ccafl.errors import InputError
from ccafl.footage.frames import Frame
from ccafl.footage.motion import MotionDetector, _Heights, _joined, _Part
from ccafl.footage.onnx_detector import OnnxDetector

BOX = (60.0, 40.0, 90.0, 120.0)  # where each export finds a person, in a frame of WIDTH x HEIGHT
SIDE = 64  # pixels, of the exports' inputs


def frame(image: np.ndarray, number: int = 1) -> Frame:
    return Frame(number, number / RATE, image, Path(), number)


def iou(one, other) -> float:
    sides = [min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])]
    shared = max(0, sides[0]) * max(0, sides[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_motion_finds_who_walks_and_nothing_in_an_empty_scene():
    detector, walk = MotionDetector(RATE), Walk(1, -200, 5)
    found = [detector(frame(scene((walk,), number), number + 1)) for number in range(80)]
    assert not any(len(each) for each in found[5:30])
    overlaps = [iou(found[n].boxes[0], edges(walk, n)) if len(found[n]) else 0 for n in range(50, 75)]
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.9


def test_motion_finds_who_soon_stands_still():
    """Somebody who comes in the third second and stays is not part of the background five seconds later."""
    detector, standing = MotionDetector(RATE), Walk(1, 100, 0)
    found = [detector(frame(scene((standing,) if number > 25 else (), number), number + 1)) for number in range(80)]
    assert not any(len(each) for each in found[5:20])
    assert np.mean([len(each) and iou(each.boxes[0], edges(standing, 0)) >= 0.5 for each in found[40:]]) >= 0.8


def test_motion_finds_nobody_where_somebody_left_whom_it_took_for_background():
    detector, there = MotionDetector(RATE), Walk(1, 100, 0)
    found = [detector(frame(scene((there,) if number < 30 else (), number), number + 1)) for number in range(60)]
    assert not any(len(each) for each in found[31:])


def test_motion_keeps_the_brightness_that_it_compares_with():
    """Dark things that come and go make the mean brightness lower than the middle one, in every frame."""
    detector, rng = MotionDetector(RATE), np.random.default_rng(0)
    for _ in range(300):
        image = np.full((80, 160, 3), 200, np.uint8)
        image[(rng.random((4, 8)) < 0.2).repeat(20, 0).repeat(20, 1)] = 20
        even = detector._evenly_lit(image)
        detector._moving(image)
    assert np.median(even) == pytest.approx(200, abs=4)


def test_motion_tells_two_who_walk_together_from_one():
    detector, alone = MotionDetector(RATE), Walk(1, -30, 3)
    pair = Walk(2, -600, 6), Walk(3, -620, 6)
    found = [detector(frame(scene((alone, *pair), number), number + 1)) for number in range(150)]
    seen = [number for number in range(100, 150) if all(20 < edges(walk, number)[0] < WIDTH - 60 for walk in pair)]
    both = [
        all(max((iou(box, edges(walk, number)) for box in found[number].boxes), default=0) >= 0.5 for walk in pair)
        for number in seen
    ]
    assert len(seen) > 10
    assert np.mean(both) >= 0.8


def test_parts_far_from_each_other_are_not_one_person():
    body, legs, other = _Part(40, 20, 76, 60, 900), _Part(42, 68, 76, 110, 900), _Part(42, 90, 76, 120, 700)
    assert _joined([body, legs], _Heights()) == [body.with_(legs)]
    assert _joined([body, other], _Heights()) == [body, other]


def test_motion_says_nothing_when_the_light_changes():
    detector = MotionDetector(RATE)
    for number in range(30):
        detector(frame(scene((), number), number + 1))
    assert len(detector(frame(np.minimum(scene((), 0), 60) * 4, 31))) == 0


def export(path: Path, inputs: dict[str, list[int]], outputs: dict[str, np.ndarray]) -> Path:
    """A model that gives the same whatever it is given."""
    nodes, infos = [], []
    for name, value in outputs.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        infos.append(helper.make_tensor_value_info(name, kind, value.shape))
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT if len(shape) == 4 else TensorProto.INT64, shape)
        for name, shape in inputs.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "detector", given, infos), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return path


def centre_and_size(box, width: float, height: float) -> list[float]:
    left, top, right, bottom = box
    return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]


def of_queries(classes: int, person: int) -> tuple[np.ndarray, np.ndarray]:
    """A person, another class at the same place, and a doubtful person."""
    boxes = np.array([[centre_and_size(BOX, WIDTH, HEIGHT)] * 3], np.float32)
    logits = np.full((1, 3, classes), -9, np.float32)
    logits[0, 0, person], logits[0, 1, (person + 1) % classes], logits[0, 2, person] = 4, 4, -2
    return boxes, logits


def yolox(*, decoded: bool) -> np.ndarray:
    """(1, anchors, 5 + 80): one person found twice, by neighbouring cells of stride 8, and a car."""
    scale = min(SIDE / HEIGHT, SIDE / WIDTH)
    cells = [(x, y, stride) for stride in (8, 16, 32) for y in range(SIDE // stride) for x in range(SIDE // stride)]
    left, top, right, bottom = (side * scale for side in BOX)
    found = np.zeros((1, len(cells), 85), np.float32)
    for index, (x, y, stride) in enumerate(cells):
        place = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        raw = [place[0] / stride - x, place[1] / stride - y, np.log(place[2] / stride), np.log(place[3] / stride)]
        found[0, index, :4] = place if decoded else raw
    found[0, 10, [4, 5]], found[0, 11, [4, 5]], found[0, 12, [4, 7]] = 0.9, 0.8, 0.9
    return found


def layouts() -> dict[str, tuple[dict[str, list[int]], dict[str, np.ndarray]]]:
    image = {"images": [1, 3, SIDE, SIDE]}
    dets, labels = of_queries(91, person=1)
    boxes, logits = of_queries(80, person=0)
    ended = {
        "labels": np.array([[0, 2, 0]]),
        "boxes": np.array([[BOX, BOX, BOX]], np.float32),
        "scores": np.array([[0.9, 0.9, 0.05]], np.float32),
    }
    return {
        "rf-detr": ({"input": [1, 3, SIDE, SIDE]}, {"dets": dets, "labels": labels}),
        "rt-detr": (image | {"orig_target_sizes": [1, 2]}, ended),
        "rt-detr of Hugging Face": ({"pixel_values": [1, 3, SIDE, SIDE]}, {"logits": logits, "pred_boxes": boxes}),
        "yolox": (image, {"output": yolox(decoded=False)}),
        "yolox, decoded": (image, {"output": yolox(decoded=True)}),
    }


@pytest.mark.parametrize("name", layouts())
def test_each_layout_is_recognised_and_read(tmp_path, name):
    inputs, outputs = layouts()[name]
    detector = OnnxDetector(export(tmp_path / "a.onnx", inputs, outputs))
    found = detector(frame(scene((), 0)))
    assert detector.layout == name.split(",")[0].split(" ")[0]
    assert len(found) == 1
    assert found.boxes[0].tolist() == pytest.approx(BOX, abs=0.1)
    assert found.scores[0] > 0.7


def test_an_unknown_layout_is_refused(tmp_path):
    path = export(tmp_path / "a.onnx", {"images": [1, 3, SIDE, SIDE]}, {"heat": np.zeros((1, 9), np.float32)})
    with pytest.raises(InputError, match=r"layout of its outputs \(heat\) is unknown"):
        OnnxDetector(path)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = export(tmp_path / "a.onnx", {"images": [1, 3, SIDE, SIDE]}, {"heat": np.zeros((1, 9), np.float32)})
    path.write_bytes(path.read_bytes().replace(b"heat", b"\xe3eat"))
    with pytest.raises(InputError, match="cannot be opened by ONNX Runtime"):
        OnnxDetector(path)
