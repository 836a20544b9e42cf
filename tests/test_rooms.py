"""Data flow one way: a room imports only rooms that CONTRIBUTING.md lists before it, anywhere in its code."""

import ast
import re
from pathlib import Path

import pytest

import ccafl

PACKAGE = Path(ccafl.__file__).parent
FOUNDATION = ["errors", "files", "packages", "provenance", "signals", "terminal", "words"]  # what every room may use
JOINING = ["pipeline", "ablation", "options", "cli"]
RESOURCES = ["configs", "weights"]  # files that are read, no code


def listed_rooms() -> list[str]:
    text = (PACKAGE.parents[1] / "CONTRIBUTING.md").read_text()
    block = re.search(r"uses only rooms above it:\n\n```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].split()


def room_of(module: str) -> str:
    """``data`` for ``ccafl.data.records``; the package itself for ``ccafl``."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, in functions and for type checkers too."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "ccafl":
            modules += [f"ccafl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return {room_of(module) for module in modules if module.split(".")[0] == "ccafl"} - {"", "__version__"}


def test_every_room_is_listed():
    found = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    found -= {"__pycache__", "__init__", *FOUNDATION, *JOINING, *RESOURCES}
    assert sorted(listed_rooms()) == sorted(found)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_upward(path):
    order = [*FOUNDATION, *listed_rooms(), *JOINING]
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":  # what the package offers, each imported when it is asked for
        return
    later = [other for other in imported(path) if room in order and order.index(other) > order.index(room)]
    assert not later
