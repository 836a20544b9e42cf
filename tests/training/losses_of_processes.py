"""A program that trains in several processes, or goes on, with fixed batch statistics and writes every step's losses.

python losses_of_processes.py DATA OUT PROCESSES PHASE
"""

import json
import sys
from pathlib import Path

from torch import nn

from ccafl.config import load_config
from ccafl.model.image_encoder import ImageEncoder
from ccafl.pipeline import train_run
from ccafl.training.encoder_stage import EncoderEpoch

SETTINGS = [
    "runtime.accelerator=cpu",
    "stage1.epochs=1",
    "stage2.epochs=1",
    "stage2.steps_per_epoch=10",
    "stage2.identities=8",
]
PHASES = {
    "intra": ["stage2.intra_camera.text=true"],
    "inter": [
        "stage2.epochs=2",
        "stage2.intra_camera.epochs=0",
        "stage2.association.rate=1.7",
        "stage2.inter_camera.text_from=0",
        "stage2.adversarial.first_epoch=0",
    ],
}


def main(data: str, out: str, processes: str, phase: str) -> None:
    ImageEncoder.train = lambda self, mode=True: nn.Module.train(self, False)  # type: ignore[method-assign]
    original_steps, losses = EncoderEpoch.steps, []

    def steps(self, store):
        for step in original_steps(self, store):
            losses.append({name: loss.item() for name, loss in step.items()})
            yield step

    EncoderEpoch.steps = steps  # type: ignore[method-assign]
    config = load_config("market-split", [*SETTINGS, *PHASES[phase], f"runtime.devices={processes}"])
    train_run(config, Path(data), Path(out), resume=True)
    if not (Path(out) / "losses.json").exists():
        (Path(out) / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
