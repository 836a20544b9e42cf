"""What the digest of a checkpoint costs, against writing the checkpoint."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.measure import Comparison
from benchmarks.steps import CAMERAS, IDENTITIES
from ccafl.config import Model, load_config
from ccafl.model.archive import seal
from ccafl.model.network import build_network
from ccafl.training.checkpoint import save_checkpoint

SHARE = 0.05  # of the time of writing
SEAL = 77  # bytes of the archive's comment, which is the digest; two before it say its length


def digests() -> Iterator[Comparison]:
    """clip-synth's checkpoint: the digest takes under 5 % of the time of writing it; of a larger one even less."""
    with tempfile.TemporaryDirectory() as folder:
        yield _digest_of("clip-synth", load_config("demo", ["model.weights=null"]).model, Path(folder) / "last.pt")


def _digest_of(architecture: str, model: Model, path: Path) -> Comparison:
    network = build_network(model, IDENTITIES, CAMERAS, seed=0)
    state: dict[str, object] = {}
    for name, module in (("encoder", network.encoder), ("classifier", network.classifier)):
        optimizer = torch.optim.Adam(module.parameters())
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        state |= {name: module.state_dict(), f"{name}_optimizer": optimizer.state_dict()}

    def write() -> None:
        save_checkpoint(path, state)

    write()
    size = path.stat().st_size

    def digest() -> None:
        os.truncate(path, size - SEAL - 2)
        with path.open("ab") as file:
            file.write(bytes(2))  # an archive without a comment
        seal(path)

    return Comparison(
        f"digest of a checkpoint: {architecture}, {size / 2**20:,.0f} MiB",
        "writing the checkpoint",
        digest,
        write,
        lambda ours, theirs: True,  # parts of one work, with nothing to compare
        bar=1 / SHARE,
        rounds=9,
    )
