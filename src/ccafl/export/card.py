"""The model card: what a file is, how it was made, how well it performs, and what it must not be used for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ccafl
from ccafl.config import Config
from ccafl.data.transforms import HALF, MEAN, STD
from ccafl.encoders.export_metadata import CAMERAS, FEATURES, IMAGE_TEXT, IMAGES, ExportMetadata
from ccafl.evaluation.embedder import Embedder
from ccafl.run_folder import RunFolder

RESPONSIBLE_USE = """\
Re-identification follows people. Use it only where those people know about it, and where the law and an accountable
body allow it. Treat footage, features and joined labels as personal data, and keep them no longer than needed. Never
let a rank alone decide about anybody: the published systems are wrong for one query in twenty on their own benchmark,
and more often elsewhere. Features are not anonymous."""

_HUB_HEADER = """\
---
library_name: ccafl
pipeline_tag: image-feature-extraction
tags: [person-re-identification]
---

"""
_USE = """\
```python
import ccafl

model = ccafl.load("hf://OWNER/NAME")  # or ccafl.hub.from_pretrained("FOLDER")
one, other = model.embed(["a.jpg", "b.jpg"])  # unit norm
print(one @ other)  # cosine
```

`pip install "ccafl[hub]"`. Weights are in `model.safetensors` and settings in `config.json`; neither brings code."""

_MEASURES = {
    "mAP": "mAP",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "unmatched": "queries without a match, left out",
    "camera_probe": "camera recognised from the features (lower is better)",
    "camera_chance": "the same by chance",
}
_JOINED = {
    "precision": "precision",
    "estimated_precision": "precision, as estimated without knowing the persons",
    "recall": "recall",
    "f1": "F1",
    "joined": "identities joined",
}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that computes the run's features.

    Attributes:
        path: where it is.
        mib: its size.
        cosine: the lowest between its features and the encoder's, over all test images and outputs.
        seconds: time taken to write and compare it.
    """

    path: str
    mib: float
    cosine: float
    seconds: float


def model_card(run: Path, embedder: Embedder, metadata: ExportMetadata, written: Mapping[str, ExportedFile]) -> str:
    """The card in Markdown, from the run's settings and its results if there are any.

    Args:
        run: the run's folder.
        embedder: the opened run.
        metadata: the metadata stored in the files.
        written: the exported files by kind, ``onnx`` or ``program``.

    Raises:
        InputError: ``results.json`` is damaged.
    """
    config, results = embedder.config, RunFolder(run).read_results()
    sections = {
        f"Model card: {_inline(metadata.name)}": _what(config, metadata, embedder),
        "Files": _files(written),
        "In and out": _in_and_out(embedder, metadata),
        "Training data": _data(config, metadata, results),
        "Results": _results(results),
        "Scores": _scores(metadata),
        "Limits": _limits(config, metadata),
        "Responsible use": RESPONSIBLE_USE,
        "How it was made": _making(config, f"`ccafl export RUN {' '.join(f'--{kind}' for kind in written)}`"),
    }
    return _document(sections)


def metadata_of(embedder: Embedder, name: str, fingerprint: str) -> ExportMetadata:
    """What a file made of a run's encoder says of itself."""
    size = embedder.config.model.image_size
    return ExportMetadata(fingerprint, name, size, embedder.camera_names, embedder.calibration, embedder.drawn)


def hub_card(run: Path, embedder: Embedder, name: str, fingerprint: str) -> str:
    """The card of a published encoder (`ccafl.hub`), in Markdown with the Hub's header.

    Args:
        run: the run's folder.
        embedder: the opened run.
        name: of the run.
        fingerprint: of the encoder.

    Raises:
        InputError: ``results.json`` is damaged.
    """
    config, results = embedder.config, RunFolder(run).read_results()
    metadata = metadata_of(embedder, name, fingerprint)
    sections = {
        f"Model card: {_inline(name)}": _what(config, metadata, embedder),
        "Use": _USE,
        "Training data": _data(config, metadata, results),
        "Results": _results(results),
        "Scores": _scores(metadata),
        "Limits": _limits(config, metadata),
        "Responsible use": RESPONSIBLE_USE,
        "How it was made": _making(config, "`ccafl.hub.save_pretrained`"),
    }
    return _HUB_HEADER + _document(sections)


def _document(sections: Mapping[str, str]) -> str:
    return (
        "\n\n".join(f"{'##' if n else '#'} {title}\n\n{text}" for n, (title, text) in enumerate(sections.items()))
        + "\n"
    )


def _what(config: Config, metadata: ExportMetadata, embedder: Embedder) -> str:
    model = config.model
    initial = "random weights" if model.weights is None else f"the weights {_inline(Path(model.weights).name)}"
    return (
        "An image encoder for person re-identification: it maps a picture of one person, cropped from a camera image, "
        f"to a vector of {embedder.dim} numbers; the product of two vectors says how alike the persons are. Trained by "
        "[ccafl](https://arxiv.org/abs/2409.19563) from labels made camera by camera.\n\n"
        f"- network: image tower {model.architecture}, initialised with {initial}\n"
        f"- trained as: {config.mode}\n"
        f"- fingerprint: `{metadata.fingerprint}`"
    )


