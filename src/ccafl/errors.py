"""The one kind of error that the user can fix."""

from collections.abc import Mapping
from typing import Any


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: where (file, line, key), what is wrong, what to do. The command line
    prints it without a traceback and ends with exit code 2.
    """


class UnwrittenError(InputError):
    """Results could not be written; they are in ``results``, to be shown all the same."""

    def __init__(self, message: str, results: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.results = results
