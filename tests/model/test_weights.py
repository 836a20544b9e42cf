"""Weights' files are read as data: no code in them runs, and no changed bit goes unnoticed."""

import random
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ccafl.errors import InputError
from ccafl.model.archive import check_seal, seal
from ccafl.model.clip import load_clip
from ccafl.model.weights import read_weights, write_weights

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")


class Block(nn.Module):
    """Parameters, buffers, half tensors, and attributes of every kind that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("halves", torch.randn(3, 2).half())
        self.register_buffer("passing", torch.randn(2), persistent=False)
        self.plain, self.flag, self.sizes, self.names, self.scale = torch.ones(2), True, [1, 2], ["a"], 0.5
        self.dropped = torch.ones(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)) * self.scale + self.sizes[0] + self.plain.sum()


class Nested(nn.Module):
    """Modules within modules, one of them under two names, and layers that share a storage."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = Block()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.layers[1].weight = self.layers[0].weight

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images).mean((2, 3))
        for layer in self.layers:
            features = layer(features)
        return features


class Writing(nn.Module):
    """Writes a file while torch.jit.load reads it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.weight = path, torch.ones(2)

    def forward(self, images: Tensor) -> Tensor:
        return images

    @torch.jit.export
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        self.path, self.weight, self.training = state[0], torch.from_file(state[0], True, 16), state[2]


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_torchscript_is_read_as_torch_reads_it(how: str, tmp_path: Path) -> None:
    model, path = Nested().eval(), tmp_path / "a.pt"
    scripted = torch.jit.script(model) if how == "scripted" else torch.jit.trace(model, torch.zeros(1, 3, 8, 8))
    torch.jit.save(scripted, path)
    expected, found = torch.jit.load(path).state_dict(), read_weights(path)
    assert found.keys() == expected.keys()
    assert {"first.halves", "again.conv.weight", "layers.1.weight", "first.norm.num_batches_tracked"} < found.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    assert found["layers.0.weight"].data_ptr() == found["layers.1.weight"].data_ptr()


def test_a_torchscript_archive_runs_no_code(tmp_path: Path) -> None:
    path, harm = tmp_path / "a.pt", tmp_path / "harm"
    torch.jit.save(torch.jit.script(Writing(str(harm))), path)
    torch.jit.load(path)
    assert harm.is_file(), "the archive is not harmful"
    harm.unlink()
    with pytest.raises(InputError, match=r"a\.pt: unreadable, damaged or not weights") as refused:
        read_weights(path)
    assert "an object's state is not its attributes" in str(refused.value.__cause__)
    with pytest.raises(InputError):
        load_clip("tiny", str(path))
    assert not harm.exists()


def turned(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def test_any_bit_turned_in_a_sealed_archive_is_noticed(tmp_path: Path) -> None:
    """In every byte of a small one: members, headers, paddings, the directory and the seal itself."""
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(3), "b": [1.5, "text"]}, path)
    seal(path)
    check_seal(path)
    assert torch.load(path, weights_only=True)["b"] == [1.5, "text"]
    for bit in range(0, 8 * path.stat().st_size, 7):
        turned(path, bit)
        with pytest.raises(Exception):  # noqa: B017, PT011 - of any kind: every caller makes it an InputError
            check_seal(path)
        turned(path, bit)
    check_seal(path)


def test_a_bit_turned_in_someone_elses_weights_is_noticed(tmp_path: Path) -> None:
    """By the checksums of torch's archives."""
    state, path = {"a": torch.randn(100, 100)}, tmp_path / "a.pt"
    torch.save(state, path)
    assert torch.equal(read_weights(path)["a"], state["a"])
    turned(path, 8 * path.read_bytes().index(state["a"].numpy().tobytes()[:64]) + 100)
    with pytest.raises(InputError, match="damaged"):
        read_weights(path)


def test_any_bit_turned_in_the_shipped_weights_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, chance = "clip-synth.safetensors", random.Random(0)
    shipped = Path(str(resources.files("ccafl.weights").joinpath(name)))
    read_weights(shipped, digest=True)
    copy = Path(shutil.copy(shipped, tmp_path))
    header = range(8 * (8 + int.from_bytes(copy.read_bytes()[:8], "little")))
    bits = [*chance.sample(header, 20), *(chance.randrange(8 * copy.stat().st_size) for _ in range(20))]
    for bit in bits:
        turned(copy, bit)
        with pytest.raises(InputError, match="damaged"):
            read_weights(copy, digest=True)
        turned(copy, bit)
    read_weights(copy, digest=True)


def test_weights_have_a_digest_only_where_they_were_written_here(tmp_path: Path) -> None:
    state, ours, others = {"a": torch.randn(4, 4).half()}, tmp_path / "ours.safetensors", tmp_path / "a.safetensors"
    write_weights(ours, state)
    save_file(state, others)
    for path in (ours, others):
        assert torch.equal(read_weights(path)["a"], state["a"])
    with pytest.raises(InputError, match="damaged"):
        read_weights(others, digest=True)
