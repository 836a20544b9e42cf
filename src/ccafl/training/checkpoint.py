"""Checkpoints: tensors and plain values only, written whole and sealed, read without pickle.

The last two are kept, ``last.pt`` and ``previous.pt``: if the first is damaged, the second is used.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ccafl.config import Config
from ccafl.errors import InputError
from ccafl.files import written_whole
from ccafl.method.share import Share
from ccafl.model.archive import check_seal, seal
from ccafl.run_folder import RunFolder
from ccafl.terminal import note
from ccafl.training.events import events_of

FORMAT = 1


class DamagedError(InputError):
    """A checkpoint that is not as it was written."""


def save_checkpoint(path: Path, content: Mapping[str, Any], previous: Path | None = None) -> None:
    """Write ``content`` to ``path``, whole or not at all; a file there before is kept as ``previous``, if given.

    Raises:
        InputError: it cannot be written (a full disk); the checkpoint before stays.
    """
    with written_whole(path, previous) as temporary:
        try:
            torch.save({"format": FORMAT, **content}, temporary)
        except RuntimeError as error:  # torch's own message about a failed write does not help a user
            raise OSError("not all of it could be written: is the disk full?") from error
        seal(temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. A single changed bit is noticed.

    Raises:
        DamagedError: it is not as it was written.
        InputError: it is missing, or not a checkpoint of ccafl.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; give the folder of a run that has trained")
    try:
        check_seal(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # reading a damaged pickle can raise almost anything
        raise DamagedError(f"{path}: is damaged or not a checkpoint; remove it and train again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: is not a checkpoint of this version of ccafl; train again")
    return content


def load_last(run: RunFolder) -> tuple[Path, dict[str, Any]]:
    """A run's last checkpoint and where it is: the one before it, with a warning, if that is damaged.

    Raises:
        InputError: as `load_checkpoint`, of both.
    """
    try:
        if run.last.is_file() or not run.previous.is_file():
            return run.last, load_checkpoint(run.last)
        why = f"{run.last}: is missing"  # stopped between the two renames of a checkpoint
    except DamagedError:
        if not run.previous.is_file():
            raise
        why = f"{run.last}: is damaged"
    content = load_checkpoint(run.previous)
    with of_a_checkpoint(run.previous):
        note(f"{why}; the checkpoint before it is used, of stage {content['stage']}, epoch {content['epoch']}")
    return run.previous, content


@contextmanager
def of_a_checkpoint(path: Path) -> Iterator[None]:
    """Report what fails in the block as an InputError about the content of the checkpoint ``path``.

    It lacks something, or holds something else: nobody but a stranger writes such a file, and what then fails is open.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
        raise InputError(f"{path}: is not the checkpoint of a run of ccafl ({what}); train again") from error


def fork(run: RunFolder, epoch: int, out: RunFolder, config: Config) -> None:
    """Begin run ``out`` as a copy of ``run`` at the start of an epoch, to continue it with other settings.

    Its result is that of training from the start, provided that both runs train alike until that epoch
    (`ccafl.training.schedule.shared_epochs`). Does nothing if ``run`` did not keep its state at that epoch, or that
    file is damaged.

    Args:
        run: the run to copy.
        epoch: the epoch of stage 2.
        out: the folder of the new run, which has not begun.
        config: the new run's settings.
    """
    kept = run.at_epoch(epoch)
    if not kept.is_file():
        return
    try:
        state = load_checkpoint(kept) | {"config": config.model_dump(mode="json"), "best_map": -1.0}
    except DamagedError:
        note(f"{kept}: is damaged; {out.path} trains from the start")
        return
    with of_a_checkpoint(kept):
        state["events"] = events_of(state, run.events)
    save_checkpoint(out.last, state)
    with written_whole(out.data) as temporary:
        shutil.copyfile(run.data, temporary)
    out.write_environment()
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


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimiser; every tensor in it must have its parameter's shape, or be a number.

    Raises:
        ValueError: it belongs to other parameters.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        if any(value.shape not in (parameter.shape, ()) for value in values.values() if isinstance(value, Tensor)):
            raise ValueError("an optimiser's state is of other parameters")


def whole_state(state: dict[str, Any], share: Share | None, rows: int) -> dict[str, Any]:
    """The state of something whose rows several processes share, as one process alone would have it, on process 0.

    All processes call it together. A checkpoint is therefore the same whichever their number.

    Args:
        state: of a module or an optimiser; every tensor in it but single numbers has the process's rows.
        share: None for one process, whose state it is already.
        rows: of all processes.
    """
    return state if share is None else _of_rows(state, lambda part: share.whole(part, rows))


def part_of(state: dict[str, Any], share: Share | None) -> dict[str, Any]:
    """This process's part of what `whole_state` gives."""
    return state if share is None else _of_rows(state, lambda whole: share.of(whole).clone())  # the whole can go


def _of_rows(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested state with every tensor changed but single numbers."""
    if isinstance(state, dict):
        return {key: _of_rows(value, change) for key, value in state.items()}
    return change(state) if isinstance(state, Tensor) and state.ndim else state
