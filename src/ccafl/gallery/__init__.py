"""A gallery of pictures of people: adding, searching, correcting, forgetting.

::

    from ccafl.encoders import open_encoder
    from ccafl.gallery import Gallery, search

    with Gallery.open(Path("gallery.db")) as gallery:
        encoder = open_encoder(gallery.model_place)
        found = search(gallery, encoder.encode([picture]).features)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccafl.gallery.adding import Picture, add_pictures, listed
    from ccafl.gallery.corrections import merge, split
    from ccafl.gallery.entries import Entry, Found, Group, Hit
    from ccafl.gallery.filters import Filters
    from ccafl.gallery.gallery import Gallery
    from ccafl.gallery.query import Query, group_by_identity, search, search_many

_MODULES = {
    "adding": ("Picture", "add_pictures", "listed"),
    "corrections": ("merge", "split"),
    "entries": ("Entry", "Found", "Group", "Hit"),
    "filters": ("Filters",),
    "gallery": ("Gallery",),
    "query": ("Query", "group_by_identity", "search", "search_many"),
}
__all__ = [
    "Entry",
    "Filters",
    "Found",
    "Gallery",
    "Group",
    "Hit",
    "Picture",
    "Query",
    "add_pictures",
    "group_by_identity",
    "listed",
    "merge",
    "search",
    "search_many",
    "split",
]


def __getattr__(name: str) -> Any:
    """Imported on first use: the command line's help needs none of it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"ccafl.gallery.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
