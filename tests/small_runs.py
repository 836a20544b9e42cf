"""A run that trains in seconds, and the command line as tests call it."""

import pytest

from ccafl.cli import main

SIZE = (32, 16)  # pixels
SMALL = (
    f"model.image_size={list(SIZE)}",
    "stage1.epochs=1",
    "stage2.epochs=2",
    "stage2.steps_per_epoch=2",
    "stage2.identities=4",
    "stage2.intra_camera.epochs=1",
    "stage2.association.rate=4.0",
)
"""Settings of a run with two epochs, one intra-camera and one inter-camera."""


def as_options(settings: tuple[str, ...]) -> list[str]:
    """The settings as options of the command line."""
    return [part for setting in settings for part in ("--set", setting)]


def run(*arguments: object) -> None:
    """Run a command and check that it succeeds."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object, shown: bool = False) -> str:
    """Run a command that must fail; returns its one line on stderr, without ``error: ``.

    ``shown``: its results are on stdout all the same, because only writing them failed.
    """
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    output, errors = capsys.readouterr()
    assert ended.value.code == 2
    assert bool(output) == shown, output
    return one_line(errors)


def one_line(errors: str) -> str:
    """The one line of ``errors``, without ``error: ``."""
    assert errors.startswith("error: "), errors
    assert errors.endswith("\n"), errors
    assert len(errors.splitlines()) == 1, errors
    return errors.removeprefix("error: ").rstrip("\n")
