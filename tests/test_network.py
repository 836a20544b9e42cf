"""No command asks the network for anything that nobody asked for, and none leaves anything in the home folder.

Where strace works, it sees what native code does too; elsewhere Python's own audit events must do.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from small_runs import SMALL, as_options

ONCE = """
import sys
def seen(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        sys.stderr.write(f"network: {event} {arguments[-1] if event != 'socket.getaddrinfo' else arguments}\\n")
sys.addaudithook(seen)
from ccafl.cli import main
for arguments in ARGUMENTS:
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
assert "onnxruntime" in sys.modules
"""


def commands(world: Path, out: Path) -> list[list[object]]:
    run, onnx = out / "run", out / "export" / "model.onnx"
    return [
        ["data", "check", world],
        ["train", "demo", "--data", world, "--out", run, *as_options(SMALL)],
        ["evaluate", run, "--data", world],
        ["extract", run, "--images", world, "--out", out / "features.parquet"],
        ["export", run, "--out", out / "export"],
        ["gallery", "add", onnx, world, "--db", out / "gallery.db"],
        ["search", next(world.rglob("*.jpg")), "--db", out / "gallery.db"],
    ]


def strace() -> list[str]:
    """The command that watches another one's network calls; empty where that is not possible."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-f", "true"], capture_output=True, check=False).returncode:
        return []
    return [found, "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-s", "0"]


def asked(log: str) -> list[str]:
    """The calls to an address of the internet, this machine's own included."""
    return re.findall(r"^.*(?:sa_family=AF_INET|^network: ).*$", log, re.MULTILINE)


@pytest.mark.faults  # most of a minute
def test_no_command_asks_the_network_or_writes_to_the_home_folder(world, tmp_path):
    given = [[str(argument) for argument in command] for command in commands(world, tmp_path)]
    log, home = tmp_path / "calls", tmp_path / "home"
    home.mkdir()
    code = ONCE.replace("ARGUMENTS", repr(given))
    watched = [*watch, "-o", str(log)] if (watch := strace()) else []
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(home)}
    done = subprocess.run(
        [*watched, sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert asked(done.stderr + (log.read_text() if watched else "")) == []
    written = [str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()]
    assert [name for name in written if "icrosoft" in name or "onnxruntime" in name] == []


def test_a_name_looked_up_and_an_address_called_are_noticed():
    seen = (
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("9.9.9.9")}, 16) = 0\n'
        '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 16) = 0\n'
        '7 connect(3, {sa_family=AF_INET6, sin6_port=htons(19530), inet_pton(AF_INET6, "::1")}, 28) = 0\n'
        "network: socket.getaddrinfo ('events.example', 443)\n"
    )
    assert [("9.9.9.9" in call, "::1" in call, "events" in call) for call in asked(seen)] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
