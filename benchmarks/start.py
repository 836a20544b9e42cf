"""How long a command takes to start."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Comparison


def start() -> Iterator[Comparison]:
    """`ccafl --help` against importing torch, which most commands need."""
    command = Path(sys.executable).with_name("ccafl")

    def run(*arguments: str) -> int:
        return subprocess.run(arguments, check=True, capture_output=True).returncode

    yield Comparison(
        "start: ccafl --help",
        'python -c "import torch"',
        lambda: run(str(command), "--help"),
        lambda: run(sys.executable, "-c", "import torch"),
        lambda ours, theirs: ours == theirs == 0,
        bar=2.0,
    )
