"""Person re-identification from labels made camera by camera (CCAFL, arXiv 2409.19563)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccafl.evaluation.embedder import Embedder

__version__ = "0.1.0"

# Set before its import, this keeps ONNX Runtime from reporting its use to Microsoft and from writing a device id.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def load(run: str | Path, *, fast: bool = False) -> "Embedder":
    """Open a trained run, or weights that need no training: ``ccafl.load("runs/demo").embed(images)``.

    ``run`` is a run's folder, ``clip-synth``, ``RN50:openai`` and the like: an architecture with its weights, or
    ``hf://owner/name`` or ``hf://owner/name@revision``: what `ccafl.hub.push_to_hub` published.

    ``fast`` computes in bfloat16 where the device is faster at it; meant for search, not for reproducing figures.

    Raises:
        ccafl.errors.InputError: it is none of these, or cannot be used.
    """
    if isinstance(run, str) and run.startswith("hf://"):
        from ccafl.hub import load_from_hub

        return load_from_hub(run, fast=fast)
    from ccafl.evaluation.embedder import load_model

    return load_model(run, fast=fast)
