"""The association without a rate against every rate, on the features of one checkpoint.

`python -m benchmarks.rates DATA RUN [DATA RUN ...] --epoch 12` takes the checkpoints that an ablation keeps where its
rows part: those of the end of the intra-camera phase.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from ccafl.data.numbering import accumulate, persons_of
from ccafl.data.source import read_source
from ccafl.evaluation.association_quality import AssociationQuality, association_quality
from ccafl.evaluation.embedder import Embedder, embed_images
from ccafl.method.association import associate, centre_by_camera, identity_centres
from ccafl.method.calibrated_association import associate_calibrated
from ccafl.model.network import build_encoder
from ccafl.run_folder import RunFolder
from ccafl.training.checkpoint import load_checkpoint, load_state

RATES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0, 5.0, 6.0, 8.0)
HEAD = "| data | labels | best rate | F1 | precision | recall | auto F1 | precision | recall | estimated | ratio |"


def main(
    data_and_runs: Annotated[list[Path], typer.Argument(help="Data and run, in turn.")],
    epoch: Annotated[int, typer.Option(help="The checkpoint at whose start the features are taken.")],
) -> None:
    """Print a line of a Markdown table for every data set."""
    typer.echo(HEAD)
    typer.echo("|---" * (HEAD.count("|") - 1) + "|")
    for data, run in zip(data_and_runs[::2], data_and_runs[1::2], strict=True):
        typer.echo(line(data, run, epoch))


def line(data: Path, run: Path, epoch: int) -> str:
    """Best rate and automatic association on the training images of ``data``."""
    records = read_source(data).train
    images, persons = accumulate(records), persons_of(records)
    if persons is None:
        raise typer.BadParameter(f"{data}: has training images without a person, so the truth is unknown")
    features = embed_images(_at_epoch(run, epoch), images, "training images")
    cameras = images.identity_cameras
    centred = centre_by_camera(features, cameras[images.identities])
    centres = identity_centres(centred, images.identities, len(cameras))
    by_rate = {
        rate: association_quality(associate(centres, cameras, rate, one_camera_once=True), persons) for rate in RATES
    }
    best = max(RATES, key=lambda rate: by_rate[rate].f1)
    found = associate_calibrated(centres, cameras)
    quality = association_quality(found.identities, persons)
    ratio = quality.f1 / by_rate[best].f1 if by_rate[best].f1 else float("nan")
    cells = [data.name, f"{len(cameras):,}", f"{best:g}", *_figures(by_rate[best]), *_figures(quality)]
    return f"| {' | '.join([*cells, _percent(found.estimated_precision), f'{ratio:.2f}'])} |"


def _at_epoch(run: Path, epoch: int) -> Embedder:
    folder = RunFolder(run)
    config, path = folder.read_config(), folder.at_epoch(epoch)
    state = load_checkpoint(path)
    encoder = build_encoder(config.model, len(state["camera_names"]))
    load_state(encoder, state["encoder"], str(path))
    return Embedder(config, encoder, state["camera_names"], torch.device("cpu"))


def _figures(quality: AssociationQuality) -> list[str]:
    return [_percent(quality.f1), _percent(quality.precision), _percent(quality.recall)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    typer.run(main)
