"""Small matters of wording that messages of all rooms share."""

from collections.abc import Iterable
from difflib import get_close_matches


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 picture``, ``2,000 pictures``; ``plural`` for nouns that take more than an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed_names(names: Iterable[str], wanted: str = "") -> str:
    """Names to choose from, for a message about an unknown one: the most similar, or the first few.

    >>> listed_names(["c1", "c2"], "C1")
    'did you mean c1?'
    >>> listed_names(["hall", "yard"], "C1")
    'there are hall, yard'
    """
    names = list(names)
    similar = {name.casefold(): name for name in reversed(names)}
    close = get_close_matches(wanted.casefold(), similar, n=1)
    if close:
        return f"did you mean {similar[close[0]]}?"
    if not names:
        return "there are none"
    return f"there are {', '.join(names[:_SHOWN])}" + (", ..." if len(names) > _SHOWN else "")


_SHOWN = 8  # names
