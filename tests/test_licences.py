"""What the tests install may be used by anybody, and the list of it is up to date."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from docs.licences import listed, locked, refused

DOCUMENT = Path(__file__).parents[1] / "docs" / "licences.md"


def test_no_package_is_under_gpl_or_agpl():
    assert {name: licence for name, licence in listed(distributions()).items() if refused(licence)} == {}


@pytest.mark.parametrize(
    ("licence", "bad"),
    [
        *(("GPL-3.0-only", True), ("AGPL-3.0", True), ("GPLv2", True), ("GNU Affero General Public License v3", True)),
        *(("GNU General Public License v3 (GPLv3)", True), ("MIT AND GPL-2.0-or-later", True)),
        *(
            ("MIT OR GPL-2.0", False),
            ("LGPL-3.0-only", False),
            ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ),
        *(("Apache-2.0", False), ("not stated", False)),
    ],
)
def test_licences_that_others_could_not_live_with_are_refused(licence, bad):
    assert refused(licence) is bad


def test_the_list_is_of_the_packages_that_are_locked():
    document = dict(re.findall(r"^\| ([a-z0-9-]+) ([^ ]+) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE))
    assert len(document) > 100
    assert document.items() <= locked().items(), "make licences"
