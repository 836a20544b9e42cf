"""Files and folders for results: a file is written whole or not at all, and may hold its digest; a folder is locked."""

import hashlib
import json
import math
import mmap
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ccafl.errors import InputError


@contextmanager
def disk_errors(path: Path, advice: str = "free space or choose another folder") -> Iterator[None]:
    """Report disk errors as an InputError about ``path`` with ``advice``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


@contextmanager
def written_whole(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Give a temporary path beside ``path``; the file written there replaces ``path`` at the end.

    Args:
        path: the file.
        previous: if given, the file that is replaced is kept under this name; for a moment, only that one is there.

    If the block fails, nothing is left behind. A reader sees either the old file or the new one, even after a power
    failure: the content is on the disk before the name is, and the name before this returns.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        with disk_errors(path):
            if path.exists() and not path.is_file():  # a device or a pipe would be replaced
                raise OSError("it exists and is not a regular file")
            _make_folder(path.parent)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            temporary.chmod(0o666 & ~_umask())
            yield temporary
            sync(temporary)
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
            sync(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; their names are on the disk when this returns."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Put the content of a file, or the names in a folder, on the disk; Windows cannot be asked for a folder's."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def renamed_whole(folder: Path, target: Path) -> None:
    """Rename a folder, whose content is on the disk before its new name is."""
    os.sync()  # everything: file by file, thousands of pictures would take a hundred times as long
    folder.rename(target)
    sync(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_suffix(path: Path, allowed: Sequence[str], what: str) -> None:
    """Check that an output's name does not say that it holds something else; it may have no suffix.

    Raises:
        InputError: it ends in none of the allowed suffixes, whose case does not matter.
    """
    if path.suffix and path.suffix.lower() not in allowed:
        raise InputError(f"{path}: {what} must end in {', '.join(allowed)}; change the name")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as strict JSON, whole or not at all; see `strict_json`."""
    write_text(path, strict_json(content, indent=2) + "\n")


def strict_json(content: Any, *, indent: int | None = None) -> str:
    """``content`` as JSON that every reader takes: a number that is not finite, which JSON does not have, is null."""
    return json.dumps(without_nan(content), indent=indent, allow_nan=False)


def without_nan(content: Any) -> Any:
    """Nested values with None for every number that is not finite."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content: 64 hexadecimal digits; read in parts, so that a large file takes no memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def embed_digest(path: Path, mark: bytes) -> None:
    """Put a file's digest into it, in place of the 64 zeros after ``mark``; `has_its_digest` checks it.

    It is the SHA-256 of the file with the zeros, so that it covers every other bit.
    """
    with path.open("r+b") as file:
        place = file.read().index(mark + b"0" * 64) + len(mark)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(place)
        file.write(digest.encode())


def has_its_digest(path: Path, mark: bytes) -> bool | None:
    """Whether a file is as `embed_digest` left it, to the bit; None if it holds no ``mark``."""
    if not path.stat().st_size:  # which cannot be mapped
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(mark)
        if place < 0:
            return None
        place += len(mark)
        digest = hashlib.sha256()
        with memoryview(content) as view:
            for part in (view[:place], b"0" * 64, view[place + 64 :]):
                digest.update(part)
                if isinstance(part, memoryview):
                    part.release()
        return content[place : place + 64] == digest.hexdigest().encode()


def lock(file: Path, advice: str = "let it end, or stop it first") -> IO[bytes]:
    """Lock a file, which is created if missing, until it is closed or this process ends.

    Args:
        file: in the folder that it stands for.
        advice: what to do if another process holds it.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    try:
        opened = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
        _lock_at_once(opened)
    except BlockingIOError as error:
        opened.close()
        raise InputError(f"{file.parent}: is in use by another ccafl; {advice}") from error
    except OSError as error:
        raise InputError(f"{file.parent}: cannot be used ({error.strerror}); check its permissions") from error
    return opened


def _lock_at_once(file: IO[bytes]) -> None:
    """Lock an open file; BlockingIOError if another process has it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:  # the same for every reason
            raise BlockingIOError(*error.args) from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(path: Path) -> None:
    """Remove what `written_whole` left beside ``path`` when its process was killed."""
    for leftover in path.parent.glob(f".{path.name}.*{path.suffix}"):
        leftover.unlink(missing_ok=True)


def check_free(path: Path, but: str | None = None) -> None:
    """Check that ``path`` does not exist or is a folder that is empty, but for a file called ``but``.

    Raises:
        InputError: it is a folder with contents, is a file, or is below one.
    """
    if path.is_file() or (path.is_dir() and any(inner.name != but for inner in path.iterdir())):
        raise InputError(f"{path}: exists already; choose another output or remove it")
    above = next((folder for folder in path.parents if folder.exists()), path)
    if not above.is_dir():
        raise InputError(f"{path}: cannot be created ({above} is a file); choose another output")


def new_folder(path: Path, but: str | None = None) -> Path:
    """Make the output folder ``path``; it may exist only if it is empty, but for a file called ``but``.

    Raises:
        InputError: it is a folder with contents, is a file, or cannot be created.
    """
    check_free(path, but)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror or error}); choose another output") from error
    return path


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that becomes ``out`` at the end, or is removed if the block fails.

    All of its content is on the disk before its name is.

    Raises:
        InputError: ``out`` is not empty or cannot be written.
    """
    existed = out.is_dir()
    new_folder(out)
    temporary: Path | None = None
    try:
        with disk_errors(out):
            temporary = Path(tempfile.mkdtemp(prefix=f".{out.resolve().name}.", dir=out.resolve().parent))
            temporary.chmod(stat.S_IMODE(out.stat().st_mode))
        yield temporary
        with disk_errors(out):
            out.rmdir()
            renamed_whole(temporary, out.resolve())
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
