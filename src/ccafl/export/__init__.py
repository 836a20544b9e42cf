"""A run's encoder as one file that other programs run: ONNX, or PyTorch's own program; with a model card."""

from pathlib import Path
from typing import Any


def export_run(run: Path, out: Path | None = None, *, onnx: bool = True, program: bool = False) -> dict[str, Any]:
    """Write ``model.onnx`` and/or ``model.pt2``, and ``model_card.md``.

    Each is run on images of every kind, several batch sizes and all cameras, and compared with the encoder before any
    file takes its place: all are written, or none.

    Args:
        run: a folder made by training.
        out: folder of the files; ``export`` in the run's folder if not given.
        onnx: for ONNX Runtime and whatever else reads ONNX.
        program: for PyTorch, without ccafl.

    Returns:
        ``fingerprint``, ``card`` (its path), and for ``onnx`` and ``program`` what was written: ``path``, ``mib``,
        ``cosine`` (the least with the encoder's features), ``seconds``.

    Raises:
        InputError: it is not a run, packages are missing, the file cannot be written, or it computes other features.
    """
    from ccafl.export.write import write_export
    from ccafl.run_folder import RunFolder

    return write_export(run, out or RunFolder(run).export, onnx=onnx, program=program)
