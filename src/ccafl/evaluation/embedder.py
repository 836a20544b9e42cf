"""A trained run, ready to turn pictures into features."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ccafl.config import Config, load_config
from ccafl.data.images import load_image
from ccafl.data.transforms import evaluation_transform, resized
from ccafl.errors import InputError
from ccafl.model.camera_norm import UNKNOWN
from ccafl.model.embedding import embed_batches
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import build_encoder
from ccafl.training.checkpoint import load_checkpoint, load_state


class Embedder:
    """The image encoder of a run with its transform.

    Attributes:
        config: of the run.
        encoder: in evaluation mode.
        camera_names: the cameras it was trained on.
        dim: D, numbers a feature.
    """

    def __init__(
        self, config: Config, encoder: ImageEncoder, camera_names: Sequence[str], device: torch.device
    ) -> None:
        self.config = config
        self.camera_names = tuple(camera_names)
        self.device = device
        self.encoder = encoder.to(device).eval()
        self.dim = encoder.reid_dim
        self._transform = evaluation_transform()

    def embed(self, images: Sequence[str | Path | Image.Image], cameras: Iterable[str] | None = None) -> Tensor:
        """Features of paths or pictures: (n, D) float32 on the CPU, L2-normalised; their products are cosines.

        Args:
            images: what to embed.
            cameras: names of their cameras, which encoders with ``model.camera_norm`` make use of.

        Raises:
            InputError: a picture cannot be read.
        """
        features = list(self.stream(images, cameras))
        return torch.cat(features) if features else torch.empty(0, self.dim)

    def stream(
        self, images: Iterable[str | Path | Image.Image], cameras: Iterable[str] | None = None
    ) -> Iterator[Tensor]:
        """The same batch by batch, for more pictures than fit in memory: (<= batch, D) each."""
        numbers = {name: number for number, name in enumerate(self.camera_names)}
        known = repeat(UNKNOWN) if cameras is None else (numbers.get(name, UNKNOWN) for name in cameras)
        prepared = zip(map(self._prepared, images), known, strict=False)
        size = self.config.runtime.extraction_batch
        groups = iter(lambda: list(islice(prepared, size)), [])
        batches = ((torch.stack([p for p, _ in group]), torch.tensor([c for _, c in group])) for group in groups)
        for features in embed_batches(self.encoder.embed, self.encoder, batches, self.device):
            yield features.cpu()

    def _prepared(self, image: str | Path | Image.Image) -> Tensor:
        picture = image.convert("RGB") if isinstance(image, Image.Image) else load_image(Path(image))
        prepared: Tensor = self._transform(resized(picture, self.config.model.image_size))
        return prepared


def load_run(run: Path, *, checkpoint: str = "last") -> Embedder:
    """Open the run in folder ``run``, on a GPU if there is one.

    Args:
        run: a folder made by training.
        checkpoint: ``last``, or ``best`` by mAP on query and gallery.

    Raises:
        InputError: it is not a run, has not trained yet, or its checkpoint is of another architecture.
    """
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: is not a run (no config.yaml); give a folder made by ccafl train or ccafl demo")
    config = load_config(str(run / "config.yaml"))
    path = run / "checkpoints" / f"{checkpoint}.pt"
    state = load_checkpoint(path)
    camera_names = state["camera_names"]
    encoder = build_encoder(config.model, len(camera_names))
    load_state(encoder, state["encoder"], str(path))
    return Embedder(config, encoder, camera_names, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
