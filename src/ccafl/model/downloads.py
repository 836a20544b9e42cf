"""Downloads of weights by other libraries, which try again and again without a word where there is no network."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ccafl.errors import InputError
from ccafl.terminal import note

_QUIET = 2.0  # seconds until something is said: what is in a cache is there by then
_REACHED = 5.0  # seconds within which the server must answer

T = TypeVar("T")


def hub_address() -> str:
    """The Hugging Face Hub, or the mirror that the environment names."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def downloaded(fetch: Callable[[], T], what: str, address: str) -> T:
    """What ``fetch`` gives, from a cache or from a server; says what it waits for.

    Args:
        fetch: called in a thread, which is left alone if the server cannot be reached.
        what: is downloaded, for messages.
        address: of the server.

    Raises:
        InputError: the server cannot be reached.
        Exception: what ``fetch`` raises.
    """
    results: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(fetch())
        except Exception as error:
            failures.append(error)

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of every try
    thread = threading.Thread(target=run, name="download", daemon=True)
    thread.start()
    thread.join(_QUIET)
    if thread.is_alive():
        server = urlsplit(address).hostname or address
        note(f"waiting for {server}: {what}")
        if reason := _unreachable(address):
            raise InputError(f"{server} cannot be reached ({reason})")
        thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _unreachable(address: str) -> str:
    """Why the server does not take a connection; empty if it does, or if a proxy is between."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return ""
    found: list[str] = []

    def knock() -> None:
        try:
            socket.create_connection((host, parts.port or (80 if parts.scheme == "http" else 443)), _REACHED).close()
            found.append("")
        except OSError as error:
            found.append(error.strerror or str(error) or type(error).__name__)

    knocking = threading.Thread(target=knock, name="knock", daemon=True)  # looking up a name has no timeout
    knocking.start()
    knocking.join(2 * _REACHED)
    return found[0] if found else "no answer"
