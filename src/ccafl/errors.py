"""The one kind of error that the user can fix."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: where (file, line, key), what is wrong, what to do. The command line
    prints it without a traceback and ends with exit code 2.
    """
