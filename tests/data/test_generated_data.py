"""Data sets as people may have them, generated: each is shown, or refused in one line, whatever it holds."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from ccafl.cli import main

EXAMPLES = int(os.environ.get("CCAFL_TEST_DATA_SETS", "600"))
SUFFIXES = (".jpg", ".png", ".gif", ".tif", ".bmp", ".webp", ".JPG", ".jpeg", ".ppm")
MODES = ("RGB", "L", "P", "RGBA", "1", "CMYK", "I;16", "F", "LA")
names = st.one_of(
    st.sampled_from(("c1", "c2", "1", "007", "query", "gallery", "-1", " ", "a b", "=1+1", "Z" * 200, "C1", "c\u0301")),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=12),
)
pictures = st.tuples(names, st.sampled_from(SUFFIXES), st.sampled_from(MODES), st.integers(0, 60), st.integers(0, 60))
harms = st.sampled_from(("", "", "", "empty", "cut", "text", "loop", "dangling", "pipe", "double", "gone", "folder"))
layouts = st.sampled_from(("folder", "market1501", "msmt17", "manifest", "flat", "deep"))


def place(root: Path, layout: str, camera: str, label: str, name: str) -> Path:
    """Where a picture lies; names that a file system refuses are shortened."""
    if layout == "market1501":
        return root / "bounding_box_train" / f"{abs(hash(label)) % 9999:04}_c{abs(hash(camera)) % 5 + 1}s1_{name[:80]}"
    if layout == "msmt17":
        return root / "train" / label[:40] / name[:80]
    if layout == "flat":
        return root / name
    return root / camera / label / (f"deep/{name}" if layout == "deep" else name)


def drawn(path: Path, mode: str, size: tuple[int, int], harm: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    if harm in ("loop", "dangling"):
        path.symlink_to(path.parent if harm == "loop" else "nowhere")
    elif harm == "pipe":
        os.mkfifo(path)
    elif harm == "folder":
        path.mkdir()
    else:
        try:
            Image.new(mode, size).save(path)
        except (OSError, ValueError, KeyError, SystemError):  # a mode or size that the format does not have
            path.write_bytes(b"")
        content = path.read_bytes()
        changed = {"empty": b"", "cut": content[: len(content) // 2], "text": b"no picture"}.get(harm, content)
        path.write_bytes(changed)
        if harm == "double":
            shutil.copy(path, path.with_name(f"copy of {path.name}"[:100]))


@st.composite
def data_sets(draw) -> tuple[str, list[tuple]]:
    row = st.tuples(names, names, pictures, harms)
    return draw(layouts), draw(st.lists(row, max_size=12))


def make(root: Path, data: tuple[str, list[tuple]]) -> Path:
    """The data set on the disk; returns what is given to commands."""
    layout, rows = data
    lines = ["image,camera,label"]
    for camera, label, (name, suffix, mode, width, height), harm in rows:
        try:
            path = place(root, layout, camera, label, name + suffix)
            drawn(path, mode, (width, height), harm)
        except OSError:  # a name too long or taken, or one that is a folder's
            continue
        lines.append(f'"{path.relative_to(root)}","{camera}",{label}')
        if harm == "gone":
            path.unlink(missing_ok=True)
    if layout == "manifest":
        (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def ends_well(capsys, *arguments: object) -> None:
    """It succeeds, or one line says why not."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert ended.value.code in (0, 2), errors
    if ended.value.code:
        assert errors.startswith("error: "), errors
        assert len(errors.splitlines()) == 1, errors


def check(capsys, tally, count: int) -> None:
    @settings(max_examples=count, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate))
    @given(data_sets())
    def every(data):
        with tempfile.TemporaryDirectory() as folder, tally.attempt():
            root = Path(folder) / "data"
            root.mkdir()
            make(root, data)
            ends_well(capsys, "data", "check", root)
            ends_well(capsys, "data", "split", root, Path(folder) / "split.csv")

    every()


def test_some_data_sets_of_any_kind_are_shown_or_refused(capsys, tally):
    check(capsys, tally, 20)


@pytest.mark.faults
def test_data_sets_of_any_kind_are_shown_or_refused(capsys, tally):
    check(capsys, tally, EXAMPLES)


@pytest.mark.faults
def test_images_that_vanish_or_change_while_they_are_read(world, tmp_path, capsys, monkeypatch, tally):
    """Each time another image is lost, cut or replaced by a folder between listing the data and reading them."""
    from ccafl.data import check as reading

    chance, read = random.Random(0), reading.unreadable
    for harm in ("gone", "empty", "cut", "folder") * 5:
        data = Path(shutil.copytree(world, tmp_path / "copy"))

        def first(paths, advance=None, harm=harm):
            path = chance.choice(paths)
            content = path.read_bytes()
            path.unlink()
            if harm == "folder":
                path.mkdir()
            elif harm != "gone":
                path.write_bytes(b"" if harm == "empty" else content[: len(content) // 2])
            return read(paths, advance)

        monkeypatch.setattr(reading, "unreadable", first)
        with tally.attempt():
            ends_well(capsys, "data", "check", data)
        shutil.rmtree(data)
