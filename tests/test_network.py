"""No command asks the network for anything that nobody asked for, and none leaves anything in the home folder.

In short, Python's own calls are caught in this process. At length, strace sees what native code does, too; where it
does not work, Python's audit events must do.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ccafl import pipeline
from ccafl.cli import app
from ccafl.pretraining import clip_synth
from ccafl.service.server import Server
from small_runs import SMALL, as_options
from small_runs import run as succeed
from walking_frames import ingested, walking_frames

ONCE = """
import sys
def seen(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        sys.stderr.write(f"network: {event} {arguments if event == 'socket.getaddrinfo' else arguments[-1]}\\n")
if not WATCHED:
    sys.addaudithook(seen)
from test_network import brief
import pytest
from small_runs import run
with pytest.MonkeyPatch.context() as patch:
    brief(patch)
    for arguments in ARGUMENTS:
        run(*arguments)
assert "onnxruntime" in sys.modules
"""
OWN = "127.0.0.1"
LONG = ("demo", "ablate", "pretrain")
"""Commands that train as others do, or take long; in the long form only."""


def commands(world: Path, run: Path, out: Path) -> dict[str, list[object]]:
    """Every command once, with options that make it brief; some need what those before wrote."""
    pictures, own = sorted(world.rglob("*.jpg")), ("--db", out / "gallery.db")
    picture, tracks = pictures[0], out / "tracks.csv"
    seen = [f"{path},hall,{n},2026-05-01T10:0{n}:00,2026-05-01T10:0{n}:05" for n, path in enumerate(pictures[:4])]
    tracks.write_text("\n".join(["image,camera,label,begin,end", *seen]) + "\n")
    training = ("market-split", "--data", world, *as_options(SMALL))
    drawn = ("--persons", 4, "--cameras", 2)
    walking_frames(out, "hall")
    return {
        "data check": ["data", "check", world],
        "data synthesize": ["data", "synthesize", out / "world", *drawn, "--images", 1],
        "data split": ["data", "split", world, out / "split.csv"],
        "demo": ["demo", "--out", out / "demo"],
        "train": ["train", *training, "--out", out / "run"],
        "ablate": ["ablate", *training, "--out", out / "rows", "--rows", "icdl", "--seeds", 0],
        "pretrain": ["pretrain", out / "clip", *drawn, "--views", 2, "--batch", 8, "--epochs", 1],
        "evaluate": ["evaluate", run, "--data", world, "--out", out / "evaluation.json"],
        "extract": ["extract", run, "--images", picture, "--out", out / "features.parquet"],
        "associate": ["associate", run, "--data", world, "--out", out / "joined.csv"],
        "report": ["report", run, "--out", out / "page.html"],
        "export": ["export", run, "--out", out / "export"],
        "ingest": ["ingest", *ingested(out, "hall"), "--out", out / "site"],
        "label": ["label", tracks, "--allow-outside", "--encoder", run, "--port", 0],
        "gallery add": ["gallery", "add", out / "export" / "model.onnx", world, *own],
        "gallery join": ["gallery", "join", *own],
        "gallery info": ["gallery", "info", *own],
        "gallery export": ["gallery", "export", out / "gallery.parquet", *own],
        "gallery corrections": ["gallery", "corrections", out / "corrections.csv", *own],
        "search": ["search", picture, *own],
        "serve": ["serve", "--port", 0, *own],
        "gallery remove": ["gallery", "remove", picture, *own],
        "gallery forget": ["gallery", "forget", "--camera", "c1", *own],
    }


def brief(patch: pytest.MonkeyPatch) -> None:
    """Demo and pretraining draw small worlds, and services stop as soon as they have started."""

    async def stop(server: Server) -> None:
        assert server.started

    small = pipeline.load_config("demo", list(SMALL))
    patch.setattr(Server, "main_loop", stop)
    patch.setattr(pipeline, "load_config", lambda name, *settings: small)
    patch.setattr(pipeline, "DEMO_PERSONS", 12)
    patch.setattr(pipeline, "DEMO_CAMERAS", 3)
    patch.setattr(clip_synth, "UNSEEN_PERSONS", 4)


def every_command() -> set[str]:
    """The names of all commands, as one types them."""
    found, groups = set(), [("", typer.main.get_command(app))]
    while groups:
        name, command = groups.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found.add(name)
        else:
            groups += [(f"{name} {part}".strip(), below) for part, below in inner.items()]
    return found


def strace() -> list[str]:
    """The command that watches another one's network calls; empty where that is not possible."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-f", "true"], capture_output=True, check=False).returncode:
        return []
    return [found, "-f", "-qq", "--seccomp-bpf", "-e", "trace=bind,connect,sendto,sendmsg,sendmmsg", "-s", "0"]


def asked(log: str) -> list[str]:
    """The calls to an address of the internet, this machine's own included; but it may be listened on."""
    calls = re.findall(r"^.*(?:sa_family=AF_INET|^network: ).*$", log, re.MULTILINE)
    listens = re.compile(rf'(bind\(.*inet_addr\("|socket\.(bind|getaddrinfo) \(\'){re.escape(OWN)}[\'"]')
    return [call for call in calls if not listens.search(call)]


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, object]]:
    """The addresses and names that this process asks for, which it does not get; what it listens on is noted, too."""
    calls: list[tuple[str, object]] = []
    look_up, listen = socket.getaddrinfo, socket.socket.bind

    def refuse(what):
        def refused(*given, **_):
            calls.append((what, given))
            raise AssertionError(f"{what} {given}")

        return refused

    def bound(own, address):
        if own.family != getattr(socket, "AF_UNIX", None):
            calls.append(("bind", address[0]))
        listen(own, address)

    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    for name in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(socket, name, refuse(name))
    refused = refuse("getaddrinfo")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: (look_up if host == OWN else refused)(host, *rest, **more)
    )
    monkeypatch.setattr(socket.socket, "bind", bound)
    brief(monkeypatch)
    return calls


def test_no_command_opens_a_connection_and_services_listen_on_this_machine_only(world, small_run, tmp_path, calls):
    given = commands(world, small_run, tmp_path)
    assert set(given) == every_command()
    for name, arguments in ((name, given[name]) for name in given if name not in LONG):
        succeed(*arguments)
        assert calls == ([("bind", OWN)] if name in ("label", "serve") else []), name
        calls.clear()


@pytest.mark.faults  # most of a minute
def test_no_command_asks_the_network_or_writes_to_the_home_folder(world, small_run, tmp_path):
    given = [[str(part) for part in command] for command in commands(world, small_run, tmp_path).values()]
    log, home = tmp_path / "calls", tmp_path / "home"
    home.mkdir()
    watched = [*watch, "-o", str(log)] if (watch := strace()) else []
    code = ONCE.replace("ARGUMENTS", repr(given)).replace("WATCHED", repr(bool(watched)))
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
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
        '7 bind(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
        '7 bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}, 16) = 0\n'
        '7 connect(3, {sa_family=AF_INET6, sin6_port=htons(19530), inet_pton(AF_INET6, "::1")}, 28) = 0\n'
        "network: socket.getaddrinfo ('events.example', 443)\n"
        "network: socket.getaddrinfo ('127.0.0.1', 0)\n"
        "network: socket.bind ('127.0.0.1', 0)\n"
    )
    found = asked(seen)
    assert len(found) == 4
    assert all(part in call for part, call in zip(("9.9.9.9", "0.0.0.0", "::1", "events"), found, strict=True))
