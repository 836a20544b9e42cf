"""What a gallery holds and what a search found, as tables for the terminal."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ccafl.calibration import verdict
from ccafl.gallery.entries import Found, Hit
from ccafl.gallery.gallery import GalleryInfo
from ccafl.terminal import printable

NOBODY = "nobody known: even the best picture is unlikely to show this person"
_SCORES = {False: ("score",), True: ("same person", "verdict", "score")}


def render_found(found: Found) -> RenderableType:
    """The hits of a search, best first; of a grouped search each track by its best picture."""
    if found.groups:
        return _render_tracks(found)
    table = Table("rank", *_SCORES[_judged(found)], "identity", "camera", "time (UTC)", "source")
    for rank, hit in enumerate(found.hits, start=1):
        entry = hit.entry
        cells = (*_scores(hit), entry.name or entry.identity, entry.camera, _time(entry.time), entry.source)
        table.add_row(str(rank), *(_text(cell) for cell in cells))
    return _with_verdict(table, found) if found.hits else "nothing found"


def _render_tracks(found: Found) -> RenderableType:
    table = Table("rank", *_SCORES[_judged(found)], "identity", "track", "pictures", "time (UTC)", "best picture")
    for rank, group in enumerate(found.groups, start=1):
        entry = group.hits[0].entry
        track = f"{entry.camera}/{entry.label}" if entry.label else entry.camera
        cells = (
            *_scores(group.hits[0]),
            entry.name or entry.identity,
            track,
            str(group.pictures),
            _time(entry.time),
            entry.source,
        )
        table.add_row(str(rank), *(_text(cell) for cell in cells))
    return _with_verdict(table, found)


def _judged(found: Found) -> bool:
    return any(hit.probability is not None for hit in found.hits)


def _scores(hit: Hit) -> tuple[str, ...]:
    """The score; and how probably it is the person, where that is known; never for certain."""
    if hit.probability is None:
        return (f"{hit.score:.4f}",)
    percent = "<1" if hit.probability < 0.005 else f"{min(100 * hit.probability, 99):.0f}"
    return f"{percent} %", verdict(hit.probability), f"{hit.score:.4f}"


def _with_verdict(table: Table, found: Found) -> RenderableType:
    return Group(table, NOBODY) if found.nobody else table


def render_info(info: GalleryInfo) -> RenderableType:
    """A gallery in numbers."""
    table = Table(show_header=False)
    rows = {
        "pictures": str(info.pictures),
        **{f"camera {name or '(unknown)'}": str(count) for name, count in info.cameras.items()},
        "identities": str(info.identities),
        **{f"identity {identity}": name for identity, name in sorted(info.names.items(), key=lambda own: own[1])},
        **({"tracks": str(info.tracks)} if info.tracks else {}),
        "taken": f"{_time(info.first)} to {_time(info.last)} UTC" if info.first else "unknown",
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
