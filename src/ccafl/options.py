"""What the options and arguments of all commands share: their types, and how commands are made from functions."""

import inspect
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import wraps
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from ccafl.data.source import KINDS
from ccafl.errors import InputError
from ccafl.gallery.filters import FILTERS, Filters, ValueKind

STDOUT = "-"
_JSON = "--json"

Function = Callable[..., None]

_QUIET = inspect.Parameter(
    "quiet",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no notes, only results and errors.")
    ],
)


def command(
    app: typer.Typer, example: str, name: str | None = None, *, heavy: str | None = None
) -> Callable[[Function], Function]:
    """Decorator: make a function a command of ``app``, with ``--quiet``.

    Args:
        app: that gets it.
        example: shown in its help, without the leading ``ccafl``.
        name: of the command; the function's if not given.
        heavy: a module that it needs and that takes seconds to import, which a terminal then says.
    """

    def made(function: Function) -> Function:
        @wraps(function)
        def with_quiet(**values: Any) -> None:
            from ccafl import terminal

            terminal.console.quiet = values.pop("quiet")
            if heavy is not None:
                with terminal.waiting("loading PyTorch"):
                    import_module(heavy)
            function(**values)

        signature = inspect.signature(function)
        _give_parameters(with_quiet, [*signature.parameters.values(), _QUIET])
        app.command(name, epilog=f"Example: ccafl {example}")(with_quiet)
        return function

    return made


def json_to_stdout(arguments: Sequence[str]) -> list[str]:
    """Arguments in which ``--json`` has a value: standard output at their end and before another option."""
    given: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        given.append(argument)
        if argument == _JSON and following != STDOUT and (not following or following.startswith("-")):
            given.append(STDOUT)
    return given


def _give_parameters(function: Function, parameters: Sequence[inspect.Parameter]) -> None:
    """Let Typer see these parameters."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def existing(path: Path | None) -> Path | None:
    """Callback for a path that is read: a missing one is refused before anything heavy is imported.

    Raises:
        InputError: there is nothing at the path.
    """
    if path is not None and not path.exists():
        raise InputError(f"{path}: no such file or folder; correct the path")
    return path


def _run(path: Path) -> Path:
    """Callback for a run's folder; its content is looked at later."""
    if not path.exists():
        raise InputError(f"{path}: is not a run (there is nothing); give a folder made by ccafl train or ccafl demo")
    return path


def _runs(paths: list[Path]) -> list[Path]:
    """Callback of several runs."""
    return [_run(path) for path in paths]


def _json_file(place: str | None) -> str | None:
    """Callback of ``--json``."""
    if place is not None and place != STDOUT and not place.lower().endswith(".json"):
        raise InputError(f"--json {place}: must end in .json; change the name, or give - for stdout")
    return place


def _configurations(incomplete: str) -> list[str]:
    """The shipped configurations, to complete a name of one."""
    folder = Path(__file__).parent / "configs"
    return sorted(file.stem for file in folder.glob(f"{incomplete}*.yaml"))


class Fusion(StrEnum):
    """How several pictures are combined in one search."""

    mean = "mean"
    max = "max"


Run = Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False, callback=_run)]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...", help="Folders of trained runs; several are compared.", show_default=False, callback=_runs
    ),
]
Encoder = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder of a trained run; or weights without training: clip-synth, RN50:openai, NAME:FILE.",
        show_default=False,
    ),
]
Configuration = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="own for your own pictures, another shipped configuration, or a YAML file.",
        show_default=False,
        autocompletion=_configurations,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        help="Images: an official data set's folder, <camera>/<label>/ folders, or a .csv or .parquet manifest.",
        show_default=False,
        callback=existing,
    ),
]
Images = Annotated[Path, typer.Argument(help="Images, as for --data of train.", show_default=False, callback=existing)]
Json = Annotated[
    str | None,
    typer.Option(
        _JSON,
        metavar="[FILE]",
        help="Results as JSON, in this file; - or nothing for stdout, in place of the table.",
        show_default=False,
        callback=_json_file,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, such as stage2.epochs=40; may be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many pictures would be erased.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Erase without asking; nobody is asked outside of a terminal.")]
Kind = Annotated[
    str | None,
    typer.Option("--source", help=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}; detected if not given."),
]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let a manifest name pictures outside of its folder.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out unreadable images, listing them once.")]
Standardise = Annotated[
    bool, typer.Option("--camera-standardise", help="Standardise features by camera: remove what its images share.")
]
CameraTable = Annotated[
    Path | None,
    typer.Option("--topology", help="Table of which cameras share persons, CSV or YAML (docs/topology.md)."),
]
Db = Annotated[Path, typer.Option("--db", help="The gallery's folder.", show_default=False)]
Model = Annotated[Path | None, typer.Option(help="The gallery's model, a run or an ONNX file, if it has moved.")]
MilvusUri = Annotated[
    str | None,
    typer.Option("--uri", envvar="MILVUS_URI", help="The gallery's Milvus server; a token goes to no other address."),
]
MilvusToken = Annotated[
    str | None, typer.Option("--token", envvar="MILVUS_TOKEN", help="For a Milvus server that requires one.")
]


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each search filter in place of its parameter ``filters``."""
    options = [
        inspect.Parameter(
            filter_.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[list[str] | None, typer.Option(help=f"{filter_.description}; may be repeated.")]
            if filter_.kind is ValueKind.NAMES
            else Annotated[str | None, typer.Option(help=f"{filter_.description}, such as 2026-05-01T14:03.")],
        )
        for filter_ in FILTERS.values()
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        from ccafl.gallery.commands import parse_time

        given = {option.name: values.pop(option.name) for option in options}
        for filter_ in FILTERS.values():
            if filter_.kind is ValueKind.TIME and given[filter_.parameter] is not None:
                given[filter_.parameter] = parse_time(given[filter_.parameter], f"--{filter_.parameter}")
        command(**values, filters=Filters.of(given))

    signature = inspect.signature(command)
    parameters = [new for old in signature.parameters.values() for new in (options if old.name == "filters" else [old])]
    _give_parameters(with_options, parameters)
    return with_options
