"""CLIP's image towers, ResNet and ViT.

Source: paper, section III; GeM and resized positional embeddings from the authors' code; the ViT as in CLIP-ReID
(arXiv 2211.13977).
"""

import copy

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from ccafl.data.records import UNKNOWN_CAMERA
from ccafl.data.transforms import HALF, MEAN, STD
from ccafl.errors import InputError
from ccafl.model.gem import GeM
from ccafl.model.tower import Size, Tower


def clip_tower(
    clip_visual: nn.Module,
    image_size: Size,
    last_stride: int = 1,
    *,
    halved: bool = False,
    patch_stride: int | None = None,
    patch_frozen: bool = False,
    embedded_cameras: int | None = None,
) -> Tower:
    """CLIP's image tower for images of one size. The tower is copied; the CLIP model it comes from is left as it was.

    Args:
        clip_visual: `visual` of a model from `load_clip`.
        image_size: (height, width) of the images it will see.
        last_stride: stride of a ResNet's last stage, 1 or CLIP's own 2. A ViT has no stages.
        halved: whether the tower sees images with mean and deviation 0.5, not ImageNet's.
        patch_stride: pixels from one patch of a ViT to the next; None if patches touch.
        patch_frozen: whether a ViT's patch projection is not trained.
        embedded_cameras: C, if a ViT's features depend on the image's camera; else None.

    Raises:
        InputError: the images are too small for the tower, or it is a ResNet with settings of a ViT.
    """
    visual = copy.deepcopy(clip_visual)
    if isinstance(visual, ModifiedResNet):
        if patch_stride is not None or patch_frozen or embedded_cameras is not None:
            raise InputError("model.patch_stride, patch_frozen, camera_embedding: are for a ViT only; leave them out")
        return _ResNetTower(visual, image_size, last_stride, halved)
    if isinstance(visual, VisionTransformer):
        return _ViTTower(visual, image_size, halved, patch_stride, patch_frozen, embedded_cameras)
    raise TypeError(f"expected CLIP's ResNet or ViT, not {type(visual).__name__}")


class _Renormalised(nn.Module):
    """Images in ImageNet's normalisation, as every tower takes them, to mean and deviation 0.5."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std, half = (torch.tensor(colour)[:, None, None] for colour in (MEAN, STD, HALF))
        self.register_buffer("scale", std / half, persistent=False)
        self.register_buffer("shift", (mean - half) / half, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift


class _ResNetTower(Tower):
    """open_clip's ModifiedResNet. GeM pools its last map to the re-ID feature (RN50: 2048 numbers); the attention
    pool's class position is the image-text feature (1024).
    """

    has_map = True

    def __init__(self, resnet: ModifiedResNet, image_size: Size, last_stride: int, halved: bool) -> None:
        super().__init__()
        self.image_size, self.renormalised = image_size, _Renormalised() if halved else nn.Identity()
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride is 1 or 2, not {last_stride}")
        if last_stride == 1:
            _remove_last_stride(resnet)
        grid = resnet.image_size // 32
        map_size = _resnet_map_size(image_size, last_stride)
        resnet.attnpool.positional_embedding = nn.Parameter(
            resize_positions(resnet.attnpool.positional_embedding.detach(), (grid, grid), map_size)
        )
        self.resnet = resnet
        self.gem = GeM()
        self.reid_dim = resnet.attnpool.c_proj.in_features
        self.image_text_dim = resnet.attnpool.c_proj.out_features

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, h, w)."""
        net = self.resnet
        features: Tensor = net.stem(self.renormalised(images))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            features = stage(features)
        return features

    def forward(self, images: Tensor, image_text: bool) -> tuple[Tensor, Tensor | None]:
        features = self.feature_map(images)
        return self.gem(features), attend(self.resnet.attnpool, features) if image_text else None


