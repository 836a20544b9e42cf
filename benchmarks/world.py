"""Claims about the synthetic world: how fast it is drawn, and that colour alone does not solve it.

`python -m benchmarks.world`
"""

import json
import resource
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor

from benchmarks.measure import GIB, in_own_process, timed
from ccafl.data.numbering import evaluation_images
from ccafl.data.source import read_source
from ccafl.evaluation.ranking import rank
from ccafl.synthetic.write import count_images, synthesize

STRIPES, BINS = 6, (8, 4, 4)  # horizontal stripes; bins of hue, saturation and value


def main(seed: int = 0, persons: int = 150, cameras: int = 6, processes: int = 2) -> None:
    """Images per second and memory of the default world at three sizes, and the mAP of a colour histogram."""
    rates = [in_own_process(_rate, seed, count, cameras, processes) for count in (persons // 2, persons, 4 * persons)]
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        synthesize(world, seed=seed, persons=persons, cameras=cameras, processes=processes)
        mean_average_precision, rank1 = colour_histogram(world)
    found = {"drawn": rates, "colour_histogram": {"mAP": mean_average_precision, "rank1": rank1}}
    typer.echo(json.dumps(found, indent=2))


def _rate(seed: int, persons: int, cameras: int, processes: int) -> dict[str, float]:
    """128x64 images per second with this many processes, and the peak memory of a single process."""
    images = count_images(seed=seed, persons=persons, cameras=cameras)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"seed": seed, "persons": persons, "cameras": cameras, "processes": processes}
        seconds, _ = timed(lambda: synthesize(Path(folder) / "world", **settings))
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"images": images, "images_a_second": images / seconds, "gib": max(used) * 1024 / GIB}


def colour_histogram(data: Path) -> tuple[float, float]:
    """mAP and rank-1 when ranking by colour histograms of horizontal stripes (Hellinger kernel)."""
    source = read_source(data)
    query, gallery = evaluation_images(source.query, source.gallery)
    features = (torch.stack([_histogram(path) for path in images.paths]) for images in (query, gallery))
    ranking = rank(*features, query.persons, query.cameras, gallery.persons, gallery.cameras)
    return ranking.mAP, float(ranking.cmc[0])


def _histogram(path: Path) -> Tensor:
    with Image.open(path) as picture:
        colours = np.asarray(picture.convert("HSV"))
    ranges = [(0, 256)] * 3
    stripes = [np.histogramdd(part.reshape(-1, 3), BINS, ranges)[0] for part in np.array_split(colours, STRIPES)]
    return F.normalize(torch.from_numpy(np.stack(stripes)).flatten().float().sqrt(), dim=0)


if __name__ == "__main__":
    typer.run(main)
