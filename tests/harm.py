"""Harm for tests to do: changed files, full and read-only disks; and how much of it was tried and survived."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ccafl.errors import InputError

PIECES = (
    *(b"\0", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\n", b'"', b"'", b",", b";", b"\t", b"/", b"..", b"=1+1"),
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e18", b"9" * 400, b"0x10", b"null", b"true", b"[]", b"{}"),
    *(b"[" * 3000, b"{a: " * 300, b"&a [*a]", b"!!python/object:os.system", b"<<: *a", b"- ", b": ", b"%"),
    *(b"\x1b[2J", "\u202e".encode(), "\u2028".encode(), "\U0001f6b6".encode(), "e\u0301".encode(), b"a" * 5000),
    *(
        b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
        b"&a;",
        b"<track>",
        b"2026-13-45T99:99",
        b"0001-01-01",
    ),
)
SECONDS = 60  # after which a reader is taken to hang


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with one to four changes: bits, numbers, pieces put in, parts lost, doubled or swapped."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        size = len(changed)
        place = chance.randrange(size + 1)
        length = min(chance.choice((1, 2, 4, 8, 64, 1024)), size - place)
        kind = chance.randrange(7)
        if kind == 0 and place < size:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            changed[place:place] = chance.choice(PIECES)
        elif kind == 3:
            changed[place : place + length] = chance.choice(PIECES)
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[place : place + length] * chance.choice((1, 2, 50))
        elif chance.random() < 0.3:
            del changed[place:]
        elif size:
            number = chance.choice((0, 0x7F, 0x80, 0xFF))
            changed[place : place + length] = bytes([number]) * length
    return bytes(changed)


class Tally:
    """How much was tried, and how much of it was survived."""

    def __init__(self) -> None:
        self.tried = self.survived = 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One harm: survived if the block ends."""
        self.tried += 1
        yield
        self.survived += 1


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block, in the main thread, takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def refused_at_most() -> Iterator[None]:
    """The block ends well, or with an error that the command line shows in one line; it does not hang."""
    with within(SECONDS), suppress(InputError):
        yield


MOUNT = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
ON_A_DISK = """
set -e
mount -t tmpfs -o size="$2" none "$1"
cp -a "$3/." "$1/"
case "$5" in
    read-only) mount -o remount,ro "$1" ;;
    *) head -c "$6" /dev/zero > "$1/room"; cat /dev/zero > "$1/full" 2> /dev/null || rm "$1/room" ;;
esac
disk="$1" after="$4"
shift 6
code=0
"$@" || code=$?
cp -a "$disk/." "$after/"
exit $code
"""


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a disk of memory."""
    command = [*MOUNT, "mount", "-t", "tmpfs", "none", str(folder)]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


def on_a_disk(
    disk: Path, before: Path, after: Path, how: str, command: Sequence[object], *, room: int = 0, lasts: float = 600
) -> subprocess.CompletedProcess:
    """Run a command whose outputs are on a disk of their own.

    Args:
        disk: an empty folder, where the disk is meanwhile.
        before: what the disk holds at first.
        after: an empty folder; gets what the disk holds in the end.
        how: "full" or "read-only".
        command: the program and its arguments.
        room: bytes that are free on the full disk.
        lasts: seconds after which the command is taken to hang.
    """
    size = 2 * sum(path.stat().st_size + 4096 for path in before.rglob("*")) + (1 << 20) + room
    script = [*MOUNT, "sh", "-c", ON_A_DISK, "sh", disk, str(size), before, after, how, str(room), *command]
    return subprocess.run(list(map(str, script)), capture_output=True, text=True, timeout=lasts)
