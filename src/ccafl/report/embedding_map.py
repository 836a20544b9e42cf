"""A map of features in two dimensions (t-SNE)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccafl.report.drawing import MARKS, plain_label, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 1200
FEWEST_POINTS = 10
_PERSONS = 12  # highlighted


def layout(features: Tensor) -> Tensor:
    """Positions (n, 2) of L2-normalised features (n, D); deterministic."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    placed = TSNE(init="pca", perplexity=perplexity, random_state=0, metric="cosine").fit_transform(features.numpy())
    return torch.from_numpy(placed)


def sample_persons(persons: Tensor, most: int = MOST_POINTS) -> Tensor:
    """Indices of at most ``most`` of n images, given their persons (n,).

    Persons are evenly sampled and kept whole; junk and distractors are left out.
    """
    names, counts = persons[persons > 0].unique(return_counts=True)
    share = max(1, -(-int(counts.sum()) // most))
    kept = torch.isin(persons, names[::share])
    return kept.nonzero().squeeze(1)[:most]


@themed
def map_figure(
    places: Tensor, cameras: Tensor, persons: Tensor, camera_names: Sequence[str], labels: Sequence[str]
) -> "Figure":
    """The same map twice: coloured by camera, and with a dozen persons seen by many cameras.

    Args:
        places: (n, 2) positions.
        cameras: (n,) int64.
        persons: (n,) int64.
        camera_names: name of each camera.
        labels: n names, one for the person in each image.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.8), layout="constrained")
    palette = colormaps["tab10"]
    by_camera, by_person = figure.subplots(1, 2)
    for number, camera in enumerate(cameras.unique().tolist()):
        own = cameras == camera
        look = {"color": palette(number % 10), "marker": MARKS[number % len(MARKS)]}
        name = plain_label(camera_names[camera])
        by_camera.scatter(*places[own].T.numpy(), s=14, alpha=0.75, linewidths=0, rasterized=True, label=name, **look)
    by_person.scatter(*places.T.numpy(), s=6, color="#9a9a9a", alpha=0.6, linewidths=0, rasterized=True, label="others")
    names = persons.unique().tolist()
    seen = {name: len(cameras[persons == name].unique()) for name in names if name > 0}
    for number, name in enumerate(sorted(seen, key=lambda name: -seen[name])[:_PERSONS]):
        own = persons == name
        look = {"color": palette(number % 10), "marker": MARKS[number % len(MARKS)]}
        called = plain_label(labels[int(own.nonzero()[0])])
        by_person.scatter(*places[own].T.numpy(), s=28, linewidths=0, rasterized=True, label=called, **look)
    for axes, title in ((by_camera, "by camera"), (by_person, "by person")):
        axes.set_title(title)
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])
        legend = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "ncols": 4, "columnspacing": 1}
        axes.legend(markerscale=1.4, **legend)
    return figure
