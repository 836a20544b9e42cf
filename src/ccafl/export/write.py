"""Writing exported files: trace once, write, reload, compare with the encoder, and only then put in place."""

import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ccafl.data.records import UNKNOWN_CAMERA
from ccafl.data.transforms import normalise
from ccafl.encoders.export_metadata import CAMERAS, FEATURES, IMAGE_TEXT, IMAGES, ExportMetadata, seal_onnx
from ccafl.errors import InputError
from ccafl.evaluation.embedder import load_run
from ccafl.export.card import ExportedFile, metadata_of, model_card
from ccafl.export.graph import EncoderGraph
from ccafl.files import written_whole
from ccafl.model.image_encoder import ImageEncoder
from ccafl.packages import require
from ccafl.run_folder import RunFolder

MIN_COSINE = 0.9999
OPSET = 20  # read by ONNX Runtime 1.18 and later
_ONNX_LIMIT = (1 << 31) - (1 << 24)  # bytes of weights; a protobuf file is limited to 2 GiB

Probe = tuple[Tensor, Tensor, list[Tensor]]
"""Images (b, 3, H, W) uint8, their cameras (b,), and the encoder's outputs for them, each (b, dim)."""
Model = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""What a file computes: from images and cameras to its outputs."""
Write = Callable[[ExportedProgram, EncoderGraph, ExportMetadata, Path], Model]
"""Writes a file of one kind and reloads it."""


def write_export(run: Path, out: Path, *, onnx: bool, program: bool) -> dict[str, Any]:
    """`ccafl.export.export_run` with ``out`` given."""
    if not (onnx or program):
        raise InputError("nothing to export; choose ONNX, a torch.export program or both")
    if onnx:
        require("export", "onnx", "onnxscript", "onnxruntime", what="exporting to ONNX")
    embedder = load_run(run)
    RunFolder(run).read_results()  # for the card: damaged ones are refused before the work
    encoder = embedder.encoder.cpu()
    if onnx and sum(value.nbytes for value in encoder.state_dict().values()) > _ONNX_LIMIT:
        raise InputError(f"{run}: the encoder exceeds the 2 GiB limit of an ONNX file; export a program instead")
    metadata = metadata_of(embedder, run.resolve().name, embedder.fingerprint())
    graph = EncoderGraph(encoder, image_text=embedder.describes)
    traced, probes = _trace(graph, metadata), list(_probes(encoder, metadata, image_text=graph.gives_image_text))
    chosen: dict[str, tuple[str, Write]] = {}
    if onnx:
        chosen["onnx"] = ("model.onnx", _write_onnx)
    if program:
        chosen["program"] = ("model.pt2", _write_program)
    with ExitStack() as files:  # moved into place once all are right
        written = {}
        for kind, (file, write) in chosen.items():
            began = time.monotonic()
            temporary = files.enter_context(written_whole(out / file))
            cosine = _lowest_cosine(write(traced, graph, metadata, temporary), probes)
            if not cosine >= MIN_COSINE:  # also catches NaN
                raise InputError(
                    f"{out / file}: not written, its features are not the encoder's (cosine {cosine:.6f}, at least "
                    f"{MIN_COSINE}); try other versions of torch, onnxscript or onnxruntime"
                )
            mib = temporary.stat().st_size / 2**20
            written[kind] = ExportedFile(str(out / file), mib, cosine, time.monotonic() - began)
        card = out / "model_card.md"
        files.enter_context(written_whole(card)).write_text(model_card(run, embedder, metadata, written), "utf-8")
    results = {kind: asdict(file) for kind, file in written.items()}
    return {"fingerprint": metadata.fingerprint, "card": str(card)} | results


def _trace(graph: EncoderGraph, metadata: ExportMetadata) -> ExportedProgram:
    """The graph for any batch size, without the source file paths of this machine."""
    # Two images: with one, the batch size would be fixed at one.
    images = torch.zeros(2, 3, *metadata.image_size, dtype=torch.uint8)
    cameras = (torch.zeros(2, dtype=torch.int64),) if graph.takes_cameras else ()
    batch = Dim("batch")
    shapes = {IMAGES: {0: batch}} | ({CAMERAS: {0: batch}} if graph.takes_cameras else {})
    with torch.no_grad():
        traced = torch.export.export(graph, (images, *cameras), dynamic_shapes=shapes)
    for module in traced.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return traced


def _write_onnx(traced: ExportedProgram, graph: EncoderGraph, metadata: ExportMetadata, path: Path) -> Model:
    import onnxruntime

    inputs = [IMAGES, CAMERAS] if graph.takes_cameras else [IMAGES]
    outputs = [FEATURES, IMAGE_TEXT] if graph.gives_image_text else [FEATURES]
    with warnings.catch_warnings():  # from PyTorch's internals
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes={name: {0: "batch"} for name in inputs},
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    exported.model.metadata_props.update(metadata.properties())
    exported.save(path, external_data=False)
    seal_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def model(images: Tensor, cameras: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(inputs, (images.numpy(), cameras.numpy()), strict=False))
        return tuple(torch.from_numpy(found) for found in session.run(outputs, given))

    return model


def _write_program(traced: ExportedProgram, graph: EncoderGraph, metadata: ExportMetadata, path: Path) -> Model:
    content = io.BytesIO()  # where a full disk cannot abort the process, as torch's own writing of a file does
    torch.export.save(traced, content, extra_files={"ccafl.json": json.dumps(metadata.properties())})
    path.write_bytes(content.getbuffer())
    loaded = torch.export.load(path).module()

    def model(images: Tensor, cameras: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = loaded(images, cameras) if graph.takes_cameras else loaded(images)
        return found

    return model


def _lowest_cosine(model: Model, probes: Sequence[Probe]) -> float:
    """The lowest cosine with the encoder's outputs; -1 if a shape or a norm is wrong."""
    lowest = 1.0
    for images, cameras, expected in probes:
        for found, wanted in zip(model(images, cameras), expected, strict=True):
            if found.shape != wanted.shape or not torch.allclose(found.norm(dim=1), wanted.norm(dim=1), atol=1e-3):
                return -1.0
            lowest = min(lowest, F.cosine_similarity(found.double(), wanted.double()).min().item())
    return lowest


@torch.no_grad()
def _probes(encoder: ImageEncoder, metadata: ExportMetadata, *, image_text: bool) -> Iterator[Probe]:
    """Extreme and random images in batches of several sizes, from every camera and an unknown one."""
    height, width = metadata.image_size
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    patterns = [torch.zeros(height, width), torch.ones(height, width), (rows + columns) % 2, rows / height]
    extremes = torch.stack([255 * pattern.expand(3, -1, -1) for pattern in patterns])
    noise = torch.rand(8, 3, height, width, generator=generator) * 255
    blotches = F.interpolate(torch.rand(8, 3, 6, 3, generator=generator) * 255, (height, width))
    images = torch.cat([extremes, noise, blotches]).to(torch.uint8)
    count = max(len(images), len(metadata.camera_names) + 1)
    images = images[torch.randperm(len(images), generator=generator)[torch.arange(count) % len(images)]]
    cameras = torch.arange(count) % (len(metadata.camera_names) + 1) + UNKNOWN_CAMERA
    numbers = torch.arange(count)
    for batch in (*numbers[:8].split([1, 2, 5]), *numbers[8:].split(16)):
        features = encoder(normalise(images[batch]), image_text=image_text, cameras=cameras[batch])
        yield images[batch], cameras[batch], [F.normalize(feature) for feature in features if feature is not None]
