"""What figures were made with: the code, the machine and the libraries."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ccafl

_LIBRARIES = ("torch", "torchvision", "open_clip_torch", "numpy", "scipy", "pillow")


def commit() -> str:
    """The commit of the running code, with "+" if it was changed since; the version if there is no repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        finished = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        return finished.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {ccafl.__version__}"


def hardware() -> str:
    """The machine's processor, threads and GPUs."""
    import torch

    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} cores of {name}, {torch.get_num_threads()} torch threads, {', '.join(gpus) or 'no GPU'}"


def versions() -> dict[str, str]:
    """Of ccafl, Python and the libraries that figures depend on."""
    found = {"ccafl": ccafl.__version__, "Python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
