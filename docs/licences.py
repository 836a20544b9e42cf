"""`make licences`: the licences of what the tests install, as its packages state them; none may be the GPL or AGPL."""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"

HEAD = """# Licences

Everything in `requirements.lock` that the tests install on Linux, with the licence that each package states.
`make licences` writes this list, and fails if a licence is the GPL or the AGPL. ccafl itself needs far fewer packages
(see `pyproject.toml`) and is under Apache-2.0.

| package | licence |
|---|---|
"""
_COPYLEFT = re.compile(r"\b(?:A?GPL)(?:v?\d|\b)|Affero|GNU General Public", re.IGNORECASE)


def licence_of(package: Distribution) -> str:
    """What a package says: an SPDX expression, or a line of its field, or its classifiers; "not stated" if nothing."""
    about = package.metadata
    classes = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    field = about.get("License", "").strip()
    short = field if len(field) < 60 and "\n" not in field and field.upper() != "UNKNOWN" else ""
    return about.get("License-Expression") or short or ", ".join(classes) or field.partition("\n")[0] or "not stated"


def refused(licence: str) -> bool:
    """Whether a package may only be used under the GPL or the AGPL; the LGPL, or a choice of another, may be."""
    ways = re.split(r"\bOR\b", licence)
    return all(_COPYLEFT.search(way) is not None for way in ways)


def locked() -> dict[str, str]:
    """Versions in requirements.lock by package, names as PyPI compares them."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", LOCK.read_text("utf-8"), re.MULTILINE))


def listed(packages: Iterable[Distribution]) -> dict[str, str]:
    """Licences of those packages that are in requirements.lock, in its order, by name."""
    found = {re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower(): package for package in packages}
    return {name: licence_of(found[name]) for name in locked() if name in found}


def main() -> int:
    """Print the list; 1 if a package is refused."""
    licences, versions = listed(distributions()), locked()
    sys.stdout.write(HEAD + "".join(f"| {name} {versions[name]} | {licence} |\n" for name, licence in licences.items()))
    bad = [name for name, licence in licences.items() if refused(licence)]
    if bad:
        sys.stderr.write(f"under GPL or AGPL: {', '.join(bad)}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
