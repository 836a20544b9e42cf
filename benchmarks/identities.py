"""A few steps of stage 2 with very many identities, by several processes: whether they fit, and in how much memory.

`python -m benchmarks.identities`: 100,000 identities of two images each in 50 cameras, random features of 512 numbers,
the tiny network at 64x32, two gloo processes with a thread each. The steps are those of a run: L_GID, hybrid memories
in bfloat16, then prototypes and ICAL.
"""

import json
import time

import torch
import torch.nn.functional as F
import typer
from lightning_fabric import Fabric

from benchmarks.measure import GIB, peak_gib
from benchmarks.steps import NoiseStore, labelled
from ccafl.config import Config, load_config
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.network import build_encoder
from ccafl.training.encoder_stage import EncoderEpoch, Learners, set_up
from ccafl.training.fabric import make_fabric
from ccafl.training.learning import EpochStart, IntraLearning
from ccafl.training.schedule import Phase

IMAGES = 2  # of every identity
PHASES = {
    "intra-camera": Phase("intra", text=False, adversarial=False),
    "inter-camera with ICAL": Phase("inter", text=False, adversarial=True),
}


def main(identities: int = 100_000, processes: int = 2, instances: int = 32, steps: int = 3, cameras: int = 50) -> None:
    """Train for a few steps of each kind, and print losses, seconds and what each process holds."""
    torch.set_num_threads(1)
    settings = (
        f"runtime.devices={processes}",
        "runtime.accelerator=cpu",
        "data.workers=0",
        "stage2.identities=16",
        "stage2.images=8",
        f"stage2.steps_per_epoch={steps}",
        f"stage2.intra_camera.instances={instances}",
        "stage2.intra_camera.bfloat16_instances=true",
    )
    config = load_config("market-split", settings)
    fabric = make_fabric(config.runtime)
    fabric.launch()
    torch.manual_seed(0)
    encoder = build_encoder(config.model, cameras)
    learners = set_up(fabric, encoder, GlobalIDClassifier(identities, encoder.reid_dim), config.stage2)
    found = [_steps(fabric, config, learners, identities, cameras, name) for name in PHASES]
    weights = learners.classifier.weight
    state = learners.classifier_optimizer.state[weights]
    held = sum(
        part.nbytes for part in (weights, weights.grad, state["exp_avg"], state["exp_avg_sq"]) if part is not None
    )
    each = fabric.all_gather(torch.tensor([held / GIB, peak_gib()], dtype=torch.float64)).view(-1, 2).T.tolist()
    about = {"identities": identities, "instances": instances, "dim": encoder.reid_dim, "processes": processes}
    if fabric.is_global_zero:
        typer.echo(json.dumps(about | {"classifier_gib": each[0], "peak_gib": each[1], "steps": found}, indent=2))


def _steps(
    fabric: Fabric, config: Config, learners: Learners, identities: int, cameras: int, name: str
) -> dict[str, object]:
    """The losses of the last step, the seconds of each and, where there are hybrid memories, their size in GiB."""
    images = labelled(identities, cameras, IMAGES)
    random = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(len(images.identities), learners.classifier.weight.shape[1], generator=random))
    persons = torch.arange(identities) % (identities // 4)
    start = EpochStart(features, torch.empty(identities, 0), persons)
    epoch = EncoderEpoch(fabric, config, learners, images, start, PHASES[name], epoch=1)
    began = time.perf_counter()
    *_, losses = epoch.steps(NoiseStore(config.model.image_size, len(images.identities)))  # type: ignore[arg-type]
    each = (time.perf_counter() - began) / config.stage2.steps_per_epoch
    found: dict[str, object] = {"phase": name, "seconds": each}
    found["losses"] = {loss: value.item() for loss, value in losses.items()}
    if isinstance(epoch.learning, IntraLearning):
        held = sum(memory.centres.nbytes + memory.rows.nbytes for memory in epoch.learning.memories)
        found["memories_gib"] = held / GIB
    return found


if __name__ == "__main__":
    typer.run(main)
