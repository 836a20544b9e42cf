"""Settings for all tests, fixtures that several of them share, and a summary of the skipped ones."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from harm import Tally
from milvus_server import running_server, server_program
from small_runs import SIZE, SMALL, as_options, run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples in every run, and no deadline: a test fails when something breaks, not when the machine is busy.
settings.register_profile("ccafl", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ccafl")

NO_BROWSER = "no browser was found: install Debian's chromium (apt-get install --no-install-recommends chromium)"
NO_MILVUS = (
    "no Milvus server was found: install one as tests/milvus_server.py says and set CCAFL_MILVUS_SERVER to its "
    "program, or set CCAFL_TEST_MILVUS_URI to the address of one that runs"
)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium. Without it, a test is skipped, or fails if CCAFL_REQUIRE_BROWSER is set."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CCAFL_REQUIRE_BROWSER"):
            pytest.fail(NO_BROWSER, pytrace=False)
        pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus server for tests; without one, a test is skipped."""
    if address := os.environ.get("CCAFL_TEST_MILVUS_URI"):
        yield address
    elif program := server_program():
        with running_server(program, tmp_path_factory.mktemp("milvus")) as address:
            yield address
    else:
        pytest.skip(NO_MILVUS)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts what a test tried and what was survived, for the summary at the end."""
    counted = Tally()
    yield counted
    request.node.user_properties.append(("tally", (counted.tried, counted.survived)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world of 12 persons, for training and testing; tests do not change it."""
    from ccafl.synthetic.write import synthesize

    out = tmp_path_factory.mktemp("data") / "world"
    return synthesize(out, seed=3, persons=12, cameras=3, images=3, size=SIZE).parent


@pytest.fixture(scope="session")
def small_run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the world, in which some labels are joined; tests do not change it."""
    out = tmp_path_factory.mktemp("small") / "run"
    run("train", "market-split", "--data", world, "--out", out, *as_options((*SMALL, "stage2.association.rate=1.0")))
    return out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was tried and survived; how many tests were skipped, why, and how to have them run."""
    every = [report for reports in terminalreporter.stats.values() for report in reports]
    tried, survived = Counter[str](), Counter[str]()
    for report in every:
        if getattr(report, "when", None) == "teardown":
            test = report.nodeid.rpartition("::")[2].partition("[")[0]
            for _, counted in (tally for tally in report.user_properties if tally[0] == "tally"):
                tried[test] += counted[0]
                survived[test] += counted[1]
    if tried:
        terminalreporter.section("harm done")
        for test in tried:
            terminalreporter.line(f"{test}: tried {tried[test]:,}, survived {survived[test]:,}")
        terminalreporter.line(f"tried {tried.total():,}, survived {survived.total():,}")
    reports = terminalreporter.stats.get("skipped", [])
    if not reports:
        return
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    terminalreporter.section(f"skipped tests: {len(reports)}", yellow=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4}  {reason}")
