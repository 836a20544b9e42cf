"""How the page's figures look: vector drawings whose colours follow the reader's light or dark theme."""

import base64
import io
import warnings
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ccafl.report.page import SERIES, THEME
from ccafl.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

INK, GROUND, SOFT, LINE = (light for light, _ in THEME.values())
COLOURS = tuple(light for light, _ in SERIES)
MARKS = "os^DvPXd"
_STYLE: Any = {
    "svg.hashsalt": "ccafl",  # the same figure always gives the same text
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.grid": False,
    "axes.axisbelow": True,
}


def themed(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the page's style."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context

        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inner


@themed
def picture(drawn: "Figure") -> str:
    """A figure as the data URI of an SVG that changes its colours with the reader's theme."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # a name in letters that the font lacks
        drawn.savefig(content, format="svg", dpi=130, metadata={"Date": None})
    text = content.getvalue().decode()
    pairs = {f"c{number}": pair for number, pair in enumerate((*THEME.values(), *SERIES))}
    for name, (light, _) in pairs.items():
        text = text.replace(light, f"var(--{name})")
    light, dark = ("".join(f"--{name}:{pair[place]};" for name, pair in pairs.items()) for place in (0, 1))
    style = f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    text = text.replace("<defs>", f"{style}<defs>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def small_axes() -> tuple["Figure", "Axes"]:
    """The figure of one chart in the page's grid of charts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    return figure, figure.add_subplot()


def legend_below(figure: "Figure", axes: "Axes", columns: int | None = None) -> None:
    """Name what is drawn below the axes, where it hides nothing; in as many columns as fit, if not given."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        longest = max(map(len, names))
        columns = columns or (4 if longest <= 10 else 3 if longest <= 16 else 2)
        rows = -(-len(handles) // columns)
        figure.set_figheight(figure.get_figheight() + 0.22 * rows)
        figure.legend(handles, names, loc="outside lower left", ncols=columns)


def percent(axis: "Axis") -> None:
    """Write shares as percentages."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.10g} %"))


def plain_log(axis: "Axis") -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def plain_label(text: str) -> str:
    """A user's name as a matplotlib label: never read as a formula, never hidden from a legend."""
    text = printable(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
