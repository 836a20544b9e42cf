"""Search for people: a gallery, its HTTP service and its page.

From Python the few names that are needed::

    from ccafl.search import Gallery, open_encoder, search

    with Gallery.open(Path("gallery.db")) as gallery:
        encoder = open_encoder(gallery.model_place)
        found = search(gallery, encoder.encode([picture]).features)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccafl.search.adding import Picture, add_pictures, listed
    from ccafl.search.corrections import merge, split
    from ccafl.search.encoder import open_encoder
    from ccafl.search.gallery import Gallery
    from ccafl.search.query import Query, group_by_identity, search, search_many
    from ccafl.search.records import Entry, Filters, Found, Hit

_MODULES = {
    "adding": ("Picture", "add_pictures", "listed"),
    "corrections": ("merge", "split"),
    "encoder": ("open_encoder",),
    "gallery": ("Gallery",),
    "query": ("Query", "group_by_identity", "search", "search_many"),
    "records": ("Entry", "Filters", "Found", "Hit"),
}
__all__ = [
    "Entry",
    "Filters",
    "Found",
    "Gallery",
    "Hit",
    "Picture",
    "Query",
    "add_pictures",
    "group_by_identity",
    "listed",
    "merge",
    "open_encoder",
    "search",
    "search_many",
    "split",
]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the command line's help needs none of it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"ccafl.search.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
