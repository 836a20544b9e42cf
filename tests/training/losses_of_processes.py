"""A program that trains in several processes, or goes on, with fixed batch statistics; it writes every step's losses.

python losses_of_processes.py DATA OUT PROCESSES
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ccafl.config import load_config
from ccafl.method.calibrated_association import associate_calibrated
from ccafl.model.image_encoder import ImageEncoder
from ccafl.pipeline import train_run
from ccafl.training.encoder_stage import EncoderEpoch
from ccafl.training.fabric import shared

SETTINGS = [
    "runtime.accelerator=cpu",
    "stage1.epochs=1",
    "stage2.epochs=2",
    "stage2.steps_per_epoch=10",
    "stage2.identities=8",
]
EVERY_LOSS = [
    "stage2.intra_camera.epochs=0",
    "stage2.feature_age=1",
    "stage2.intra_camera.text=true",
    "stage2.association.rate=0.5",
    "stage2.inter_camera.text_from=0",
    "stage2.inter_camera.alone=true",
    "stage2.adversarial.first_epoch=0",
]


def main(data: str, out: str, processes: str) -> None:
    """Write the losses, and labels that all processes join without a rate, into the run's folder."""
    ImageEncoder.train = lambda self, mode=True: nn.Module.train(self, False)  # type: ignore[method-assign]
    original_steps, losses, joined = EncoderEpoch.steps, [], []

    def steps(self, store):
        centres = F.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).repeat(3, 1) + 0.2)
        cameras = torch.arange(3).repeat_interleave(40)
        joined[:] = associate_calibrated(centres, cameras, share=shared(self.fabric)).identities.tolist()
        for step in original_steps(self, store):
            losses.append({name: loss.item() for name, loss in step.items()})
            yield step

    EncoderEpoch.steps = steps  # type: ignore[method-assign]
    config = load_config("market-split", [*SETTINGS, *EVERY_LOSS, f"runtime.devices={processes}"])
    train_run(config, Path(data), Path(out), resume=True)
    if not (Path(out) / "losses.json").exists():
        (Path(out) / "losses.json").write_text(json.dumps({"losses": losses, "joined": joined}))


if __name__ == "__main__":
    main(*sys.argv[1:])
