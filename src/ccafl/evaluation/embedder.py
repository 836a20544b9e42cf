"""A trained run, ready to turn pictures into features."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ccafl.config import Config, load_config
from ccafl.data.images import load_image
from ccafl.data.transforms import evaluation_transform, resized
from ccafl.errors import InputError
from ccafl.model.camera_norm import UNKNOWN
from ccafl.model.embedding import embed_batches, multiplies_bfloat16
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
        self,
        config: Config,
        encoder: ImageEncoder,
        camera_names: Sequence[str],
        device: torch.device,
        *,
        fast: bool = False,
    ) -> None:
        self.config = config
        self.camera_names = tuple(camera_names)
        self.device = device
        self.encoder = encoder.to(device).eval()
        self.dim = encoder.reid_dim
        self._transform = evaluation_transform()
        self._halved = fast and config.runtime.precision == "auto" and multiplies_bfloat16(device)

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
        for features in embed_batches(self._embedded, self.encoder, batches, self.device):
            yield features.cpu()

    def _embedded(self, images: Tensor, cameras: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._halved):
            reid, _ = self.encoder(images, image_text=False, cameras=cameras)
        return F.normalize(reid.float())

    def _prepared(self, image: str | Path | Image.Image) -> Tensor:
        picture = image.convert("RGB") if isinstance(image, Image.Image) else load_image(Path(image))
        prepared: Tensor = self._transform(resized(picture, self.config.model.image_size))
        return prepared


def load_run(run: Path, *, checkpoint: str = "last", fast: bool = False) -> Embedder:
    """Open the run in folder ``run``, on a GPU if there is one.

    Args:
        run: a folder made by training.
        checkpoint: ``last``, or ``best`` by mAP on query and gallery.
        fast: in bfloat16 where the device multiplies it faster and the run's precision is ``auto``; its figures then
            differ in the fourth digit from the run's own.

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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Embedder(config, encoder, camera_names, device, fast=fast)
