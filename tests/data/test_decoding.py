"""Small files that take seconds to hours to decode are refused at once; honest ones of the same forms are read."""

import io
import zlib

import pytest
from PIL import Image

import hostile_pictures as hostile
from ccafl.data.images import MOST_PIXELS, read_image, takes_long
from ccafl.errors import InputError

PARTS, PASSES = "has far more parts than a picture needs", "would take too long to decode"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: hostile.repeated_scans((4_000, 4_000), 5_000), PASSES),  # a minute
        (lambda: hostile.repeated_scans((64, 128), 200_000), PASSES),
        (lambda: hostile.jpeg_with(*[(0xEA, b"")] * 200_000), PARTS),
        (lambda: hostile.jpeg_with(*[(0xE1, b"Exif\0\0" + bytes(250))] * 30_000), PARTS),  # a minute
        (lambda: hostile.jpeg_with(*[(0xED, b"Photoshop 3.0\0" + b"8BIM" * 16_000)] * 200), PARTS),
        (lambda: hostile.png_with(hostile.png_chunk(b"prVt", b"") * 500_000), PARTS),
        (lambda: hostile.png_with(hostile.png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1 << 25), 9))), "damaged"),
        (lambda: hostile.png_with(hostile.png_chunk(b"iCCP", b"C\0\0" + zlib.compress(bytes(1 << 25), 9))), "damaged"),
        (lambda: hostile.gif_with(b"!\1\0\0" * 2_000_000), PARTS),
        (lambda: hostile.gif_with(b"!\xfe" + b"\1a" * 4_000_000 + b"\0"), PARTS),
        (lambda: hostile.gif_with(b"x" * 8_000_000), PARTS),
        (lambda: hostile.bmp_of_runs((8_000, 8_000), b"\1a\0\0" * 8_000), PASSES),  # a minute
        (lambda: hostile.bmp_of_runs((1_000, 1_000), b"\1a" * 2_000_000), PARTS),
        (lambda: hostile.tiff_of_strips(500_000), PARTS),  # a minute
        (lambda: hostile.tiff_of_one_block(30_000, 1_000_000), PARTS),
        (lambda: hostile.tiff_of_a_jpeg(hostile.repeated_scans((8_000, 4_000), 90), (8_000, 4_000)), PASSES),
    ],
)
def test_a_picture_that_would_take_long_is_refused(content, reason):
    file = io.BytesIO(content())
    with pytest.raises(InputError, match=f"^{reason}"):
        read_image(file)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_largest_progressive_picture_is_read(mode):
    content = hostile.progressive((100, 100), mode)
    assert read_image(io.BytesIO(content), most_pixels=100 * 100).size == (100, 100)


def test_scans_of_a_thumbnail_are_not_the_pictures():
    thumbnail = hostile.repeated_scans((64, 64), 490)[:60_000]
    content = hostile.jpeg_with((0xE1, b"Exif\0\0" + thumbnail))
    assert read_image(io.BytesIO(content), most_pixels=64 * 128).size == (64, 128)


def test_a_scan_behind_restart_markers_and_fill_bytes_is_counted():
    content = hostile.repeated_scans((64, 128), 600).replace(b"\xff\xda", b"\xff\xff\xd0\xff\xff\xda")
    with pytest.raises(InputError, match=PASSES):
        read_image(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        lambda: hostile.bmp_of_runs((100, 50), b"\x64a\0\0" * 50),
        lambda: hostile.tiff_of_a_jpeg(hostile.progressive((64, 128)), (64, 128)),
        lambda: hostile.gif_with(b"!\xfe\5hello\0"),
        lambda: hostile.png_with(parts=60),
        lambda: hostile.jpeg_with(*[(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(60_000)) for n in range(1, 256)]),
    ],
)
def test_odd_but_honest_pictures_are_read(content):
    assert read_image(io.BytesIO(content())).mode == "RGB"


@pytest.mark.parametrize(("size", "long"), [((3_000, 3_000), False), ((6_000, 4_000), True)])
def test_a_large_picture_takes_long(size, long):
    content = hostile.png_with(size=size)
    assert takes_long(io.BytesIO(content)) is long
    assert size[0] * size[1] < MOST_PIXELS


def test_a_copy_has_no_comment(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (64, 128)).save(file, "JPEG", comment=b"<script>")
    copy = io.BytesIO()
    read_image(file).save(copy, "JPEG")
    assert b"<script>" not in copy.getvalue()
