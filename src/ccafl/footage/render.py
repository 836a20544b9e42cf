"""What became of footage, for the terminal."""

from collections.abc import Iterable, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ccafl.footage.ingest import Counts
from ccafl.terminal import duration

_SHOWN = ("frames", "tracks", "crops", "short", "doubtful")


def render_counts(counts: Mapping[str, Counts]) -> RenderableType:
    """A line for each camera, and their sum."""
    table = Table("camera", "length", "frames", "tracks", "pictures", "left out: short", "doubtful")
    for camera, count in counts.items():
        table.add_row(Text(camera), duration(count.seconds), *_figures([count]))
    if len(counts) > 1:
        table.add_section()
        table.add_row("all", duration(sum(count.seconds for count in counts.values())), *_figures(counts.values()))
    return table


def _figures(counts: Iterable[Counts]) -> list[str]:
    every = list(counts)
    return [f"{sum(getattr(count, name) for count in every):,}" for name in _SHOWN]
