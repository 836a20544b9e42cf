"""Pretraining of "clip-synth", the CLIP that comes with the package, on the synthetic world's persons and captions.

CLIP's contrastive loss (Radford et al., arXiv 2103.00020) on pictures and their descriptions, and beside it a re-ID
objective: the supervised contrastive loss (Khosla et al., arXiv 2004.11362) between pictures of a person in different
cameras, on the image-text and on the re-ID feature. The image tower learns in the geometry of re-ID: images of 128x64,
the last stage's stride removed, the attention pool's positions resized to its map. The result is saved as a CLIP that
open_clip can build.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ccafl.data.batches import identity_batches, seed_for
from ccafl.data.transforms import normalise
from ccafl.errors import InputError
from ccafl.method.losses import supervised_contrastive
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower, resize_positions
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.text import encode_sentences, tokenized
from ccafl.model.weights import write_weights
from ccafl.synthetic.captioned import CaptionedWorld
from ccafl.synthetic.degrade import degraded
from ccafl.terminal import bar, note
from ccafl.training.checkpoint import load_checkpoint, load_optimizer, load_state, of_a_checkpoint, save_checkpoint
from ccafl.training.events import Events

ARCHITECTURE = "clip-synth"
HIGHEST_SCALE = 100.0  # of the cosines, CLIP's own limit
RIDGE = 0.01  # r of the whitening
_BATCH = 256
LOSSES = ("contrastive_loss", "reid_image_text_loss", "reid_loss")


@dataclass(frozen=True, slots=True)
class Pretraining:
    """How long and how fast."""

    epochs: int = 24
    batch_size: int = 256
    images_per_person: int = 4  # in a batch; the first one is described
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 1
    reid_temperature: float = 0.1
    seed: int = 0
    start: str | None = None  # weights to begin with, as `load_clip` takes them; None for random ones
    kept: float = 0.5  # share of those weights in the result


class _Resized(nn.Module):
    """Positions of CLIP's own grid, resized to the map of other images."""

    def __init__(self, grid: tuple[int, int], map_size: tuple[int, int]) -> None:
        super().__init__()
        self.grid, self.map_size = grid, map_size

    def forward(self, positions: Tensor) -> Tensor:
        return resize_positions(positions, self.grid, self.map_size)


