"""Checkpoints: tensors and plain values only, written whole, read without pickle."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ccafl.config import Config
from ccafl.errors import InputError
from ccafl.files import written_whole
from ccafl.run_folder import RunFolder

FORMAT = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` to ``path``, whole or not at all.

    Raises:
        InputError: it cannot be written (a full disk); the checkpoint before stays.
    """
    with written_whole(path) as temporary:
        try:
            torch.save({"format": FORMAT, **content}, temporary)
        except RuntimeError as error:  # torch's own message about a failed write does not help a user
            raise OSError("not all of it could be written: is the disk full?") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: it is missing, damaged, or not a checkpoint of ccafl.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; give the folder of a run that has trained")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # reading a damaged pickle can raise almost anything
        raise InputError(f"{path}: is damaged or not a checkpoint; remove it and train again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: is not a checkpoint of this version of ccafl; train again")
    return content


def fork(run: RunFolder, epoch: int, out: RunFolder, config: Config) -> None:
    """Begin run ``out`` as a copy of ``run`` at the start of an epoch, to continue it with other settings.

    Its result is that of training from the start, provided that both runs train alike until that epoch
    (`ccafl.training.schedule.shared_epochs`). Does nothing if ``run`` did not keep its state at that epoch.

    Args:
        run: the run to copy.
        epoch: the epoch of stage 2.
        out: the folder of the new run, which has not begun.
        config: the new run's settings.
    """
    kept = run.at_epoch(epoch)
    if not kept.is_file():
        return
    state = load_checkpoint(kept) | {"config": config.model_dump(mode="json"), "best_map": -1.0}
    for source, copy in ((run.events, out.events), (run.data, out.data)):
        with written_whole(copy) as temporary:
            shutil.copyfile(source, temporary)  # resuming cuts off the events that came later
    save_checkpoint(out.last, state)
    out.write_config(config)  # last: until then the folder is not a run, and forking can be repeated


def load_state(module: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """Load ``state`` into ``module``; every key and shape must match.

    Raises:
        InputError: it belongs to another architecture; the first difference is named.
    """
    own = module.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            ours, theirs = (tuple(side[key].shape) if key in side else "nothing" for side in (own, state))
            raise InputError(
                f"{where}: {key} is {theirs} in the file and {ours} in this configuration's network; "
                "use the configuration it was trained with"
            )
    module.load_state_dict(state)
