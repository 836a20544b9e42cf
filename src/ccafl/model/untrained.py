"""Shipped or published weights as an encoder, without any training for re-ID. Not in the paper."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ccafl.config import Model
from ccafl.errors import InputError
from ccafl.model.clip import SHIPPED, known_architectures, pretrained_tags
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import WITHOUT_TEXT, build_backbone, has_text_tower, resolved
from ccafl.model.tower import Tower

_SHIPPED = "clip-synth"  # the architecture whose weights come with the package
_SHIPPED_SIZE = (128, 64)  # height, width


@dataclass(frozen=True, slots=True)
class NamedWeights:
    """An architecture with weights, as a user names it: ``clip-synth``, ``RN50:openai``, ``timm/resnet18:FILE``."""

    architecture: str
    weights: str

    @classmethod
    def parse(cls, name: str) -> "NamedWeights | None":
        """What ``NAME`` or ``NAME:WEIGHTS`` says; None where NAME is no architecture.

        Raises:
            InputError: an architecture without weights.
        """
        architecture, _, weights = name.partition(":")
        if not architecture.startswith(tuple(WITHOUT_TEXT)) and architecture not in known_architectures():
            return None
        if not weights and architecture != _SHIPPED:
            tags = pretrained_tags(architecture)
            choice = f"{architecture}:TAG with a tag of {', '.join(tags)}, or " if tags else ""
            raise InputError(f"{name}: comes without weights; give {choice}{architecture}:FILE")
        weights = weights or SHIPPED
        return cls(architecture, str(Path(weights).resolve()) if Path(weights).is_file() else weights)

    def __str__(self) -> str:
        return f"{self.architecture}:{self.weights}"

    def settings(self) -> Model:
        """The network's settings: the defaults, but small images for clip-synth, which was pretrained on such, and an
        unchanged last stride for a model without text, as not every one's can be removed.

        Raises:
            InputError: no such weights.
        """
        settings = Model(architecture=self.architecture, weights=self.weights)
        if self.architecture == _SHIPPED:
            settings = settings.model_copy(update={"image_size": _SHIPPED_SIZE})
        if not has_text_tower(settings):
            settings = settings.model_copy(update={"last_stride": 2})
        return resolved(settings)


def build_untrained(settings: Model) -> ImageEncoder:
    """The encoder of weights that nothing has trained for re-ID.

    Its re-ID feature is the image-text feature, which transfers better than the pooled one (docs/results.md); the
    pooled one where there is no text tower. The BNNeck, being new, changes no direction.

    Raises:
        InputError: the architecture or its weights are not available.
    """
    tower, clip = build_backbone(settings, settings.weights)
    return ImageEncoder(tower if clip is None else _ImageTextTower(tower))


class _ImageTextTower(Tower):
    """A tower whose image-text feature is its re-ID feature too."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        assert tower.image_text_dim is not None
        self.tower = tower
        self.image_size, self.has_map = tower.image_size, tower.has_map
        self.reid_dim = self.image_text_dim = tower.image_text_dim

    def forward(self, images: Tensor, image_text: bool) -> tuple[Tensor, Tensor | None]:
        _, projected = self.tower(images, True)
        return projected, projected if image_text else None

    def feature_map(self, images: Tensor) -> Tensor:
        return self.tower.feature_map(images)
