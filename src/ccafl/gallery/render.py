"""What a gallery holds and what a search found, as tables for the terminal."""

from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ccafl.gallery.entries import Found
from ccafl.gallery.gallery import GalleryInfo
from ccafl.terminal import printable


def render_found(found: Found) -> RenderableType:
    """The hits of a search, best first."""
    table = Table("rank", "score", "identity", "camera", "time", "source")
    for rank, hit in enumerate(found.hits, start=1):
        entry = hit.entry
        cells = (f"{hit.score:.4f}", entry.identity, entry.camera, _time(entry.time), entry.source)
        table.add_row(str(rank), *(_text(cell) for cell in cells))
    return table if found.hits else "nothing found"


def render_info(info: GalleryInfo) -> RenderableType:
    """A gallery in numbers."""
    table = Table(show_header=False)
    rows = {
        "pictures": str(info.pictures),
        **{f"camera {name or '(unknown)'}": str(count) for name, count in info.cameras.items()},
        "identities": str(info.identities),
        "taken": f"{_time(info.first)} to {_time(info.last)}" if info.first else "unknown",
        "model": f"{info.model_name} ({info.fingerprint[:12]}), {info.model_place}",
        "vectors": str(info.where),
    }
    for name, value in rows.items():
        table.add_row(_text(name), _text(value))
    return table


def _text(cell: str) -> Text:
    return Text(printable(cell), overflow="fold")


def _time(time: datetime | None) -> str:
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%S")
