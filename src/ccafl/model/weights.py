"""Weights from files, and whether they fit."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ccafl.errors import InputError

_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # what OpenAI's archives hold besides the weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of any of the three formats, without entries that are not weights.

    Raises:
        InputError: it is damaged or holds no state dict.
    """
    try:
        content = _read_file(path)
    except Exception as error:  # a damaged file can trip a reader in any way
        raise InputError(
            f"{path}: unreadable, damaged or not weights; "
            "give OpenAI's archive, a .safetensors file or a saved state dict"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise InputError(f"{path}: holds no state dict; save the model's state_dict() and give that file")
    return {key.removeprefix("module."): value for key, value in content.items() if key not in _NOT_WEIGHTS}


def _read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if _is_torchscript(path):
        with warnings.catch_warnings():  # PyTorch's advice to writers of such archives
            warnings.simplefilter("ignore")
            return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_torchscript(path: Path) -> bool:
    """Whether torch.jit.save wrote the file: only its archives have a table of the code's constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    """Refuse weights whose names or shapes are not the architecture's.

    Raises:
        InputError: with the name of the first weight that differs.
    """
    for key in [*expected, *state]:
        wanted, found = (tuple(side[key].shape) if key in side else None for side in (expected, state))
        if found is None and key.endswith("num_batches_tracked"):  # some writers leave it out; PyTorch fills it in
            continue
        if wanted != found:
            raise InputError(
                f"{path}: not weights of {architecture}: {key} is {_shape(found)} in the file, {_shape(wanted)} in "
                f"{architecture}; name the architecture that the file belongs to"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(shape)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