class _ViTTower(Tower):
    """open_clip's VisionTransformer, its projection taken out: the class token before it is the re-ID feature
    (ViT-B/16: 768 numbers), after it the image-text feature (512).

    The class token may start from its camera's vector (side information embedding: TransReID, arXiv 2102.04378); an
    unknown camera has the mean of all.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        image_size: Size,
        halved: bool,
        patch_stride: int | None,
        patch_frozen: bool,
        cameras: int | None,
    ) -> None:
        super().__init__()
        self.image_size, self.renormalised = image_size, _Renormalised() if halved else nn.Identity()
        self.embedded_cameras = cameras
        if patch_stride is not None:
            vit.conv1.stride = (patch_stride, patch_stride)
        height, width = (
            (side - patch) // step + 1
            for side, patch, step in zip(image_size, vit.patch_size, vit.conv1.stride, strict=True)
        )
        grid = height, width
        _check_map(image_size, grid)
        vit.conv1.requires_grad_(not patch_frozen)
        if cameras is not None:
            self.camera_embedding = nn.Parameter(torch.empty(cameras, len(vit.class_embedding)).normal_(std=0.02))
        vit.positional_embedding = nn.Parameter(
            resize_positions(vit.positional_embedding.detach(), vit.grid_size, grid)
        )
        vit.image_size, vit.grid_size = image_size, grid
        self.projection: nn.Parameter = vit.proj
        vit.register_parameter("proj", None)
        self.vit = vit
        self.reid_dim, self.image_text_dim = self.projection.shape

    def forward(self, images: Tensor, image_text: bool) -> tuple[Tensor, Tensor | None]:
        return self.of_cameras(images, image_text, None)

    def of_cameras(self, images: Tensor, image_text: bool, cameras: Tensor | None) -> tuple[Tensor, Tensor | None]:
        images = self.renormalised(images)
        class_token: Tensor = self.vit(images) if self.embedded_cameras is None else self._with_vectors(images, cameras)
        return class_token, class_token @ self.projection if image_text else None

    def _with_vectors(self, images: Tensor, cameras: Tensor | None) -> Tensor:
        """As open_clip's forward, with the camera's vector added to the class token."""
        vit, vectors = self.vit, self.camera_embedding
        if cameras is None:
            cameras = torch.full((len(images),), UNKNOWN_CAMERA)
        known = (cameras >= 0) & (cameras < len(vectors))
        rows = torch.where(known, cameras, len(vectors)).to(images.device)
        first = vit.class_embedding + torch.cat([vectors, vectors.mean(0, keepdim=True)])[rows]
        tokens = torch.cat([first[:, None], vit.conv1(images).flatten(2).transpose(1, 2)], 1)
        hidden = vit.transformer(vit.ln_pre(tokens + vit.positional_embedding))
        pooled: Tensor = vit.ln_post(hidden)[:, 0]
        return pooled


def _remove_last_stride(resnet: ModifiedResNet) -> None:
    """Stride 1 in the last stage: CLIP strides by average pooling, once on each path of the stage's first block."""
    block = resnet.layer4[0]
    block.avgpool = nn.Identity()
    block.downsample[0] = nn.Identity()
    block.stride = 1


def _resnet_map_size(image_size: Size, last_stride: int) -> Size:
    """Size of the last stage's map: a padded convolution of stride 2, then 2x2 pools that drop odd rows and columns."""
    height, width = ((side + 1) // 2 // 2 // 2 // 2 // last_stride for side in image_size)
    _check_map(image_size, (height, width))
    return height, width


def _check_map(image_size: Size, map_size: Size) -> None:
    if min(map_size) < 1:
        height, width = image_size
        raise InputError(f"image size {height}x{width}: too small for this image tower; give larger images")


def resize_positions(embedding: Tensor, grid: Size, new_grid: Size) -> Tensor:
    """Resize positional embeddings bilinearly, all but the class position's.

    Args:
        embedding: (1 + h w, C), the class position first.
        grid: (h, w), the grid it was made for.
        new_grid: (h', w').

    Returns:
        (1 + h' w', C).

    Source: the authors' code (after TransReID, arXiv 2102.04378).
    """
    by_channel = embedding[1:].T.reshape(-1, *grid)
    resized = F.interpolate(by_channel[None], new_grid, mode="bilinear", align_corners=False)[0]
    return torch.cat([embedding[:1], resized.flatten(1).T])


def attend(pool: AttentionPool2d, features: Tensor) -> Tensor:
    """CLIP's attention pool at its class position only: the result of open_clip's forward for half the work.

    Args:
        pool: the ResNet's.
        features: (B, C, h, w).

    Returns:
        (B, E), not normalised.
    """
    positions = features.flatten(2).transpose(1, 2)
    positions = torch.cat([positions.mean(1, keepdim=True), positions], 1)
    positions = positions + pool.positional_embedding.to(positions.dtype)
    query, key, value = (
        projection(tokens).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for projection, tokens in ((pool.q_proj, positions[:, :1]), (pool.k_proj, positions), (pool.v_proj, positions))
    )
    attended = F.scaled_dot_product_attention(query, key, value)
    pooled: Tensor = pool.c_proj(attended.flatten(1))
    return pooled
