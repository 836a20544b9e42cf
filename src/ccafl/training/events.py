"""What a run records as it trains: ``events.jsonl`` (one line per epoch) and TensorBoard."""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ccafl.errors import InputError
from ccafl.files import disk_errors, strict_json, write_text
from ccafl.run_folder import RunFolder, flattened
from ccafl.terminal import note

_ADVICE = "free space, then continue with --resume"


class Events:
    """Appends one JSON object per epoch; its numbers go to TensorBoard, too.

    The checkpoint holds them all. On resuming, the file gets exactly those: what was written after the checkpoint is
    cut off, so that no epoch appears twice, and a file that is shorter or different is written again.

    Attributes:
        written: all events so far, as read from the file.
    """

    def __init__(self, folder: Path, events: Sequence[dict[str, Any]] = ()) -> None:
        self.path, self.written = RunFolder(folder).events, list(events)
        text = "".join(map(_line, events))
        board = RunFolder(folder).tensorboard / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        with disk_errors(self.path, _ADVICE):
            before = self.path.read_bytes() if self.path.is_file() else b""
            if not before.startswith(text.encode()):
                if before:
                    note(f"{self.path}: is not what the checkpoint holds; written again from it")
                write_text(self.path, text)
            self._file = self.path.open("ab")
            self._file.truncate(len(text.encode()))
        with disk_errors(board, _ADVICE):
            board.parent.mkdir(exist_ok=True)
            self._board_file = board.open("wb")
            # Not SummaryWriter: its thread shows a traceback when the disk is full.
            self._board = RecordWriter(self._board_file)
            self._board.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            self._board.flush()

    def write(self, event: dict[str, Any]) -> None:
        """Append ``event``; it is on the disk when this returns."""
        line = _line(event)
        with disk_errors(self.path, _ADVICE):
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.written.append(json.loads(line))
        values = [
            Summary.Value(tag=f"stage{event['stage']}/{name}", simple_value=value) for name, value in _numbers(event)
        ]
        board_event = Event(wall_time=time.time(), step=event["epoch"], summary=Summary(value=values))
        with disk_errors(Path(self._board_file.name), _ADVICE):
            self._board.write(board_event.SerializeToString())
            self._board.flush()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def events_of(state: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The events that belong to a checkpoint's ``state``; an older one only says how many bytes of the file ``path``.

    Raises:
        InputError: the file is shorter than that, or damaged.
    """
    if "events" in state:
        return list(state["events"])
    length = int(state["events_bytes"])
    try:
        content = path.read_bytes()
        if len(content) < length:
            raise ValueError(f"it has {len(content)} bytes, the checkpoint's events {length}")
        return [json.loads(line) for line in content[:length].splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: does not belong to the last checkpoint ({error}); restore it") from error


def _line(event: Mapping[str, Any]) -> str:
    return strict_json(event) + "\n"


def _numbers(event: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (name, float(value))
        for name, value in flattened(event, "/").items()
        if isinstance(value, int | float) and name not in ("stage", "epoch")
    ]