def _files(written: Mapping[str, ExportedFile]) -> str:
    kinds = {"onnx": "ONNX", "program": "torch.export"}
    rows = (
        f"| `{Path(file.path).name}` | {kinds[kind]} | {file.mib:.1f} | {file.cosine:.6f} |"
        for kind, file in written.items()
    )
    return "\n".join(
        [
            "| file | format | MiB | lowest cosine with the run's float32 features |",
            "|---|---|---|---|",
            *rows,
            "",
            "Compared on black, white, chequered, shaded and random images, in batches of 1, 2, 5 and more.",
        ]
    )


def _in_and_out(embedder: Embedder, metadata: ExportMetadata) -> str:
    (height, width), model = metadata.image_size, embedder.config.model
    mean, std = (HALF, HALF) if model.normalisation == "half" else (MEAN, STD)
    lines = [
        f"In: `{IMAGES}`, uint8, (B, 3, {height}, {width}), any B from 1: the whole person, upright (EXIF orientation "
        f"applied), RGB, resized to {width} x {height} (width x height) by antialiased bicubic interpolation without "
        "keeping the proportions, channels first. Values are 0 to 255; the file itself normalises them "
        f"(mean {_comma_separated(mean)} and standard deviation {_comma_separated(std)}, times 255)."
    ]
    if model.camera_norm or model.camera_embedding:
        numbers = ", ".join(f"{number} = {_inline(name)}" for number, name in enumerate(metadata.camera_names))
        lines.append(
            f"In: `{CAMERAS}`, int64, (B,): the number of each image's camera, -1 for any other camera: {numbers}."
        )
    lines.append(
        f"Out: `{FEATURES}`, float32, (B, {embedder.dim}), of length 1, so the product of two is their cosine; no "
        "further processing is needed."
    )
    if embedder.describes:
        lines.append(
            f"Out: `{IMAGE_TEXT}`, float32, (B, {embedder.image_text_dim}), of length 1, comparable with "
            "the sentence features of the CLIP that training started from; its text tower is not in the file."
        )
    return "\n\n".join(lines)


def _data(config: Config, metadata: ExportMetadata, results: Mapping[str, Any] | None) -> str:
    names = ", ".join(_inline(name) for name in metadata.camera_names)
    cameras = f"Cameras ({len(metadata.camera_names)}): {names}."
    if results is None:
        return f"Unknown: the data are named in the run's results, and it has none yet. {cameras}"
    kind, _, name = str(results.get("dataset", "")).partition(":")
    counts = ", ".join(f"{results[what]:,} {what}" for what in ("images", "cameras") if what in results)
    identities = f", {results['identities']:,} labels within a camera" if "identities" in results else ""
    use = "with the true persons across cameras" if config.mode == "supervised" else "without labels across cameras"
    return f"{_inline(name)}, read as {kind}: {counts}{identities}; {use}. {cameras}"


def _results(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return (
            "None: the run was not trained to the end, or its results.json is missing. The weights are those of its "
            "last checkpoint. Do not use the file before it has been evaluated."
        )
    rows = [
        f"| {title} | {_number(results[name])} |" for name, title in _MEASURES.items() if results.get(name) is not None
    ]
    if results.get("mAP") is None:
        rows.insert(0, "| ranking | not measured: the data had no query and gallery |")
    joined = results.get("association") or {}
    rows += [f"| association: {title} | {_number(joined[name])} |" for name, title in _JOINED.items() if name in joined]
    head = "On the data's own query and gallery, whose persons and views resemble those of training."
    return "\n".join([head, "", "| measure | value |", "|---|---|", *rows])


def _scores(metadata: ExportMetadata) -> str:
    curve = metadata.calibration
    if curve is None:
        return "Not calibrated: a cosine orders pictures, and is no probability of being the same person."
    fitted = (
        "pictures of one person in different cameras, as joined in training"
        if curve.joins
        else ("pictures of one label, which are more alike than those of different cameras")
    )
    return (
        f"Of pictures whose cosine is c, a share of 1 / (1 + exp(-({curve.slope:.2f} c {curve.offset:+.2f} + log(p / "
        "(1 - p)))) shows the same person, where p is the share of the person's pictures in the gallery; "
        f"ccafl assumes {curve.pictures:.1f} pictures, at most half of the gallery. Fitted to {fitted}, and to "
        "different labels of one camera; on new persons and places it is an estimate."
    )


def _limits(config: Config, metadata: ExportMetadata) -> str:
    height, width = metadata.image_size
    lines = [
        "It recognises clothing and build, not faces: it takes the same person in other clothes for someone else, and "
        "may take two people dressed alike for one.",
        "It expects pictures of one whole person each. It does not detect people, and gives features for pictures "
        "without a person as well.",
        f"Its input is {height} x {width} pixels. It performs worse with cameras, light, seasons and places other than "
        "those of training; evaluate it on your own data before relying on it.",
        "Its performance for people of different age, skin colour, body or dress was not measured.",
    ]
    if metadata.drawn:
        lines.insert(0, "It was trained on drawn persons only; train on your own pictures before using it on people.")
    if config.model.camera_norm:
        lines.append("It keeps statistics for each of its cameras; images from other cameras are matched less well.")
    return "\n".join(f"- {line}" for line in lines)


def _making(config: Config, by: str) -> str:
    return (
        f"Trained with seed {config.seed}, {config.stage2.epochs} epochs of {config.stage2.steps_per_epoch} steps, and "
        f"written by {by} of ccafl {ccafl.__version__} with torch {torch.__version__}. "
        "The run's config.yaml holds every setting."
    )


def _inline(text: str) -> str:
    """An arbitrary name as inline code on one line."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def _comma_separated(numbers: tuple[float, ...]) -> str:
    return ", ".join(map(str, numbers))


def _number(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
