"""HTML building blocks: headings, figures, tables and pictures of a self-contained page."""

import base64
import html
import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from ccafl.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser may load nothing external

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --ground: #fff; --soft: #5a5a5a; --line: #d4d4d4;
  --right: #0a6b3d; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --ground: #16181b; --soft: #a8a8a8; --line: #3c4046;
  --right: #5fd39a; --wrong: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .92rem; }
figure { margin: 1rem 0; } .wide { overflow-x: auto; }
figure img { display: block; width: 100%; min-width: 52rem; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { max-width: 52rem; margin-top: .35rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
caption { text-align: left; color: var(--soft); font-size: .92rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid var(--line); font-weight: normal; }
td, thead th { text-align: right; } thead th:first-child { text-align: left; }
pre { overflow-x: auto; font-size: .82rem; }
.ranks { display: flex; gap: .4rem; overflow-x: auto; padding: .4rem 0; }
.tile { flex: 0 0 5.2rem; border: 3px solid var(--line); border-radius: 6px; padding: .15rem; font-size: .75rem;
  text-align: center; line-height: 1.3; overflow-wrap: anywhere; }
.tile img { width: 64px; max-width: 100%; display: block; margin: 0 auto .2rem; border-radius: 3px; }
.right { border-color: var(--right); } .right b { color: var(--right); }
.wrong { border-color: var(--wrong); border-style: dashed; } .wrong b { color: var(--wrong); }
nav a { display: inline-block; margin-right: 1rem; color: inherit; }
.reason { border-left: 3px solid var(--line); padding-left: .8rem; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page; ``name`` is its anchor."""

    name: str
    title: str
    body: str


def page(title: str, head: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page; ``head`` holds the lines below its title."""
    links = "".join(f'<a href="#{part.name}">{escape(part.title)}</a>' for part in sections)
    lines = "".join(f'<p class="soft">{escape(line)}</p>' for line in head)
    parts = "".join(
        f'<section id="{part.name}"><h2>{escape(part.title)}</h2>{part.body}</section>' for part in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head><body>'
        f"<header><h1>{escape(title)}</h1>{lines}</header><nav>{links}</nav><main>{parts}</main></body></html>\n"
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def reason(text: str) -> str:
    """Why a section is empty."""
    return f'<p class="reason">{escape(text)}</p>'


def table(caption: str, rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> str:
    """A table whose rows are a name and its values, with an optional header."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for name, *values in rows
    )
    head = f"<thead><tr>{names}</tr></thead>" if header else ""
    return f'<div class="wide"><table><caption>{escape(caption)}</caption>{head}<tbody>{lines}</tbody></table></div>'


def details(summary: str, text: str) -> str:
    """Collapsed text."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def figure(drawn: "Figure", what: str, caption: str, *, raster: bool = False) -> str:
    """A matplotlib figure, described by ``what`` for screen readers; it scrolls sideways on narrow screens.

    The same figure always gives the same text.
    """
    from matplotlib import rc_context

    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # a name in letters that the font lacks
        if raster:
            drawn.savefig(content, format="png", dpi=150)
        else:
            with rc_context({"svg.hashsalt": "ccafl"}):
                drawn.savefig(content, format="svg", metadata={"Date": None})
    kind = "png" if raster else "svg+xml"
    source = f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
    image = f'<img src="{source}" alt="{escape(what)}">'
    scrolled = f'<div class="wide" tabindex="0" role="group" aria-label="{escape(what)}">{image}</div>'
    return f"<figure>{scrolled}<figcaption>{escape(caption)}</figcaption></figure>"


def escape(text: str) -> str:
    """Text for HTML, in which control characters are written out."""
    return html.escape(printable(text))


def plain_label(text: str) -> str:
    """A user's name as a matplotlib label: never read as a formula, never hidden from a legend."""
    text = printable(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def tile(lines: Iterable[str], *, picture: Image.Image | None = None, right: bool | None = None) -> str:
    """A tile of a rank list: a picture if it may be shown, text, and whether the match is right."""
    image = "" if picture is None else f'<img src="{thumbnail(picture)}" alt="">'  # the text describes it
    sign = "" if right is None else f"<b>{'✓ right' if right else '✗ wrong'}</b><br>"
    kind = {None: "", True: " right", False: " wrong"}[right]
    return f'<div class="tile{kind}">{image}{sign}{"<br>".join(map(escape, lines))}</div>'


def tiles(what: str, cards: Iterable[str]) -> str:
    """Tiles in a row that scrolls sideways if they do not fit."""
    return f'<div class="ranks" tabindex="0" role="group" aria-label="{escape(what)}">{"".join(cards)}</div>'


def thumbnail(picture: Image.Image) -> str:
    """A picture as a data URI, at most 64 x 128 pixels (width x height)."""
    small = picture.convert("RGB")
    small.thumbnail((64, 128))
    small.info.clear()  # comments, which Pillow would write too
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
