"""The package as others get it: what the wheel holds, and that it works where nothing else is installed."""

import os
import subprocess
import sys
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "ccafl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"ccafl/py.typed", "ccafl/configs/own.yaml", "ccafl/service/page/index.html"} <= wanted
    assert "ccafl/weights/clip-synth.safetensors" in wanted
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == wanted


def test_every_extra_is_in_the_wheel_and_in_the_readme(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(archive.read(name))
    extras = about.get_all("Provides-Extra") or []
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert sorted(extras) == sorted(declared)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [extra for extra in extras if f"| `{extra}` |" not in readme] == []


@pytest.mark.install
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def do(*command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout

    do(sys.executable, "-m", "venv", "empty")
    programs = tmp_path / "empty" / ("Scripts" if sys.platform == "win32" else "bin")
    constraint = ("--constraint", ROOT / "constraints.txt")
    do(programs / "python", "-m", "pip", "install", "--quiet", "--no-compile", *constraint, wheel)
    do(programs / "python", "-m", "pip", "check")
    ccafl = programs / "ccafl"
    do(ccafl, "demo", "--out", "demo")
    assert (tmp_path / "demo" / "results.json").is_file()
    do(ccafl, "gallery", "add", "clip-synth", "demo/world", "--db", "people.db")
    picture = next((tmp_path / "demo" / "world").rglob("*.jpg"))
    assert do(ccafl, "search", picture, "--db", "people.db").count(".jpg")
