"""A run's encoder as a single file for other programs (ONNX or a torch.export program), with a model card."""

from pathlib import Path
from typing import Any


def export_run(run: Path, out: Path | None = None, *, onnx: bool = True, program: bool = False) -> dict[str, Any]:
    """Write ``model.onnx`` and/or ``model.pt2``, and ``model_card.md``.

    Before any file is put in place, each is run on a variety of images, batch sizes and cameras and compared with the
    encoder. Either all files are written or none.

    Args:
        run: a folder made by training.
        out: folder for the files; ``export`` in the run's folder if not given.
        onnx: write ONNX, for ONNX Runtime and other programs.
        program: write a torch.export program, for PyTorch without ccafl.

    Returns:
        ``fingerprint``, ``card`` (its path), and for ``onnx`` and ``program``, if written: ``path``, ``mib``,
        ``cosine`` (the lowest with the encoder's features), ``seconds``.

    Raises:
        InputError: it is not a run, packages are missing, or a file cannot be written or computes different features.
    """
    from ccafl.export.write import write_export
    from ccafl.run_folder import RunFolder

    return write_export(run, out or RunFolder(run).export, onnx=onnx, program=program)
