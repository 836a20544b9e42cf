"""Person re-identification from labels made camera by camera (CCAFL, arXiv 2409.19563)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccafl.evaluation.embedder import Embedder

__version__ = "0.1.0"


def load(run: str | Path, *, fast: bool = False) -> "Embedder":
    """Open a trained run: ``ccafl.load("runs/demo").embed(images)``.

    ``fast`` computes in bfloat16 where the device is faster at it; meant for search, not for reproducing figures.

    Raises:
        ccafl.errors.InputError: the folder is not a trained run.
    """
    from ccafl.evaluation.embedder import load_run

    return load_run(Path(run), fast=fast)
