"""A contact sheet of a search: the query on the left, the hits beside it, best first."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ccafl.gallery.entries import Hit
from ccafl.terminal import printable

COLUMNS = 8
_TILE, _CAPTION, _GAP = (112, 224), 46, 8  # pixels: size of a picture, height of its caption, space between two
_PAPER, _INK, _FADED, _EMPTY = "#ffffff", "#1a1a1a", "#5c5c5c", "#d9d9d9"


def contact_sheet(
    queries: Sequence[Image.Image], hits: Sequence[Hit], thumbnails: Sequence[bytes | None]
) -> Image.Image:
    """Draw a contact sheet.

    Args:
        queries: the query's pictures; none for a description.
        hits: to draw.
        thumbnails: JPEG of each hit, None if missing.
    """
    left = 1 if queries else 0
    found_columns = min(COLUMNS, max(1, len(hits)))
    rows = max(len(queries), -(-len(hits) // found_columns), 1)
    width, height = _TILE[0] + _GAP, _TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (_GAP + (left + found_columns) * width + left * _GAP, _GAP + rows * height), _PAPER)
    for row, query in enumerate(queries):
        _place(sheet, (_GAP, _GAP + row * height), query, ["query"])
    for number, (hit, jpeg) in enumerate(zip(hits, thumbnails, strict=True)):
        row, column = divmod(number, found_columns)
        corner = (_GAP + (left + column) * width + left * _GAP, _GAP + row * height)
        _place(sheet, corner, None if jpeg is None else Image.open(io.BytesIO(jpeg)), _caption(number + 1, hit))
    return sheet


def _caption(rank: int, hit: Hit) -> list[str]:
    time = hit.entry.time.strftime("%Y-%m-%d %H:%M:%S") if hit.entry.time else ""
    who = f"  id {hit.entry.identity}" if hit.entry.identity else ""
    return [printable(line) for line in (f"{rank}  {hit.score:.3f}{who}", hit.entry.camera, time)]


def _place(sheet: Image.Image, corner: tuple[int, int], picture: Image.Image | None, lines: Sequence[str]) -> None:
    """Draw a picture with lines of text below it, cut to its width."""
    x, y = corner
    pen = ImageDraw.Draw(sheet)
    if picture is None:
        pen.rectangle((x, y, x + _TILE[0] - 1, y + _TILE[1] - 1), fill=_EMPTY)
    else:
        sheet.paste(ImageOps.pad(picture.convert("RGB"), _TILE, color=_PAPER), corner)
    font = ImageFont.load_default(11)
    for line, text in enumerate(lines):
        while text and pen.textlength(text, font) > _TILE[0]:
            text = text[:-1]
        pen.text((x, y + _TILE[1] + 2 + 14 * line), text, _FADED if line else _INK, font)
