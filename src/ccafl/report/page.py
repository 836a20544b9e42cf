"""The page: headings, figures, tables and pictures as one HTML text that needs nothing from elsewhere."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --ground: #fff; --soft: #5a5a5a; --line: #d4d4d4;
  --right: #0a6b3d; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --ground: #16181b; --soft: #a8a8a8; --line: #3c4046;
  --right: #5fd39a; --wrong: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .92rem; }
figure { margin: 1rem 0; }
figure > img { width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 6px; }
figcaption { max-width: 52rem; margin-top: .35rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid var(--line); font-weight: normal; }
td { text-align: right; } pre { overflow-x: auto; font-size: .82rem; }
.ranks { display: flex; gap: .4rem; overflow-x: auto; padding: .4rem 0; }
.tile { flex: 0 0 4.6rem; border: 3px solid var(--line); border-radius: 6px; padding: .15rem; font-size: .75rem;
  text-align: center; line-height: 1.3; overflow-wrap: anywhere; }
.tile img { width: 100%; display: block; border-radius: 3px; image-rendering: auto; }
.right { border-color: var(--right); } .right b { color: var(--right); }
.wrong { border-color: var(--wrong); border-style: dashed; } .wrong b { color: var(--wrong); }
nav a { margin-right: 1rem; color: inherit; } .reason { border-left: 3px solid var(--line); padding-left: .8rem; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; ``name`` is its anchor."""

    name: str
    title: str
    body: str


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{part.name}">{escape(part.title)}</a>' for part in sections)
    parts = "".join(
        f'<section id="{part.name}"><h2>{escape(part.title)}</h2>{part.body}</section>' for part in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><link rel='icon' href='data:,'><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p class='soft'>{escape(subtitle)}</p><nav>{links}</nav>{parts}</body></html>\n"
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def reason(text: str) -> str:
    """Why a section is empty."""
    return f'<p class="reason">{escape(text)}</p>'


def table(rows: Mapping[str, str]) -> str:
    """Names and values."""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f'<div class="wide"><table>{lines}</table></div>'


def details(summary: str, text: str) -> str:
    """Text that is folded away."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def figure(drawn: "Figure", caption: str, *, raster: bool = False) -> str:
    """A matplotlib figure with its caption, which is also what a screen reader says."""
    content = io.BytesIO()
    if raster:
        drawn.savefig(content, format="png", dpi=150)
    else:
        drawn.savefig(content, format="svg", metadata={"Date": None})
    kind = "png" if raster else "svg+xml"
    source = f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
    said = escape(caption)
    return f'<figure><img src="{source}" alt="{said}"><figcaption>{said}</figcaption></figure>'


def tile(lines: Iterable[str], *, picture: Image.Image | None = None, right: bool | None = None) -> str:
    """A small card of a rank list: a picture if it may be shown, words, and whether it is right."""
    image = "" if picture is None else f'<img src="{thumbnail(picture)}" alt="">'
    sign = "" if right is None else f"<b>{'✓ right' if right else '✗ wrong'}</b><br>"
    kind = {None: "", True: " right", False: " wrong"}[right]
    return f'<div class="tile{kind}">{image}{sign}{"<br>".join(map(escape, lines))}</div>'


def tiles(cards: Iterable[str]) -> str:
    """Cards in a row, scrolled sideways where they do not fit."""
    return f'<div class="ranks" tabindex="0">{"".join(cards)}</div>'


def thumbnail(picture: Image.Image) -> str:
    """A picture as a data URI, at most 64 x 128."""
    small = picture.convert("RGB")
    small.thumbnail((64, 128))
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
