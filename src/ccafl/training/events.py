"""What a run tells while it goes: ``events.jsonl`` (one line an epoch) and TensorBoard."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class Events:
    """Appends one JSON object an epoch; numbers go to TensorBoard too.

    On resuming, what was written after the checkpoint is cut off, so that no epoch stands there twice.
    """

    def __init__(self, folder: Path, keep_bytes: int = 0) -> None:
        self.path = folder / "events.jsonl"
        self._file = self.path.open("ab")
        self._file.truncate(min(keep_bytes, self.path.stat().st_size))
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, event: dict[str, Any]) -> None:
        """Append ``event``; it is on disk when this returns."""
        self._file.write(json.dumps(event).encode() + b"\n")
        self._file.flush()
        for name, value in _numbers(event):
            self._board.add_scalar(f"stage{event['stage']}/{name}", value, event["epoch"])
        self._board.flush()

    @property
    def written_bytes(self) -> int:
        """Length of the file, for the checkpoint."""
        return self._file.tell()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def _numbers(event: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for key, value in event.items():
        if isinstance(value, dict):
            numbers += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and key not in ("stage", "epoch"):
            numbers.append((prefix + key, float(value)))
    return numbers
