"""A contact sheet of a search: what was looked for at the left, what was found beside it, the best first."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ccafl.search.records import Hit

COLUMNS = 8
_TILE, _CAPTION, _GAP = (112, 224), 46, 8  # pixels: a picture's place, its words' below it, between two
_PAPER, _INK, _FADED, _EMPTY = "#ffffff", "#1a1a1a", "#5c5c5c", "#d9d9d9"


def contact_sheet(
    queries: Sequence[Image.Image], hits: Sequence[Hit], thumbnails: Sequence[bytes | None]
) -> Image.Image:
    """Draw it.

    Args:
        queries: the pictures looked for; none where a description was.
        hits: what was found.
        thumbnails: JPEG of each hit, None where there is none.
    """
    left = 1 if queries else 0
    found_columns = min(COLUMNS, max(1, len(hits)))
    rows = max(len(queries), -(-len(hits) // found_columns), 1)
    width, height = _TILE[0] + _GAP, _TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (_GAP + (left + found_columns) * width + left * _GAP, _GAP + rows * height), _PAPER)
    for row, query in enumerate(queries):
        _place(sheet, (_GAP, _GAP + row * height), query, ["looked for"])
    for number, (hit, jpeg) in enumerate(zip(hits, thumbnails, strict=True)):
        row, column = divmod(number, found_columns)
        corner = (_GAP + (left + column) * width + left * _GAP, _GAP + row * height)
        _place(sheet, corner, None if jpeg is None else Image.open(io.BytesIO(jpeg)), _words(number + 1, hit))
    return sheet


def _words(rank: int, hit: Hit) -> list[str]:
    time = hit.entry.time.strftime("%Y-%m-%d %H:%M:%S") if hit.entry.time else ""
    who = f"  id {hit.entry.identity}" if hit.entry.identity else ""
    return [f"{rank}  {hit.score:.3f}{who}", hit.entry.camera, time]


def _place(sheet: Image.Image, corner: tuple[int, int], picture: Image.Image | None, words: Sequence[str]) -> None:
    """A picture in its place, and lines of words below, cut where the place ends."""
    x, y = corner
    pen = ImageDraw.Draw(sheet)
    if picture is None:
        pen.rectangle((x, y, x + _TILE[0] - 1, y + _TILE[1] - 1), fill=_EMPTY)
    else:
        sheet.paste(ImageOps.pad(picture.convert("RGB"), _TILE, color=_PAPER), corner)
    font = ImageFont.load_default(11)
    for line, text in enumerate(words):
        while text and pen.textlength(text, font) > _TILE[0]:
            text = text[:-1]
        pen.text((x, y + _TILE[1] + 2 + 14 * line), text, _FADED if line else _INK, font)
