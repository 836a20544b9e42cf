"""Files and folders for results; a file is written whole or not at all."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ccafl.errors import InputError


@contextmanager
def disk_errors(path: Path, advice: str = "free space or choose another folder") -> Iterator[None]:
    """Report disk errors as an InputError about ``path`` with ``advice``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; the file written there replaces ``path`` at the end.

    If the block fails, nothing is left behind. A reader sees either the old file or the new one.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        with disk_errors(path):
            if path.exists() and not path.is_file():  # a device or a pipe would be replaced
                raise OSError("it exists and is not a regular file")
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            temporary.chmod(0o666 & ~_umask())
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def remove_leftovers(path: Path) -> None:
    """Remove what `written_whole` left beside ``path`` when its process was killed."""
    for leftover in path.parent.glob(f".{path.name}.*{path.suffix}"):
        leftover.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """Check that ``path`` does not exist or is an empty folder.

    Raises:
        InputError: it is a folder with contents, is a file, or is below one.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise InputError(f"{path}: exists already; choose another output or remove it")
    above = next((folder for folder in path.parents if folder.exists()), path)
    if not above.is_dir():
        raise InputError(f"{path}: cannot be created ({above} is a file); choose another output")


def new_folder(path: Path) -> Path:
    """Make the output folder ``path``; it may exist only if it is empty.

    Raises:
        InputError: it is a folder with contents, is a file, or cannot be created.
    """
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror or error}); choose another output") from error
    return path


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that becomes ``out`` at the end, or is removed if the block fails.

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
            temporary.rename(out)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
