"""The filters of a search. Each is one field of `Filters`; the command line, the HTTP API, Milvus and the search in
memory all take it from here. Does not need NumPy, so that the command line's help answers at once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, get_type_hints

from ccafl.gallery.values import UNKNOWN_TIME, check_name, milliseconds, quoted


class ValueKind(Enum):
    """What a filter's value is."""

    NAMES = "several names, none for no filter"
    TIME = "a time, None for no filter"


@dataclass(frozen=True, slots=True)
class Filter:
    """How one filter works.

    Attributes:
        kind: of its value.
        parameter: its name as an option (``--exclude-camera``) and as a form field (``exclude_camera``).
        description: a phrase for help texts and the API's schema.
        column: the property of pictures that it tests: a field of `ccafl.gallery.entries.Entry`.
        expression: value -> Milvus' boolean expression.
        mask: column (see `ccafl.gallery.nearest.InMemory`) and value -> which pictures pass, (n,) bool.
    """

    kind: ValueKind
    parameter: str
    description: str
    column: str
    expression: Callable[[Any], str]
    mask: Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which pictures a search looks at: those that pass all filters.

    Attributes:
        cameras: only these.
        exclude_cameras: not these.
        since: taken at this time or later; pictures without a time are left out.
        until: taken before this time; pictures without a time are left out.
    """

    cameras: Annotated[
        tuple[str, ...],
        Filter(
            ValueKind.NAMES,
            "camera",
            "Only this camera",
            column="camera",
            expression=lambda names: f"camera in {quoted(names)}",
            mask=lambda camera, names: camera.where(lambda name: name in names),
        ),
    ] = ()
    exclude_cameras: Annotated[
        tuple[str, ...],
        Filter(
            ValueKind.NAMES,
            "exclude_camera",
            "Not this camera",
            column="camera",
            expression=lambda names: f"camera not in {quoted(names)}",
            mask=lambda camera, names: camera.where(lambda name: name not in names),
        ),
    ] = ()
    since: Annotated[
        datetime | None,
        Filter(
            ValueKind.TIME,
            "since",
            "Taken at this time or later",
            column="time",
            expression=lambda time: f"time >= {milliseconds(time)}",
            mask=lambda taken, time: taken >= milliseconds(time),
        ),
    ] = None
    until: Annotated[
        datetime | None,
        Filter(
            ValueKind.TIME,
            "until",
            "Taken before this time",
            column="time",
            expression=lambda time: f"time > {UNKNOWN_TIME} and time < {milliseconds(time)}",
            mask=lambda taken, time: taken < milliseconds(time),
        ),
    ] = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Filters":
        """From the values of all parameters, each a list of names, a time, or None."""
        values = {name: parameters[filter_.parameter] for name, filter_ in FILTERS.items()}
        names = (name for name, filter_ in FILTERS.items() if filter_.kind is ValueKind.NAMES)
        return cls(**values | {name: tuple(dict.fromkeys(values[name] or ())) for name in names})

    def active(self) -> Iterator[tuple[Filter, Any]]:
        """The filters in use, each with its value."""
        for name, filter_ in FILTERS.items():
            if value := getattr(self, name):
                yield filter_, value

    def camera_names(self) -> Iterator[str]:
        """All cameras that the filters name."""
        for filter_, value in self.active():
            if filter_.column == "camera":
                yield from value

    def check(self) -> None:
        """Check the names.

        Raises:
            InputError: a name that no gallery can hold.
        """
        for name in self.camera_names():
            check_name(name)

    def expression(self) -> str:
        """Milvus' boolean expression for all of them; empty if none is in use."""
        return " and ".join(filter_.expression(value) for filter_, value in self.active())


FILTERS: dict[str, Filter] = {
    name: annotation.__metadata__[0] for name, annotation in get_type_hints(Filters, include_extras=True).items()
}
"""All filters by the name of their field in `Filters`."""
