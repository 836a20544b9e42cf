"""What the image encoder needs of a backbone."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

Size = tuple[int, int]
"""(height, width)"""


class Tower(nn.Module, ABC):
    """A backbone for images of one size: the re-ID feature before the BNNeck and, if there is a text tower, the
    image-text feature.

    Attributes:
        image_size: (height, width) of the images it takes.
        reid_dim: D, the size of the re-ID feature.
        image_text_dim: E, the size of the image-text feature; None without a text tower.
        has_map: whether `feature_map` can be called; a ViT has tokens instead.
        embedded_cameras: C, if features depend on the image's camera, of C, by a learned vector; else None.
    """

    image_size: Size
    reid_dim: int
    image_text_dim: int | None = None
    has_map: bool = False
    embedded_cameras: int | None = None

    @abstractmethod
    def forward(self, images: Tensor, image_text: bool) -> tuple[Tensor, Tensor | None]:
        """Features of normalised images (B, 3, H, W).

        Args:
            images: as `ccafl.data.transforms` normalises them.
            image_text: whether to compute the image-text feature too.

        Returns:
            (pooled features (B, D), image-text features (B, E) or None), not L2-normalised.
        """

    def of_cameras(self, images: Tensor, image_text: bool, cameras: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`forward`, for a tower with ``embedded_cameras``: cameras (B,) in 0..C-1, any other number if unknown."""
        features: tuple[Tensor, Tensor | None] = self(images, image_text)
        return features

    def feature_map(self, images: Tensor) -> Tensor:
        """The last feature map: (B, 3, H, W) -> (B, channels, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} has no feature map")
