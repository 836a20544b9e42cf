"""Opening data: unreadable images are refused or left out, and query and gallery are checked to be rankable."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ccafl.data.images import unreadable
from ccafl.data.numbering import EvaluationImages, evaluation_images, unmatched_queries
from ccafl.data.records import Source
from ccafl.errors import InputError
from ccafl.terminal import bar, note
from ccafl.words import counted

_NAMED = 6  # unreadable images named in one error


def readable(source: Source, data: Path, *, skip: bool | None, shown: bool = True) -> Source:
    """``source`` without its unreadable images.

    Args:
        source: as read.
        data: where it was read from.
        skip: list unreadable images once and leave them out; None for a command without that option.
        shown: whether this process shows its progress.

    Raises:
        InputError: no training images, an unreadable image that is not to be skipped, or no readable training image.
    """
    require_training(source, data)
    bad = find_unreadable([record.path for record in source.records], shown=shown)
    _refuse_or_list(bad, skip=skip, shown=shown)
    kept = without(source, bad)
    if not kept.train:
        raise InputError(f"{data}: no training image can be read; fix them or give other data")
    return kept


def require_training(source: Source, data: Path) -> None:
    """Check that there are images to train on.

    Raises:
        InputError: there are none.
    """
    if not source.train:
        why = "; its images are for testing: give the folder above" if source.records else ""
        raise InputError(f"{data}: holds no training images{why or '; give data that do'}")


def readable_paths(paths: Sequence[Path], *, skip: bool) -> list[Path]:
    """The pictures of ``paths`` that can be read.

    Args:
        paths: the pictures' files.
        skip: list unreadable pictures once and leave them out.

    Raises:
        InputError: an unreadable picture that is not to be skipped.
    """
    bad = find_unreadable(paths)
    _refuse_or_list(bad, skip=skip, shown=True)
    return [path for path in paths if path not in bad]


def find_unreadable(paths: Sequence[Path], *, shown: bool = True) -> dict[Path, str]:
    """What `ccafl.data.images.unreadable` finds, under a progress bar."""
    with bar("reading images", len(paths), shown=shown) as progress:
        return unreadable(paths, progress.advance)


def without(source: Source, bad: Collection[Path]) -> Source:
    """``source`` without the images at these paths."""
    train, query, gallery = (
        [record for record in records if record.path not in bad]
        for records in (source.train, source.query, source.gallery)
    )
    return replace(source, train=train, query=query, gallery=gallery)


def rankable(source: Source, data: Path) -> tuple[EvaluationImages, EvaluationImages]:
    """Query and gallery of ``source``, numbered alike.

    Raises:
        InputError: no query has a match in the gallery.
    """
    query, gallery = evaluation_images(source.query, source.gallery)
    if len(unmatched_queries(query, gallery)) == len(query):
        raise InputError(
            f"{data}: no query's person is in the gallery in another camera, so nothing can be measured; "
            "see ccafl data check"
        )
    return query, gallery


def _refuse_or_list(bad: Mapping[Path, str], *, skip: bool | None, shown: bool) -> None:
    if bad and not skip:
        (path, reason), *others = bad.items()
        more = f" (and {len(others)} more: {', '.join(str(p) for p, _ in others[: _NAMED - 1])})" if others else ""
        or_skip = "" if skip is None else ", or skip such images with --skip-unreadable"
        raise InputError(f"{path}: {reason}{more}; fix or remove{or_skip}")
    if bad and shown:
        note(f"skipped {counted(len(bad), 'unreadable image')}:", *(f"  {path}: {why}" for path, why in bad.items()))
