"""HTML building blocks: headings, charts, tables and pictures of a self-contained page."""

import base64
import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from ccafl.data.images import as_jpeg
from ccafl.data.tables import cell
from ccafl.terminal import printable

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser may load nothing external

THEME = {  # light and dark
    "ink": ("#1a1a1a", "#ececec"),
    "ground": ("#fefefe", "#16181b"),
    "soft": ("#5a5a5a", "#a8a8a8"),
    "line": ("#d4d4d4", "#3c4046"),
}
"""The colours of text, page, remarks and lines, in the light and the dark theme."""
SERIES = (
    ("#0b5cad", "#6cb2f5"),
    ("#c4500c", "#f59a5c"),
    ("#2d7d46", "#6fce8e"),
    ("#7a3fa0", "#c792e8"),
    ("#8a6d00", "#d9b93f"),
    ("#a8215f", "#f07fb0"),
    ("#2f6b7a", "#7cc4d6"),
    ("#6b4a2b", "#c9a27c"),
)
"""The colours of what figures compare, likewise."""


def _colours(theme: int) -> str:
    return "".join(f"--{name}: {pair[theme]}; " for name, pair in THEME.items())


_STYLE = (
    f"""
:root {{ color-scheme: light dark; {_colours(0)}--right: #0a6b3d; --wrong: #b3261e; }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours(1)}--right: #5fd39a; --wrong: #ff8f85; }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p { max-width: 46rem; } header p { margin: .2rem 0; max-width: none; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.wide { overflow-x: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: .5rem 0; min-width: 0; } figure h3 { margin: 0 0 .2rem; } .broad { grid-column: 1 / -1; }
figure img { display: block; width: 100%; } .broad img { min-width: 46rem; }
figcaption { max-width: 52rem; margin-top: .35rem; }
a { color: inherit; } .data { white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
caption { text-align: left; color: var(--soft); font-size: .92rem; padding-bottom: .3rem; }
caption span { display: block; max-width: calc(100vw - 2rem); }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid var(--line);
  font-weight: normal; vertical-align: top; }
td, thead th { text-align: right; } td { white-space: nowrap; } thead th:first-child { text-align: left; }
thead th { font-weight: 600; overflow-wrap: anywhere; min-width: 5rem; }
.meaning { display: block; color: var(--soft); font-size: .85rem; line-height: 1.35; max-width: 30rem;
  min-width: 11rem; }
.remark { display: block; color: var(--soft); font-size: .85rem; line-height: 1.35; }
pre { overflow-x: auto; font-size: .82rem; }
.ranks { display: flex; gap: .4rem; overflow-x: auto; padding: .4rem 0; }
.tile { flex: 0 0 5.6rem; border: 3px solid var(--line); border-radius: 6px; padding: .15rem; font-size: .78rem;
  text-align: center; line-height: 1.3; overflow-wrap: anywhere; }
.tile img { width: 64px; max-width: 100%; display: block; margin: 0 auto .2rem; border-radius: 3px; }
.right { border-color: var(--right); } .right b { color: var(--right); }
.wrong { border-color: var(--wrong); border-style: dashed; } .wrong b { color: var(--wrong); }
nav { margin: .8rem 0 0; } nav a { display: inline-block; margin-right: 1rem; padding: .15rem 0; }
.pairs { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; } .pairs > div { max-width: 100%; }
.reason { border-left: 3px solid var(--line); padding-left: .8rem; }
@media (max-width: 30rem) { th, td { padding-right: .7rem; } .meaning { min-width: 8rem; } }
"""
)


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


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, what that means if it needs saying, and its values."""

    name: str
    values: Sequence[str]
    meaning: str = ""


def table(caption: str, rows: Iterable[Row], header: Sequence[str] = ()) -> str:
    """A table whose rows are a name, with its meaning below, and its values, with an optional header.

    A value's further lines are remarks on the first.
    """
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = "".join(
        f'<tr><th scope="row">{escape(row.name)}'
        + (f'<span class="meaning">{escape(row.meaning)}</span>' if row.meaning else "")
        + f"</th>{''.join(f'<td>{_value(value)}</td>' for value in row.values)}</tr>"
        for row in rows
    )
    head = f"<thead><tr>{names}</tr></thead>" if header else ""
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(caption)}"><table>'
        f"<caption><span>{escape(caption)}</span></caption>{head}<tbody>{lines}</tbody></table></div>"
    )


def _value(text: str) -> str:
    first, *more = text.split("\n")
    return escape(first) + "".join(f'<span class="remark">{escape(line)}</span>' for line in more)


def details(summary: str, text: str) -> str:
    """Collapsed text."""
    return folded(summary, f"<pre>{escape(text)}</pre>")


def folded(summary: str, body: str) -> str:
    """A part of the page that is collapsed at first."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its numbers.

    Attributes:
        title: its heading.
        what: its content for screen readers.
        caption: what it shows and how to read it.
        source: the data URI of its picture.
        header, rows: its numbers, to download; none for what is no chart of numbers.
        wide: whether it needs the whole width, and is scrolled sideways on narrow screens.
    """

    title: str
    what: str
    caption: str
    source: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    wide: bool = False


def charts(drawn: Sequence[Chart]) -> str:
    """Charts side by side as the screen allows, wide ones on rows of their own."""
    return f'<div class="charts">{"".join(map(_figure, drawn))}</div>'


def _figure(chart: Chart) -> str:
    image = f'<img src="{chart.source}" alt="{escape(chart.what)}">'
    if chart.wide:
        image = f'<div class="wide" tabindex="0" role="group" aria-label="{escape(chart.what)}">{image}</div>'
    caption = f"{escape(chart.caption)} " if chart.caption else ""
    data = download(chart.title, chart.header, chart.rows) if chart.rows else ""
    broad = ' class="broad"' if chart.wide else ""
    return f"<figure{broad}><h3>{escape(chart.title)}</h3>{image}<figcaption>{caption}{data}</figcaption></figure>"


def download(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A link that saves rows as a CSV table."""
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow([cell(text) for text in header])
    table.writerows([_written(value) for value in row] for row in rows)
    file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "data"
    encoded = base64.b64encode(content.getvalue().encode()).decode()
    label = escape(f"Data of {name} as CSV")
    return (
        f'<a class="data" download="{file}.csv" href="data:text/csv;charset=utf-8;base64,{encoded}" '
        f'aria-label="{label}">data (CSV)</a>'
    )


