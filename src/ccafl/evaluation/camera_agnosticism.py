"""How much features reveal the camera, which the paper's should not: a linear probe, the nearest strangers, and where
the global ID classifier puts its probability.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.share import Share

_BLOCK_ELEMENTS = 1 << 24  # of the matrix of products, held at a time: 64 MiB in float32
_RIDGE = 1e-3  # on the weights of the probe, whose inputs are standardised
_STEPS = 100  # at most, of L-BFGS


def camera_probe(features: Tensor, cameras: Tensor, persons: Tensor) -> float:
    """How well a linear probe predicts the camera from frozen features: its accuracy on persons it was not fitted to.

    Multinomial logistic regression on standardised features, every camera with the same weight. Half of the persons fit
    it and the others test it, so that it cannot recognise a camera by the people in it.

    Args:
        features: (n, D).
        cameras: (n,) int64.
        persons: (n,) int64.

    Returns:
        Accuracy, averaged over cameras: 1 / C by chance for C cameras, 1 at best; nan if fewer than two cameras are in
        both halves.
    """
    fits = persons.unique(return_inverse=True)[1] % 2 == 0
    both = _distinct(cameras[fits])[torch.isin(_distinct(cameras[fits]), cameras[~fits])]
    if len(both) < 2:
        return float("nan")
    kept = torch.isin(cameras, both)
    features, cameras, fits = features[kept].float(), torch.bucketize(cameras[kept], both), fits[kept]
    spread, mean = torch.std_mean(features[fits], 0)
    features = (features - mean) / spread.clamp(min=1e-6)
    weight, bias = _logistic_regression(features[fits], cameras[fits], len(both))
    right = (features[~fits] @ weight.T + bias).argmax(1) == cameras[~fits]
    counts = torch.bincount(cameras[~fits], minlength=len(both))
    return float((torch.bincount(cameras[~fits][right], minlength=len(both)) / counts).mean())


def _distinct(values: Tensor) -> Tensor:
    distinct: Tensor = values.unique()
    return distinct


def _logistic_regression(features: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Weights (C, D) and biases (C,), every class with the same weight in the loss."""
    weight = features.new_zeros(count, features.shape[1], requires_grad=True)
    bias = features.new_zeros(count, requires_grad=True)
    shares = 1 / torch.bincount(classes, minlength=count).to(features.dtype)
    fit = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        value = F.cross_entropy(features @ weight.T + bias, classes, shares) + _RIDGE * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        fit.step(loss)
    return weight.detach(), bias.detach()


def own_camera_neighbours(
    query_features: Tensor,
    gallery_features: Tensor,
    query_persons: Tensor,
    query_cameras: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
    *,
    depth: int = 10,
) -> tuple[float, float]:
    """Share of a query's nearest strangers that were seen by its own camera.

    A stranger is a gallery image of another person. A share above chance shows that features reveal the camera.

    Args:
        query_features, gallery_features: (Q, D) and (G, D), L2-normalised.
        query_persons, query_cameras, gallery_persons, gallery_cameras: int64.
        depth: number of nearest strangers.

    Returns:
        (that share, and the share among all strangers, which features blind to the camera would give).
    """
    own_near, own_all = [], []
    rows = max(1, _BLOCK_ELEMENTS // max(len(gallery_features), 1))
    for block in torch.arange(len(query_features)).split(rows):
        stranger = query_persons[block][:, None] != gallery_persons
        own = (query_cameras[block][:, None] == gallery_cameras) & stranger
        products = (query_features[block] @ gallery_features.T).masked_fill(~stranger, -torch.inf)
        near = products.topk(min(depth, len(gallery_features)), 1).indices
        seen = stranger.gather(1, near).sum(1)
        own_near.append(own.gather(1, near).sum(1) / seen.clamp(min=1))
        own_all.append(own.sum(1) / stranger.sum(1).clamp(min=1))
    return float(torch.cat(own_near).mean()), float(torch.cat(own_all).mean())


def same_person_mass(
    cosines: Tensor, identities: Tensor, persons: Tensor, scale: float, share: Share | None = None
) -> Tensor:
    """Probability that the global ID classifier gives to the same person's identities in *other* cameras (figure 5).

    Args:
        cosines: (n, N) of features and classifier weights.
        identities: (n,) int64 accumulated identities of the samples.
        persons: (N,) int64, the person of every accumulated identity; each camera's labels are persons, so a person's
            other identities are in other cameras.
        scale: s, as in L_GID.
        share: of several processes, each with the cosines (n, N_p) of its identities.

    Returns:
        (n,) in 0..1.
    """
    columns = torch.arange(len(persons), device=persons.device)
    if share is not None:
        columns = share.of(columns)
    logits = scale * cosines
    same = (persons[identities][:, None] == persons[columns]) & (identities[:, None] != columns)
    mass = (logits.softmax(1) * same).sum(1)
    if share is None:
        return mass
    log_sums, masses = share.together(torch.stack([logits.logsumexp(1), mass])).unbind(1)
    return (log_sums.softmax(0) * masses).sum(0)
