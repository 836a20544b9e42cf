"""Make clip-synth, the CLIP that comes with the package: draw a world, learn from it, test on another.

The folder holds the pictures (``pictures.npy``, described by ``world.json``), ``pretraining.pt`` to resume from,
``clip-synth.safetensors``, and ``events.jsonl`` and ``results.json`` as in a run.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ccafl.config import validated
from ccafl.errors import InputError
from ccafl.files import disk_errors, new_folder, read_object, write_text
from ccafl.model.clip import load_clip
from ccafl.pretraining.contrast import ARCHITECTURE, Pretraining, pretrain, save_clip
from ccafl.pretraining.zero_shot import zero_shot
from ccafl.run_folder import RunFolder
from ccafl.synthetic.captioned import CaptionedWorld
from ccafl.synthetic.world import PRETRAINING_SEED, PRETRAINING_STRAIN, World
from ccafl.terminal import bar
from ccafl.training.fabric import make_fabric

UNSEEN_PERSONS, UNSEEN_CAMERAS, UNSEEN_VIEWS = 250, 60, 4  # of the world that clip-synth is tested on


def pretrain_clip(
    out: Path, *, persons: int, cameras: int, views: int, settings: Pretraining, precision: str = "auto"
) -> dict[str, Any]:
    """Draw a world that no other command draws, pretrain clip-synth on its captions, and test it on another such world.

    Args:
        out: a new folder, or one to continue in.
        persons: number of persons in the world.
        cameras: number of cameras.
        views: pictures of each person, each from another camera.
        settings: how long and how fast.
        precision: as ``runtime.precision`` of a run.

    Returns:
        what ``results.json`` holds.

    Raises:
        InputError: the folder cannot be used, or belongs to other settings.
    """
    for name, value, least in (("persons", persons, 2), ("views", views, 2), ("cameras", cameras, views)):
        if value < least:
            raise InputError(f"{name} {value}: too small; give {least} or more")
    if settings.batch_size % settings.images_per_person:
        raise InputError(f"batch {settings.batch_size}: give a multiple of {settings.images_per_person}")
    if persons * views < settings.batch_size:
        raise InputError(f"batch {settings.batch_size}: more than the {persons * views} pictures; give a smaller one")
    runtime = validated({"runtime": {"devices": 1, "precision": precision}}, "pretrain").runtime
    if not _description(out).is_file():
        new_folder(out)
    fabric = make_fabric(runtime)
    fabric.launch()
    seen = CaptionedWorld(World(PRETRAINING_SEED, persons, cameras, PRETRAINING_STRAIN, varied=True), views)
    unseen = CaptionedWorld(
        World(PRETRAINING_SEED + 1, UNSEEN_PERSONS, UNSEEN_CAMERAS, PRETRAINING_STRAIN), UNSEEN_VIEWS
    )
    described = {"persons": persons, "cameras": cameras, "views": views}
    clip = pretrain(seen, _drawn_pictures(seen, out, described), out, fabric, settings)
    weights = out / f"{ARCHITECTURE}.safetensors"
    save_clip(weights, clip)
    results = described | asdict(settings) | zero_shot(load_clip(ARCHITECTURE, str(weights)), unseen)
    RunFolder(out).write_results(results)
    return results


def _description(out: Path) -> Path:
    """Which world the pictures show; written once they are complete."""
    return out / "world.json"


def _drawn_pictures(captioned: CaptionedWorld, out: Path, described: dict[str, int]) -> npt.NDArray[np.uint8]:
    """The pictures (n, 3, H, W), mapped from a file that is drawn if it does not exist."""
    path, description = out / "pictures.npy", _description(out)
    if not description.is_file():
        shape = (len(captioned.pictures), 3, *captioned.size)
        with disk_errors(path):
            pictures = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            with bar("drawing pictures", len(pictures)) as progress:
                captioned.draw(pictures, os.cpu_count() or 1, progress.advance)
            pictures.flush()
        write_text(description, json.dumps(described) + "\n")
    elif read_object(description) != described:
        raise InputError(f"{description}: the pictures there show another world; use its settings or another output")
    drawn: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return drawn
