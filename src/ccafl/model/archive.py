"""Archives of torch, which are zip files: a changed bit is noticed anywhere, and TorchScript's are read without running
them.
"""

import hashlib
import io
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

_MARK = b"ccafl sha256 "
_SEAL = len(_MARK) + 64  # 77 bytes: no bit turned in this length makes it 0, which would mean that there is no seal
_END = struct.Struct("<10xHLL")  # of the record at the end: number of members, length and place of the directory
_ENTRY = struct.Struct("<4s6xH4xLLLHHH8xL")  # of the directory
_LENGTHS = struct.Struct("<HH")  # of the name and the extra field in a member's header
_LARGEST_CODE = 1 << 26  # bytes of a file of it, which may be compressed
_MOST_NAMES = 100_000  # of weights; an archive in which modules hold each other many times over would give any number
_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  __(?:parameters|buffers)__ = \[.*\]\n){2})", re.MULTILINE)
_HELPERS = ("build_boollist", "build_doublelist", "build_intlist", "build_tensorlist", "restore_type_tag")


def seal(path: Path) -> None:
    """Write a digest into an archive that has none, as its comment.

    It covers all that the archive's own checksums do not, which are for the members' contents: headers, paddings and
    the directory, which holds those checksums. So it costs next to nothing.
    """
    with path.open("r+b") as file:
        file.seek(-2, io.SEEK_END)  # the comment's length
        file.write(struct.pack("<H", _SEAL) + _MARK + bytes(64))
    with _opened(path) as (content, members):
        digest = _digest(content, members)
    with path.open("r+b") as file:
        file.seek(-64, io.SEEK_END)
        file.write(digest)


def check_seal(path: Path) -> None:
    """Check an archive written here to the bit; one without a seal, as of an older ccafl, by its checksums.

    Raises:
        ValueError, zipfile.BadZipFile: it is not as it was written.
    """
    check_contents(path)
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    if comment:
        with _opened(path) as (content, members):
            if comment != _MARK + _digest(content, members):
                raise ValueError("its digest is another")


def check_contents(path: Path) -> None:
    """Check every member of an archive by its checksum.

    Raises:
        ValueError, zipfile.BadZipFile: one is not as it was written, or the file is no archive of torch, which
            compresses nothing but the code of TorchScript.
    """
    with _opened(path) as (content, members):
        for name, start, end, checksum in members:
            with content[start:end] as member:
                if checksum is not None and zlib.crc32(member) != checksum:
                    raise ValueError(f"{name!r}: its checksum is another")


_Member = tuple[bytes, int, int, int | None]
"""Name, place of the first byte of the content and of the first after it, and checksum; None if it is compressed."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[memoryview, list[_Member]]]:
    """The bytes of an archive, and its members in the order of the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        members = []
        for name, method, checksum, stored, size, header in _directory(file, content):
            plain = method == zipfile.ZIP_STORED and stored == size
            if not plain and b"/code/" not in name:
                raise ValueError(f"{name!r}: is compressed")
            named, extra = _LENGTHS.unpack_from(content, header + 26)
            start = header + 30 + named + extra
            members.append((name, start, start + stored, checksum if plain else None))
        with memoryview(content) as view:
            yield view, sorted(members, key=itemgetter(1))


def _directory(file: IO[bytes], content: mmap.mmap) -> Iterator[tuple[bytes, int, int, int, int, int]]:
    """Name, method, checksum, sizes (in the file, unpacked) and place of every member.

    Python's `zipfile` reads it, too, but takes more of the time of writing a small checkpoint than a digest may.
    """
    place = content.rfind(b"PK\5\6")
    count, _, place = _END.unpack_from(content, max(place, 0))
    if count == 0xFFFF or place == 0xFFFFFFFF:  # a large one, with numbers of 64 bits
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                yield (
                    info.filename.encode(),
                    info.compress_type,
                    info.CRC,
                    info.compress_size,
                    info.file_size,
                    info.header_offset,
                )
        return
    for _ in range(count):
        mark, method, checksum, stored, size, name, extra, comment, header = _ENTRY.unpack_from(content, place)
        if mark != b"PK\1\2":
            raise ValueError("its directory is damaged")
        yield content[place + 46 : place + 46 + name], method, checksum, stored, size, header
        place += 46 + name + extra + comment


def _digest(content: memoryview, members: list[_Member]) -> bytes:
    """64 hexadecimal digits: SHA-256 of all but the members' contents and the digest's own place."""
    digest, place = hashlib.sha256(), 0
    for _, start, end, _ in [*members, (b"", len(content) - 64, len(content), None)]:
        if start < place:
            raise ValueError("its members overlap")
        with content[place:start] as between:
            digest.update(between)
        place = end
    return digest.hexdigest().encode()


def is_torchscript(path: Path) -> bool:
    """Whether torch.jit.save wrote the file: only its archives have a table of the code's constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Attributes:
    """Stands in for an object of any class in an archive: only its attributes are kept, and no code of its class.

    Attributes:
        tensors: of a subclass, the names of the parameters and buffers; None if the archive does not say.
    """

    tensors: frozenset[str] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("an object's state is not its attributes")
        vars(self).update(state)


def _value(value: Any, *_: str) -> Any:
    """In place of torch's functions that tell the type of a list: the list as it is."""
    return value


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The state dict of a TorchScript archive, as `torch.jit.load` would give it; none of its code is run or compiled.

    torch's own restricted unpickler reads the attributes, every class of the archive's code being replaced by a kind of
    `_Attributes`.

    Raises:
        Exception: of any kind, for a file that is damaged or holds anything but tensors in modules.
    """
    data = io.BytesIO()
    tensors: dict[str, frozenset[str]] = {}
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(data, "w") as copy:
        for info in archive.infolist():
            name = info.filename
            if "/code/" in name and name.endswith(".py"):
                if info.file_size > _LARGEST_CODE:
                    raise ValueError(f"{name}: is far too large")
                tensors |= _tensor_names(name, archive.read(name))
            elif "/code/" not in name and "/constants" not in name:
                copy.writestr(name, archive.read(name))
    data.seek(0)
    named = [name for name in get_unsafe_globals_in_checkpoint(data) if name.startswith("__torch__.")]
    classes = [(type("_Known", (_Attributes,), {"tensors": tensors.get(name)}), name) for name in named]
    helpers = [(_value, f"torch.jit._pickle.{name}") for name in _HELPERS]
    data.seek(0)
    with safe_globals([*classes, *helpers]):
        module = torch.load(data, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {}
    for name, tensor in _tensors(module):
        state[name] = tensor
        if len(state) > _MOST_NAMES:
            raise ValueError("it names too many weights")
    return state


def _tensor_names(file: str, code: bytes) -> dict[str, frozenset[str]]:
    """The names of parameters and buffers by class, as the text of a file of code lists them."""
    module = file.partition("/code/")[2].removesuffix(".py").replace("/", ".")
    found = _CLASS.findall(code.decode())
    return {f"{module}.{name}": frozenset(re.findall(r'"(\w+)"', listed)) for name, listed in found}


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor) and (module.tensors is None or name in module.tensors):
            yield prefix + name, value.detach()
        elif isinstance(value, _Attributes):
            yield from _tensors(value, f"{prefix}{name}.")
