"""Features standardised by camera: what all of a camera's images share is taken out. Not in the paper."""

import torch.nn.functional as F
from torch import Tensor

POOLED_IMAGES = 32
"""How many images of average statistics are counted to every camera, whose own few would say little."""
LEAST_DEVIATION = 1e-6  # a dimension that varies less is only centred


def standardised_by_camera(features: Tensor, cameras: Tensor) -> Tensor:
    """Features less their camera's mean, divided by its standard deviation in each dimension, L2-normalised.

    A camera's mean and variance are those of its n images and of `POOLED_IMAGES` more that are distributed as all
    images are: a camera of many images has its own statistics, one of few those of all cameras together.

    Args:
        features: (n, D), of all images that are compared with each other.
        cameras: (n,) int64, any numbers.

    Returns:
        (n, D), of the features' type.

    Source: Song et al., "Exploring the Camera Bias of Person Re-identification", arXiv 2502.10195; the pooled images
    are not in it.
    """
    _, places, counts = cameras.unique(return_inverse=True, return_counts=True)
    values = features.double()

    def mean_by_camera(numbers: Tensor) -> Tensor:
        sums = numbers.new_zeros(len(counts), numbers.shape[1]).index_add_(0, places, numbers)
        weighted: Tensor = (sums + POOLED_IMAGES * numbers.mean(0)) / (counts[:, None] + POOLED_IMAGES)
        return weighted

    means = mean_by_camera(values)
    deviations = (mean_by_camera(values.square()) - means.square()).clamp_(min=0).sqrt_()
    deviations[deviations < LEAST_DEVIATION] = 1
    return F.normalize((values - means[places]) / deviations[places]).to(features.dtype)
