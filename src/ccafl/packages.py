"""Packages that only some commands need: those that are missing are named before any work is done."""

from importlib import import_module

from ccafl.errors import InputError


def require(extra: str, *modules: str, what: str) -> None:
    """Check that the packages of an extra can be imported.

    Args:
        extra: of pyproject.toml that installs them.
        modules: their names as imported.
        what: needs them, for the message.

    Raises:
        InputError: one of them is missing; says how to install it.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise InputError(f'{what} needs {module} ({error}); pip install "ccafl[{extra}]"') from error
