"""Reading pictures: what is refused, and with which message."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccafl.data import images
from ccafl.data.images import as_image, load_image, unreadable
from ccafl.errors import InputError


@pytest.fixture
def picture() -> Image.Image:
    """Noise, 32 pixels wide and 64 high, so that its file is long enough to truncate."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".gif", ".tif", ".ppm", ".jp2", ".avif"])
def test_every_format_is_read_as_rgb(picture: Image.Image, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    picture.save(path)
    read = load_image(path)
    assert (read.mode, read.size) == ("RGB", (32, 64))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(picture: Image.Image, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    picture.convert(mode).save(path)
    assert load_image(path).mode == "RGB"


def test_sixteen_bit_greys_are_scaled_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16)).save(path)
    assert load_image(path).getpixel((0, 0)) == (128, 128, 128)


def test_a_picture_is_turned_as_its_exif_says(picture: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (64, 32)


def test_a_picture_is_the_same_however_it_is_given(tmp_path: Path) -> None:
    shaded = np.linspace(0, 255, 64 * 32 * 3).reshape(64, 32, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shaded).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(shaded[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(shaded).save(tmp_path / "plain.png")
    for name in ("turned.png", "deep.png", "plain.png"):
        path = tmp_path / name
        with Image.open(path) as opened:
            given = [path, str(path), opened]
            read = [np.asarray(as_image(picture)) for picture in given]
            assert opened.size == Image.open(path).size  # the caller's picture is as it was
        assert all(np.array_equal(read[0], other) for other in read)
    assert np.array_equal(np.asarray(as_image(shaded)), shaded)
    assert as_image(shaded[..., 0]).mode == "RGB"


@pytest.mark.parametrize(
    "given",
    [np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8), np.uint8), 7],
    ids=["float", "planes", "alpha", "empty", "number"],
)
def test_what_is_no_picture_is_refused_with_what_is_one(given: object) -> None:
    with pytest.raises(InputError, match="is no picture; give"):
        as_image(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC" if not images.READS_HEIC else "damaged"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "a video"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"%PDF-1.7", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text such as SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "an empty file"),
        (b"nothing known", "not a picture, whatever its name says"),
    ],
)
def test_forms_that_are_not_read_are_named(tmp_path: Path, content: bytes, form: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=form):
        load_image(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="not a regular file"):
        load_image(tmp_path / "pipe.jpg")
    assert images.picture_size(tmp_path / "pipe.jpg") is None


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert load_image(tmp_path / "moving.webp").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_picture_is_refused(picture: Image.Image, tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    picture.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=rf"^{path}: .*; replace or remove it$"):
        load_image(path)


def test_a_text_file_named_jpg_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(InputError, match="not a picture"):
        load_image(tmp_path / "text.jpg")


def test_postscript_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="not a picture"):
        load_image(tmp_path / "program.jpg")


def test_a_missing_picture_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="directory"):
        load_image(tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (3, 64), (64, 3)])
def test_a_tiny_picture_is_refused_with_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "tiny.png")
    with pytest.raises(InputError, match=f"too small to show a person \\({size[0]}x{size[1]} pixels"):
        load_image(tmp_path / "tiny.png")


def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (100, 101)).save(tmp_path / "large.png")
    monkeypatch.setattr(images, "MOST_PIXELS", 100 * 100)
    with pytest.raises(InputError, match="too large"):
        load_image(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="bomb"):
        load_image(tmp_path / "large.png")


def test_unreadable_pictures_are_listed_in_order_with_their_reason(picture: Image.Image, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(6)]
    for path in paths:
        picture.save(path)
    paths[4].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:700])
    steps: list[int] = []
    found = unreadable(paths, lambda: steps.append(1))
    assert list(found) == [paths[1], paths[4]]
    assert "truncated" in found[paths[1]]
    assert len(steps) == 6


def test_threads_wait_for_room_to_decode() -> None:
    room, held = images._Room(100), []

    def hold(pixels: int) -> int:
        with room.take(pixels):
            held.append(room._taken)
        return pixels

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(hold, [40, 60, 500, 1] * 500)) == 601 * 500
    assert max(total for total in held if total != 500) <= 100
    assert room._taken == 0
