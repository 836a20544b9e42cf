"""What is shown where: in a log, on a narrow terminal, where the output cannot encode a name."""

import io
import re
import sys

import pytest
from PIL import Image
from rich.console import Console

from ccafl import terminal
from ccafl.terminal import bar, duration
from small_runs import SMALL, as_options, run


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_log_has_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    for options, lines in (({}, 2), ({"lines": False}, 0), ({"shown": False}, 0)):
        with bar("counting", 100, **options) as progress:
            for _ in range(99):
                now[0] += 0.7
                progress.advance()
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == lines, options
        if lines:
            assert errors[0] == "counting: 43 of 100, 30 s, about 40 s left"


@pytest.mark.parametrize("width", [36, 60, 80])
def test_a_narrow_terminal_keeps_bar_count_and_time_left(width, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=screen, force_terminal=True, width=width))
    with bar("training images: decoding", 12_345) as progress:
        progress.advance(4_321)
        progress.say({"total": 12.3456, "intra_centre": 1.234, "adversarial": 3.3})
    lines = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines() if "\u2501" in line]
    assert re.search("\u2501{5,}.* 4321/12345 .*-:--:--", lines[-1]), lines
    assert max(map(len, lines)) <= width


def test_a_terminal_says_that_the_model_is_being_loaded(world, tmp_path, monkeypatch, capsys):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=screen, force_terminal=True))
    run("data", "split", world, tmp_path / "split")
    assert "loading PyTorch" in screen.getvalue()
    run("gallery", "add", "clip-synth", world / "images", "--camera", "c1", "--db", tmp_path / "people.db")
    assert "loading the model" in screen.getvalue()
    assert "loading" not in "".join(capsys.readouterr())  # which a log would keep


def test_a_log_has_a_line_for_every_epoch(world, tmp_path, capsys):
    run("train", "demo", "--data", world, "--out", tmp_path / "run", *as_options(SMALL))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage")]
    assert [line.partition(":")[0] for line in lines] == [
        "stage 1, epoch 1 of 1",
        "stage 2, epoch 1 of 2, intra",
        "stage 2, epoch 2 of 2, inter",
    ]
    assert "mAP" in lines[-1]
    assert "left" in lines[1]


def test_names_that_the_output_cannot_encode_are_written_out(tmp_path, monkeypatch):
    for camera in ("door", "\u5165\u53e3", "\N{PERSON WITH BALL}"):
        folder = tmp_path / "data" / "query" / camera / "1"  # nothing trains, so no time is estimated
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 16)).save(folder / "a.png")
    monkeypatch.setenv("COLUMNS", "40")
    shown = tmp_path / "shown"
    with shown.open("w", encoding="ascii") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        run("data", "check", tmp_path / "data")
    assert b"\\u5165\\u53e3" in shown.read_bytes()
    assert b"door" in shown.read_bytes()
