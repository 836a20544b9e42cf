"""Weights from files, and whether they fit."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ccafl.errors import InputError
from ccafl.files import embed_digest, has_its_digest, written_whole
from ccafl.model.archive import check_contents, is_torchscript, read_torchscript

_DIGEST = "ccafl.sha256"  # the name of the digest in the metadata of a .safetensors file
_MARK = f'"{_DIGEST}":"'.encode()
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # what OpenAI's archives hold besides the weights


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as .safetensors with its digest, whole or not at all."""
    content = save({name: value.contiguous() for name, value in state.items()}, {_DIGEST: "0" * 64})
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
        embed_digest(temporary, _MARK)


def read_weights(path: Path, *, digest: bool = False) -> dict[str, Tensor]:
    """The state dict in a file of any of the three formats, without entries that are not weights.

    No format's reader runs code that the file brings. Checksums and a digest are checked where the file has them.

    Args:
        path: the file.
        digest: whether it must have the digest of `write_weights`.

    Raises:
        InputError: it is damaged or holds no state dict.
    """
    try:
        content = _read_file(path, digest=digest)
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


def _read_file(path: Path, *, digest: bool) -> Any:
    if path.suffix == ".safetensors":
        right = has_its_digest(path, _MARK)
        if right is False or (digest and right is None):
            raise ValueError("its digest is another")
        return load_file(path)
    if zipfile.is_zipfile(path):
        check_contents(path)
    if is_torchscript(path):
        return read_torchscript(path)
    return torch.load(path, map_location="cpu", weights_only=True)


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
