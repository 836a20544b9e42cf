"""What a run records as it trains: ``events.jsonl`` (one line per epoch) and TensorBoard."""

import json
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ccafl.files import disk_errors
from ccafl.run_folder import RunFolder, flattened

_ADVICE = "free space, then continue with --resume"


class Events:
    """Appends one JSON object per epoch; its numbers go to TensorBoard, too.

    On resuming, what was written after the checkpoint is cut off, so that no epoch appears twice.
    """

    def __init__(self, folder: Path, keep_bytes: int = 0) -> None:
        self.path = RunFolder(folder).events
        self._file = self.path.open("ab")
        self._file.truncate(min(keep_bytes, self.path.stat().st_size))
        board = RunFolder(folder).tensorboard / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        with disk_errors(board, _ADVICE):
            board.parent.mkdir(exist_ok=True)
            self._board_file = board.open("wb")
            # Not SummaryWriter: its thread shows a traceback when the disk is full.
            self._board = RecordWriter(self._board_file)
            self._board.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            self._board.flush()

    def write(self, event: dict[str, Any]) -> None:
        """Append ``event``; it is on disk when this returns."""
        with disk_errors(self.path, _ADVICE):
            self._file.write(json.dumps(event).encode() + b"\n")
            self._file.flush()
        values = [
            Summary.Value(tag=f"stage{event['stage']}/{name}", simple_value=value) for name, value in _numbers(event)
        ]
        board_event = Event(wall_time=time.time(), step=event["epoch"], summary=Summary(value=values))
        with disk_errors(Path(self._board_file.name), _ADVICE):
            self._board.write(board_event.SerializeToString())
            self._board.flush()

    @property
    def written_bytes(self) -> int:
        """Length of the file, for the checkpoint."""
        return self._file.tell()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def _numbers(event: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (name, float(value))
        for name, value in flattened(event, "/").items()
        if isinstance(value, int | float) and name not in ("stage", "epoch")
    ]
