"""No test is skipped silently: a run ends with how many were, why, and how to have them run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_page(browser, number): ...

def test_server(milvus_server): ...

def test_nothing(): ...
"""


def run_pytest(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of pytest on `TESTS`, with no program to be found."""
    for name in ("conftest.py", "harm.py", "milvus_server.py", "small_runs.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
    (folder / "test_some.py").write_text(TESTS)
    unset = ("CCAFL_REQUIRE_BROWSER", "CCAFL_MILVUS_SERVER", "CCAFL_TEST_MILVUS_URI")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, *options, folder]
    variables = inherited | {"PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["one process", "of its own"])
def test_skipped_tests_are_counted_by_reason_with_how_to_run_them(tmp_path, options):
    code, shown = run_pytest(tmp_path, *options)
    assert code == 0
    summary = shown[shown.index("skipped tests: 4") :]
    assert re.search(r"^ +3  no browser was found: .*apt-get install .*chromium", summary, re.MULTILINE)
    assert re.search(r"^ +1  no Milvus server was found: .*CCAFL_MILVUS_SERVER", summary, re.MULTILINE)


def test_a_required_browser_is_never_skipped(tmp_path):
    code, shown = run_pytest(tmp_path, CCAFL_REQUIRE_BROWSER="1")
    assert code == 1
    assert "1 passed, 1 skipped, 3 errors" in shown
    assert "no browser was found" in shown


def test_nothing_is_reported_if_nothing_is_skipped(tmp_path):
    code, shown = run_pytest(tmp_path, "-k", "nothing")
    assert code == 0
    assert "skipped" not in shown
