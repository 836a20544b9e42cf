"""Files: on the disk in the order that a power failure needs, locked, and strict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ccafl.errors import InputError
from ccafl.files import lock, strict_json, write_text, written_whole

HOLD = "import sys; from pathlib import Path; from ccafl.files import lock; held = lock(Path(sys.argv[1])); print(1); "


def test_content_is_on_the_disk_before_its_name_and_the_name_before_it_counts(tmp_path, monkeypatch):
    """What the system is told, in order: a rename of a file that is not synced may leave it empty."""
    told, sync, replace = [], os.fsync, Path.replace

    def synced(handle):
        told.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        sync(handle)

    def replaced(path, target):
        told.append(("rename", str(path), str(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    path, previous = tmp_path / "new" / "a.txt", tmp_path / "new" / "b.txt"
    write_text(path, "one")
    (_, temporary, _) = told[2]
    assert told == [
        ("sync", str(tmp_path)),  # the new folder's name
        ("sync", temporary),
        ("rename", temporary, str(path)),
        ("sync", str(path.parent)),
    ]
    told.clear()
    with written_whole(path, previous) as again:
        again.write_text("two")
    assert told == [
        ("sync", str(again)),
        ("rename", str(path), str(previous)),
        ("rename", str(again), str(path)),
        ("sync", str(path.parent)),
    ]
    assert (path.read_text(), previous.read_text()) == ("two", "one")


def test_a_lock_keeps_other_processes_out_until_its_process_ends(tmp_path):
    file = tmp_path / "lock"
    program = [sys.executable, "-c", HOLD + "sys.stdout.flush(); sys.stdin.read()", str(file)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(InputError, match="is in use by another ccafl; stop it"):
            lock(file, "stop it")
        other.kill()
    with lock(file, "stop it"), pytest.raises(InputError, match="is in use"):
        lock(file, "stop it")
    lock(file, "stop it").close()


def test_json_is_strict():
    content = {"a": [1.5, float("nan"), (float("inf"), -float("inf"))], "b": {"c": "NaN", "d": 1}}
    assert json.loads(strict_json(content)) == {"a": [1.5, None, [None, None]], "b": {"c": "NaN", "d": 1}}
