"""Detectors exported to ONNX: RF-DETR, RT-DETR (and D-FINE, DEIM, whose exports are alike) and YOLOX."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccafl.errors import InputError
from ccafl.footage.detections import PERSON, Detections
from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import Frame

_LEAST_SCORE = 0.4
_OVERLAP = 0.65  # boxes that overlap by more are one person, for models that do not see to that themselves
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's, for RF-DETR
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_SIDE = 640  # pixels, for models of any size

Outputs = Mapping[str, NDArray[Any]]


class OnnxDetector:
    """A detector in a file for ONNX Runtime; a `ccafl.footage.detections.Detector`.

    Classes are COCO's; a model of fewer classes has persons first.

    Args:
        file: the export.
        layout: one of `LAYOUTS`; by default as inputs, outputs and their shapes say.

    Raises:
        InputError: the file cannot be opened, its layout is unknown, or ONNX Runtime is not installed.
    """

    def __init__(self, file: Path, layout: str | None = None) -> None:
        with needs_video_extra():
            import cv2
        self._cv2: Any = cv2
        self._session = _opened(file)
        self.inputs = {given.name: given.shape for given in self._session.get_inputs()}
        self.outputs = {given.name: given.shape for given in self._session.get_outputs()}
        self.layout = layout or self._recognised(file)
        self._images = next(iter(self.inputs))
        height, width = self.inputs[self._images][2:]
        self._size = (width if isinstance(width, int) else _SIDE, height if isinstance(height, int) else _SIDE)

    def __call__(self, frame: Frame) -> Detections:
        """The persons in the frame."""
        return LAYOUTS[self.layout](self, frame.image)

    def _recognised(self, file: Path) -> str:
        outputs = set(self.outputs)
        if {"labels", "boxes", "scores"} <= outputs and len(self.inputs) == 2:
            return "rt-detr"
        if {"logits", "pred_boxes"} <= outputs:
            return "rt-detr"
        if {"dets", "labels"} <= outputs:
            return "rf-detr"
        shapes = list(self.outputs.values())
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] != 4 and len(self.inputs) == 1:
            return "yolox"
        raise InputError(
            f"{file}: the layout of its outputs ({', '.join(self.outputs)}) is unknown; name it if it is one of "
            f"{', '.join(LAYOUTS)}, as in onnx:yolox:{file.name}, or give detections with --detections"
        )

    def _run(self, pixels: NDArray[np.float32], **others: NDArray[Any]) -> Outputs:
        """(h, w, 3) -> the outputs by name."""
        given = {self._images: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]), **others}
        return dict(zip(self.outputs, self._session.run(list(self.outputs), given), strict=True))

    def _stretched(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The image in the model's size, 0..1."""
        resized = self._cv2.resize(image, self._size, interpolation=self._cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32) / np.float32(255)

    def _rf_detr(self, image: NDArray[np.uint8]) -> Detections:
        found = self._run((self._stretched(image) - _MEAN) / _SPREAD)
        logits = found["labels"][0]
        return _of_queries(found["dets"][0], logits, 1 if logits.shape[1] in (90, 91) else PERSON, image)

    def _rt_detr(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        if "pred_boxes" in self.outputs:  # as Hugging Face exports it
            found = self._run(self._stretched(image))
            return _of_queries(found["pred_boxes"][0], found["logits"][0], PERSON, image)
        size = next(name for name in self.inputs if name != self._images)
        found = self._run(self._stretched(image), **{size: np.array([[width, height]], np.int64)})
        detections = Detections.of(found["boxes"][0], found["scores"][0])
        return detections.where((found["labels"][0] == PERSON) & (detections.scores >= _LEAST_SCORE))

    def _yolox(self, image: NDArray[np.uint8]) -> Detections:
        width, height = self._size
        scale = min(height / image.shape[0], width / image.shape[1])
        inner = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        pixels = np.full((height, width, 3), 114, np.float32)
        pixels[: inner[1], : inner[0]] = self._cv2.resize(image, inner)[:, :, ::-1]  # BGR, 0..255
        (found,) = (output[0] for output in self._run(pixels).values())
        centres, sizes = _decoded(found[:, :4], width, height)
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1) / np.float32(scale)
        scores = found[:, 4] * found[:, 5 + PERSON]
        likely = Detections.of(boxes, scores).where(scores >= _LEAST_SCORE)
        corners = np.concatenate([likely.boxes[:, :2], likely.boxes[:, 2:] - likely.boxes[:, :2]], axis=1)
        kept = self._cv2.dnn.NMSBoxes(corners.tolist(), likely.scores.tolist(), _LEAST_SCORE, _OVERLAP)
        chosen = np.zeros(len(likely), bool)
        chosen[np.asarray(kept, np.int64).reshape(-1)] = True
        return likely.where(chosen)


LAYOUTS: dict[str, Callable[[OnnxDetector, NDArray[np.uint8]], Detections]] = {
    "rf-detr": OnnxDetector._rf_detr,
    "rt-detr": OnnxDetector._rt_detr,
    "yolox": OnnxDetector._yolox,
}
"""By name: how a model is fed, and its outputs are read."""


def _of_queries(
    boxes: NDArray[np.float32], logits: NDArray[np.float32], person: int, image: NDArray[Any]
) -> Detections:
    """From a DETR's (q, 4) centres and sizes in 0..1 and (q, classes) logits."""
    scores = 1 / (1 + np.exp(-logits[:, person]))
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    height, width = image.shape[:2]
    sides = np.array([width, height, width, height], np.float32)
    return Detections.of(corners * sides, scores).where(scores >= _LEAST_SCORE)


def _decoded(found: NDArray[np.float32], width: int, height: int) -> Sequence[NDArray[np.float32]]:
    """YOLOX's (a, 4) outputs as centres and sizes in pixels; most exports leave the decoding to the reader."""
    centres, sizes = found[:, :2], found[:, 2:]
    if sizes.min() > 0 and centres.max() > max(width, height) / 8:  # decoded already
        return centres, sizes
    grids = [(stride, width // stride, height // stride) for stride in (8, 16, 32)]
    cells = [np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=2).reshape(-1, 2) for _, w, h in grids]
    strides = np.concatenate([np.full((len(cell), 1), stride) for cell, (stride, *_) in zip(cells, grids, strict=True)])
    at, step = np.float32(np.concatenate(cells)), np.float32(strides)
    return (centres + at) * step, np.exp(sizes) * step


def _opened(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError('onnxruntime: not installed; pip install "ccafl[onnx]"') from error
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a detector exported to ONNX")
    try:
        session = onnxruntime.InferenceSession(file, providers=onnxruntime.get_available_providers())
        for part in (*session.get_inputs(), *session.get_outputs()):
            part.name.encode()  # raises where a name is no UTF-8
        return session
    except Exception as error:  # ONNX Runtime's own classes
        raise InputError(f"{file}: cannot be opened by ONNX Runtime; export the detector again") from error
