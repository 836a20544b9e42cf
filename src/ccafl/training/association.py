"""Cross-camera association from features, as configured; training, `ccafl associate` and `gallery join` share it."""

from torch import Tensor

from ccafl.config import Association
from ccafl.data.identity_links import IdentityLinks
from ccafl.method.association import associate_features


def associate_identities(
    features: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    settings: Association,
    links: IdentityLinks | None = None,
) -> Tensor:
    """Join the accumulated identities of different cameras.

    Args:
        features: (n, D), L2-normalised, of all images.
        identities: (n,) int64 in 0..N-1, accumulated identity of every image.
        identity_cameras: (N,) int64.
        settings: of the association.
        links: corrections by people.

    Returns:
        (N,) int64 on the CPU: associated identity, -1 for an identity left alone.
    """
    device = features.device
    return associate_features(
        features,
        identities.to(device),
        identity_cameras.to(device),
        **settings.model_dump(),
        must_link=None if links is None else links.must.to(device),
        cannot_link=None if links is None else links.cannot.to(device),
    ).cpu()