def _written(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cell(str(value))


def escape(text: str) -> str:
    """Text for HTML, in which control characters are written out."""
    return html.escape(printable(text))


def tile(lines: Iterable[str], *, picture: Image.Image | None = None, right: bool | None = None) -> str:
    """A tile of a rank list: a picture if it may be shown, text, and whether the match is right."""
    image = "" if picture is None else f'<img src="{thumbnail(picture)}" alt="">'  # the text describes it
    sign = "" if right is None else f"<b>{'✓ right' if right else '✗ wrong'}</b><br>"
    kind = {None: "", True: " right", False: " wrong"}[right]
    return f'<div class="tile{kind}">{image}{sign}{"<br>".join(map(escape, lines))}</div>'


def tiles(what: str, cards: Iterable[str]) -> str:
    """Tiles in a row that scrolls sideways if they do not fit."""
    return f'<div class="ranks" tabindex="0" role="group" aria-label="{escape(what)}">{"".join(cards)}</div>'


def side_by_side(parts: Iterable[str]) -> str:
    """Rows of tiles beside each other as the screen allows."""
    return f'<div class="pairs">{"".join(parts)}</div>'


def thumbnail(picture: Image.Image) -> str:
    """A picture as a data URI, at most 64 x 128 pixels (width x height)."""
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(picture, (64, 128))).decode()}"
