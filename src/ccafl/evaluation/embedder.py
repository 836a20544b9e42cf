"""A trained run or untrained weights, ready to turn pictures into features."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.calibration import CALIBRATION, Calibration
from ccafl.config import Config
from ccafl.data.images import Picture, Pixels, as_image, as_list
from ccafl.data.numbering import EvaluationImages, LabelledImages
from ccafl.data.records import UNKNOWN_CAMERA, camera_numbers
from ccafl.data.transforms import MEAN, STD, normalise, resized
from ccafl.errors import InputError
from ccafl.model.clip import SHIPPED, nearest_architectures
from ccafl.model.embedding import embed_batches, multiplies_bfloat16
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import build_encoder
from ccafl.model.untrained import NamedWeights, build_untrained
from ccafl.run_folder import RunFolder
from ccafl.terminal import bar
from ccafl.training.checkpoint import load_checkpoint, load_last, load_state, of_a_checkpoint

_FEATURE_SETTINGS = {"architecture", "image_size", "last_stride", "camera_norm", "quick_gelu"}  # for `fingerprint`
_NEWER_SETTINGS = {"camera_embedding", "patch_stride", "normalisation"}  # only if set: older fingerprints lack them


class Embedder:
    """The image encoder of a run, or of untrained weights, with its transform.

    Attributes:
        config: of the run.
        encoder: in evaluation mode.
        checkpoint: the one it was made from, by name; None for untrained weights.
        camera_names: the cameras it was trained on; none for untrained weights.
        dim: D, numbers in a feature.
        image_text_dim: E, numbers in an image-text feature; None without a text tower.
        describes: whether image-text features can be compared with sentences: the run had a trained text tower.
        calibration: what its cosines say; None for untrained weights, runs of earlier versions, and small ones.
        drawn: whether it has only seen persons that ccafl drew.
    """

    def __init__(
        self,
        config: Config,
        encoder: ImageEncoder,
        camera_names: Sequence[str],
        device: torch.device,
        *,
        fast: bool = False,
        checkpoint: str | None = None,
        calibration: Calibration | None = None,
        drawn: bool = False,
    ) -> None:
        self.config, self.checkpoint, self.calibration, self.drawn = config, checkpoint, calibration, drawn
        self.camera_names = tuple(camera_names)
        self.device = device
        self.encoder = encoder.to(device).eval()
        self.dim, self.image_text_dim = encoder.reid_dim, encoder.image_text_dim
        self.describes = encoder.image_text_dim is not None and config.model.weights is not None
        self._in_bfloat16 = fast and config.runtime.precision == "auto" and multiplies_bfloat16(device)

    def embed(self, images: Picture | Sequence[Picture], cameras: Iterable[str] | None = None) -> Tensor:
        """Features of pictures: (n, D) float32 on the CPU, L2-normalised; their products are cosines.

        Args:
            images: paths, opened pictures or pixels (`ccafl.data.images.Picture`), or one of them alone.
            cameras: names of their cameras, used by encoders with ``model.camera_norm``.

        Raises:
            InputError: a picture cannot be read, or its feature is not finite.
        """
        features = list(self.stream(as_list(images), cameras))
        return torch.cat(features) if features else torch.empty(0, self.dim)

    def embed_detections(self, detections: Any, frame: Pixels, camera: str | None = None) -> Tensor:
        """Features of whom a detector found in a frame, in its order: (n, D), as from `embed`.

        Args:
            detections: ``supervision.Detections``, or anything whose ``xyxy`` are (n, 4) boxes in pixels of the frame:
                left, top, right, bottom; they are cut at its edges.
            frame: (H, W, 3) RGB, uint8; OpenCV's frames are BGR: ``frame[..., ::-1]``.
            camera: that took the frame, as in `embed`.

        Raises:
            InputError: a box has nothing of the frame, or the frame has another shape or type.
        """
        height, width = frame.shape[:2]
        crops: list[Pixels] = []
        for box in np.asarray(detections.xyxy, np.float64).reshape(-1, 4):
            left, top = np.floor(np.clip(box[:2], 0, (width, height)))
            right, bottom = np.ceil(np.clip(box[2:], 0, (width, height)))
            if not (left < right and top < bottom):  # nor where a number is not finite
                shown = ", ".join(f"{number:g}" for number in box)
                raise InputError(
                    f"box {len(crops)} ({shown}): has nothing of the frame of {width}x{height} pixels; leave it out"
                )
            crops.append(frame[int(top) : int(bottom), int(left) : int(right)])
        return self.embed(crops, None if camera is None else [camera] * len(crops))

    def embed_both(
        self, images: Picture | Sequence[Picture], cameras: Iterable[str] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features as from `embed`, and image-text features to compare with sentences: (n, D), (n, E), both normalised.

        One forward pass computes both. Image-text features are meaningful only if the run's text tower was trained.

        Raises:
            InputError: a picture cannot be read, or the run has no text tower.
        """
        if self.image_text_dim is None:
            raise InputError(f"{self.config.model.architecture}: has no text tower; use embed instead of embed_both")
        both = list(self._stream(as_list(images), cameras, image_text=True))
        dims = [self.dim, self.image_text_dim]
        reid, image_text = (torch.cat(both) if both else torch.empty(0, sum(dims))).split(dims, 1)
        return reid, image_text

    def stream(self, images: Iterable[Picture], cameras: Iterable[str] | None = None) -> Iterator[Tensor]:
        """Features as from `embed`, batch by batch, for more pictures than fit in memory: (<= batch, D) each."""
        return self._stream(images, cameras, image_text=False)

    def fingerprint(self) -> str:
        """SHA-256 of the encoder's weights and of the settings that affect its features: 64 hexadecimal digits."""
        settings = self.config.model.model_dump(mode="json", include=_FEATURE_SETTINGS)
        settings |= {
            name: value
            for name, value in self.config.model.model_dump(mode="json", exclude_defaults=True).items()
            if name in _NEWER_SETTINGS
        }
        settings |= {"camera_names": self.camera_names, "mean": MEAN, "std": STD}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name, value in self.encoder.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def _stream(
        self, images: Iterable[Picture], cameras: Iterable[str] | None, *, image_text: bool
    ) -> Iterator[Tensor]:
        known = repeat(UNKNOWN_CAMERA) if cameras is None else camera_numbers(cameras, self.camera_names)
        prepared = zip(map(self._read, images), known, strict=False)
        size = self.config.runtime.extraction_batch
        groups = iter(lambda: list(islice(prepared, size)), [])
        batches = ((torch.stack([p for p, _ in group]), torch.tensor([c for _, c in group])) for group in groups)
        embed = partial(self._embedded, image_text=image_text)
        for features in embed_batches(embed, self.encoder, batches, self.device):
            features = features.cpu()
            if not features.isfinite().all():
                raise InputError(
                    f"{self.config.model.architecture}: gives features that are not finite numbers: its training "
                    "diverged, or its weights are damaged; use another checkpoint or other weights"
                )
            yield features

    def _embedded(self, images: Tensor, cameras: Tensor, *, image_text: bool) -> Tensor:
        """(b, D), or (b, D + E) with the image-text features last."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bfloat16):
            features = self.encoder(normalise(images), image_text=image_text, cameras=cameras)
        return torch.cat([F.normalize(feature.float()) for feature in features if feature is not None], 1)

    def _read(self, picture: Picture) -> Tensor:
        return resized(as_image(picture), self.config.model.image_size)


def embed_images(
    embedder: Embedder, images: LabelledImages | EvaluationImages, title: str, chosen: Tensor | None = None
) -> Tensor:
    """Features of images with their cameras, under a progress bar: (n, D), as from `Embedder.embed`.

    Args:
        embedder: of the run.
        images: what to embed.
        title: of the bar.
        chosen: (n,) int64, the indices of the images to embed; all of them if not given.

    Raises:
        InputError: an image cannot be read.
    """
    chosen = torch.arange(len(images)) if chosen is None else chosen
    paths = [images.paths[index] for index in chosen.tolist()]
    cameras = [images.camera_names[camera] for camera in images.cameras[chosen].tolist()]
    parts = [torch.empty(0, embedder.dim)]
    with bar(title, len(paths)) as progress:
        for features in embedder.stream(paths, cameras):
            parts.append(features)
            progress.advance(len(features))
    return torch.cat(parts)


def load_run(run: Path, *, checkpoint: str = "last", fast: bool = False) -> Embedder:
    """Open the run in folder ``run``, on a GPU if there is one.

    Args:
        run: a folder made by training.
        checkpoint: ``last``, or ``best`` by mAP on query and gallery.
        fast: compute in bfloat16 if the device multiplies it faster and the run's precision is ``auto``; figures then
            differ from the run's own in the fourth digit.

    Raises:
        InputError: it is not a run, has not trained yet, or its checkpoint belongs to another architecture.
    """
    folder = RunFolder(run)
    config, path = folder.read_config(), folder.checkpoint(checkpoint)
    path, state = load_last(folder) if path == folder.last else (path, load_checkpoint(path))
    with of_a_checkpoint(path):
        camera_names = [str(name) for name in state["camera_names"]]
        encoder = build_encoder(config.model, len(camera_names))
        load_state(encoder, state["encoder"], str(path))
        found = state.get("calibration")
        calibration = None if found is None else CALIBRATION.validate_python(found)
    return Embedder(
        config,
        encoder,
        camera_names,
        device(),
        fast=fast,
        checkpoint=path.stem,
        calibration=calibration,
        drawn=folder.drawn,
    )


def load_model(model: str | Path, *, checkpoint: str = "last", fast: bool = False) -> Embedder:
    """Open a run, or weights that nothing has trained for re-ID.

    Args:
        model: a run's folder, or an architecture with weights (`named_weights`).
        checkpoint: of a run, as in `load_run`.
        fast: as in `load_run`.

    Raises:
        InputError: it is neither, the weights are not available, or as `load_run`.
    """
    weights = named_weights(model)
    if weights is None:
        return load_run(Path(model), checkpoint=checkpoint, fast=fast)
    if checkpoint != "last":
        raise InputError(f"--checkpoint {checkpoint}: {weights} is not a run and has no checkpoints; leave it out")
    config = Config(model=weights.settings())
    drawn = config.model.weights == SHIPPED
    return Embedder(config, build_untrained(config.model), (), device(), fast=fast, drawn=drawn)


def named_weights(model: str | Path) -> NamedWeights | None:
    """The architecture and weights that ``model`` names; None for a run's folder, which takes precedence.

    Raises:
        InputError: neither, or an architecture without weights.
    """
    if RunFolder(Path(model)).begun:
        return None
    weights = NamedWeights.parse(str(model))
    if weights is None:
        if Path(model).is_file():
            raise InputError(
                f"{model}: is a file, which only ccafl gallery takes; give the run that it was exported from"
            )
        near = nearest_architectures(str(model).partition(":")[0]) or ["clip-synth", "RN50:openai"]
        raise InputError(
            f"{model}: is not a run, an exported file or an architecture; give a folder made by ccafl train or "
            f"ccafl demo, or weights such as {', '.join(near)}"
        )
    return weights


def device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