class Towers(nn.Module):
    """Both towers of a CLIP while they learn."""

    def __init__(self, clip: CLIP, size: tuple[int, int]) -> None:
        """Start from the weights of a CLIP with a ResNet; `finished` returns it with the learned ones.

        Args:
            clip: from `load_clip`.
            size: height and width of the images.
        """
        super().__init__()
        self.encoder = ImageEncoder(clip_tower(clip.visual, size))
        positions = clip.visual.attnpool.positional_embedding
        grid = math.isqrt(len(positions) - 1)
        pool = self.resnet.attnpool
        pool.positional_embedding = nn.Parameter(positions.detach().clone())
        resizing = _Resized((grid, grid), (size[0] // 16, size[1] // 16))
        parametrize.register_parametrization(pool, "positional_embedding", resizing, unsafe=True)
        self.clip = clip

    @property
    def resnet(self) -> ModifiedResNet:
        """The image tower that learns."""
        resnet = self.encoder.tower.resnet
        if not isinstance(resnet, ModifiedResNet):
            raise TypeError(f"expected CLIP's ResNet, not {type(resnet).__name__}")
        return resnet

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, L2-normalised, of images (B, 3, H, W) and sentences (S, L).

        Returns:
            (re-ID features (B, D) and image-text features (B, E) of images, features of sentences (S, E), scale ()).
        """
        reid, image_text = self.encoder.tower(images, True)
        sentences = encode_sentences(self.clip, tokens)
        scale = self.clip.logit_scale.exp().clamp(max=HIGHEST_SCALE)
        reid, image_text, sentences = (F.normalize(each.float()) for each in (reid, image_text, sentences))
        return reid, image_text, sentences, scale

    def finished(self) -> CLIP:
        """A CLIP as open_clip builds it, with the towers' weights, on the CPU."""
        weights = self.resnet.state_dict()
        learned = weights.pop("attnpool.parametrizations.positional_embedding.original")
        clip = copy.deepcopy(self.clip)
        clip.visual.load_state_dict(weights | {"attnpool.positional_embedding": learned})
        return clip.cpu().eval()


def pretrain(
    captioned: CaptionedWorld, images: npt.NDArray[np.uint8], out: Path, fabric: Fabric, settings: Pretraining
) -> CLIP:
    """Train both towers from ``settings.start``, or resume from ``out/pretraining.pt``.

    Args:
        captioned: the pictures' sentences; every epoch words them differently.
        images: (n, 3, H, W), the pictures.
        out: folder for the checkpoint and ``events.jsonl``.
        fabric: launched.
        settings: how long and how fast.

    Raises:
        InputError: the checkpoint belongs to other settings.
    """
    torch.manual_seed(settings.seed)
    clip = load_clip(ARCHITECTURE, settings.start)
    context_length = clip.context_length
    towers, optimizer = fabric.setup(module := Towers(clip, captioned.size), _optimizer(module, settings))
    first, before = _restore(out / "pretraining.pt", module, optimizer, settings)
    events = Events(out, before)
    steps = len(images) // settings.batch_size
    caption_loss = ClipLoss()
    for epoch in range(first, settings.epochs):
        towers.train()
        losses = []
        with bar(f"epoch {epoch + 1} of {settings.epochs}", steps) as progress:
            batches = _batches(captioned, images, settings, epoch, context_length)
            for step, (pixels, tokens, persons) in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = _learning_rate(settings, epoch + step / steps)
                reid, image_text, text, scale = towers(fabric.to_device(pixels), fabric.to_device(tokens))
                shown, temperature = fabric.to_device(persons), settings.reid_temperature
                parts = torch.stack(
                    [
                        caption_loss(image_text[:: settings.images_per_person], text, scale),
                        supervised_contrastive(image_text, shown, temperature),
                        supervised_contrastive(reid, shown, temperature),
                    ]
                )
                optimizer.zero_grad()
                fabric.backward(parts.sum())
                optimizer.step()
                losses.append(parts.detach())
                progress.advance()
        means = dict(zip(LOSSES, torch.stack(losses).mean(0).tolist(), strict=True))
        note(
            f"epoch {epoch + 1} of {settings.epochs}: "
            + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        )
        events.write({"stage": 0, "epoch": epoch} | means)
        save_checkpoint(
            out / "pretraining.pt",
            {
                "settings": asdict(settings),
                "epoch": epoch + 1,
                "events": list(events.written),
                "towers": module.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
        )
    finished = module.finished()
    if settings.start is not None:
        finished = averaged(load_clip(ARCHITECTURE, settings.start), finished, settings.kept)
    pixels, tokens, _ = next(_batches(captioned, images, settings, 0, context_length))
    scaled = with_scale_in_norms(finished, pixels, tokens)
    return whitened_within_persons(scaled, images, torch.from_numpy(captioned.pictures[:, 0]))


def averaged(start: CLIP, learned: CLIP, kept: float) -> CLIP:
    """``learned`` with the weights kept * start + (1 - kept) * learned.

    Half way between them, a CLIP transfers to other pictures better than at either end (docs/synthetic.md).

    Source: Wortsman et al., arXiv 2109.01903.
    """
    before, after = start.state_dict(), learned.state_dict()
    learned.load_state_dict(
        {
            name: torch.lerp(value, before[name], kept) if value.is_floating_point() else value
            for name, value in after.items()
        }
    )
    return learned


@torch.no_grad()
def whitened_within_persons(clip: CLIP, images: npt.NDArray[np.uint8], persons: Tensor) -> CLIP:
    """Project image-text features so that pictures of one person differ alike in every direction.

    A = (W E / tr(W) + r I)^(-1/2), W the covariance (E, E) of the normalised features about their person's mean. Images
    are projected by A, sentences by its inverse, so no product of the two changes. What tells cameras and poses apart
    thus counts for less when pictures are compared with each other.

    Args:
        clip: its projections are changed in place.
        images: (n, 3, H, W) uint8.
        persons: (n,) int64, 0..n-1; at least one has two pictures.

    Source: within-class covariance normalisation, Hatch et al., Interspeech 2006.
    """
    encoder = ImageEncoder(clip_tower(clip.visual, (images.shape[2], images.shape[3]))).eval()
    shares = np.array_split(images, -(-len(images) // _BATCH))
    features = torch.cat([F.normalize(encoder(normalise(torch.tensor(share)))[1].double()) for share in shares])
    sums = torch.zeros(int(persons.max()) + 1, features.shape[1], dtype=torch.float64).index_add_(0, persons, features)
    means = sums / persons.bincount()[:, None].clamp(min=1)
    within = torch.cov((features - means[persons]).T, correction=0)
    values, directions = torch.linalg.eigh(within)
    roots = (values.clamp(min=0) / values.mean() + RIDGE).sqrt()
    projection = clip.visual.attnpool.c_proj
    for weight in (projection.weight, projection.bias):
        weight.copy_(directions / roots @ directions.T @ weight.double())
    clip.text_projection.copy_(clip.text_projection.double() @ (directions * roots) @ directions.T)
    return clip


@torch.no_grad()
def with_scale_in_norms(clip: CLIP, pixels: Tensor, tokens: Tensor) -> CLIP:
    """Scale both projections, so that plain products of features are, on average, the logits the CLIP was trained on.

    The contrastive loss uses cosines only and leaves the features' norms arbitrary; the text losses of stage 2 use
    the products themselves (docs/method.md, 4.1). No cosine changes.

    Args:
        clip: scaled in place.
        pixels: (B, 3, H, W) and tokens: (S, L), on which the norms are measured.
    """
    tower = clip_tower(clip.visual, (pixels.shape[2], pixels.shape[3]))
    image_text = ImageEncoder(tower).eval()(pixels)[1]
    norm = clip.logit_scale.exp().clamp(max=HIGHEST_SCALE).sqrt()
    projection = clip.visual.attnpool.c_proj
    for weight in (projection.weight, projection.bias):
        weight.mul_(norm / image_text.norm(dim=1).mean())
    clip.text_projection.mul_(norm / encode_sentences(clip, tokens).norm(dim=1).mean())
    return clip


def save_clip(path: Path, clip: CLIP) -> None:
    """Write a CLIP's weights, whole or not at all: matrices and kernels as float16, the rest unchanged."""
    saved = {name: value.half() if value.ndim > 1 else value for name, value in clip.state_dict().items()}
    write_weights(path, saved)


def _optimizer(towers: Towers, settings: Pretraining) -> torch.optim.AdamW:
    """AdamW, without weight decay for biases, norms and the scale."""
    learned = [
        parameter
        for name, parameter in towers.named_parameters()
        if not name.startswith(("clip.visual", "encoder.bnneck", "encoder.tower.gem"))
    ]
    groups = [
        {"params": [parameter for parameter in learned if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in learned if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _learning_rate(settings: Pretraining, epoch: float) -> float:
    """Linear warm-up, then a half cosine to zero; ``epoch`` is fractional."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 1e-3) / settings.warmup_epochs
    done = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def _batches(
    captioned: CaptionedWorld,
    images: npt.NDArray[np.uint8],
    settings: Pretraining,
    epoch: int,
    context_length: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One epoch's batches: pictures (B, 3, H, W), person by person, degraded and normalised; the
    tokens (P, L) of each person's first picture; and the persons shown, (B,).
    """
    seed = seed_for(settings.seed, epoch)
    shown, each = torch.from_numpy(captioned.pictures[:, 0]), settings.images_per_person
    steps, persons = len(images) // settings.batch_size, settings.batch_size // each
    for step, taken in enumerate(identity_batches(shown, steps, persons, each, seed)):
        pixels = normalise(degraded(torch.from_numpy(images[taken.numpy()]), seed_for(seed, step)))
        sentences = [captioned.caption(picture, epoch) for picture in taken[::each].tolist()]
        yield pixels, tokenized(sentences, context_length), shown[taken]


def _restore(
    path: Path, towers: Towers, optimizer: torch.optim.Optimizer, settings: Pretraining
) -> tuple[int, list[dict[str, Any]]]:
    """Restore towers and optimizer; returns the epoch to continue with, and the events before it."""
    if not path.is_file():
        return 0, []
    checkpoint = load_checkpoint(path)
    with of_a_checkpoint(path):
        if checkpoint["settings"] != asdict(settings):
            raise InputError(
                f"{path}: was begun with other settings ({checkpoint['settings']}); use them or another --out"
            )
        load_state(towers, checkpoint["towers"], str(path))
        load_optimizer(optimizer, checkpoint["optimizer"])
        return int(checkpoint["epoch"]), list(checkpoint["events"])
