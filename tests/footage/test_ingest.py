"""ccafl ingest: from footage to a data set, whole after any interruption."""

import json
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model, get_model_weights

from block_people import RATE, Filmed, Walk, edges, scene, write_truth, write_video
from ccafl.data.source import read_source
from ccafl.footage import Detections, ingest
from ccafl.footage.crops import CROPS
from ccafl.footage.torchvision_detector import DEFAULT
from small_runs import refusal, run

KILLS = int(os.environ.get("CCAFL_TEST_KILLS", "10"))
START = "2026-05-01T14:03:00Z"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_track_becomes_a_label_with_times_and_pictures_of_its_person(tmp_path, filmed: Filmed):
    site = tmp_path / "site"
    run(
        "ingest", f"hall={filmed.video}", "--tracks", f"hall={filmed.tracks}", "--start", f"hall={START}", "--out", site
    )
    source = read_source(site)
    assert source.kind == "manifest"
    assert {record.camera for record in source.train} == {"hall"}
    assert {record.label for record in source.train} == {"1", "2", "3"}
    for record in source.train:
        number = int(record.path.stem)
        assert record.path == site / "hall" / record.label / f"{number:08d}.jpg"
        assert record.time == datetime(2026, 5, 1, 14, 3, tzinfo=UTC) + timedelta(seconds=(number - 1) / RATE)
        left, top, right, bottom = edges(filmed.walks[int(record.label) - 1], number - 1)
        picture = np.asarray(Image.open(record.path), float)
        shown = scene(filmed.walks, number - 1)[top:bottom, max(0, left) : right].astype(float)
        assert picture.shape == shown.shape
        assert np.abs(picture - shown).mean() < 20
    assert max(np.unique([record.label for record in source.train], return_counts=True)[1]) <= CROPS


def test_detections_are_tracked_and_motion_needs_none(tmp_path, filmed: Filmed):
    given = ingest([f"hall={filmed.video}"], tmp_path / "given", detections=[f"hall={filmed.detections}"])
    assert given["hall"].tracks == 3
    by_motion = ingest([f"hall={filmed.video}"], tmp_path / "motion")
    assert by_motion["hall"].tracks >= 2
    assert by_motion["hall"].crops >= 4


def test_ones_own_detector_in_python(tmp_path, filmed: Filmed):
    def detector(rate: float):
        assert rate == pytest.approx(RATE)
        return lambda frame: Detections.of([[*edges(filmed.walks[0], frame.number - 1)]])

    assert ingest([f"hall={filmed.video}"], tmp_path / "site", detector=detector)["hall"].tracks == 1


def test_the_default_detector_is_torchvisions_once_its_weights_are_there(tmp_path, filmed: Filmed, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def taken(site: str) -> str:
        run("ingest", f"hall={filmed.video}", "--fps", "1", "--out", tmp_path / site)
        capsys.readouterr()
        return json.loads((tmp_path / site / "hall" / "ingest.json").read_text())["settings"]["detector"]

    assert taken("before") == "motion"
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = Path(get_model_weights(DEFAULT).DEFAULT.url).name
    torch.save(get_model(DEFAULT, weights=None, weights_backbone=None).state_dict(), folder / name)
    assert taken("after") == f"torchvision:{DEFAULT}"


def test_fps_looks_at_fewer_frames(tmp_path, filmed: Filmed):
    counts = ingest([f"hall={filmed.video}"], tmp_path / "site", tracks=[f"hall={filmed.tracks}"], fps=2)
    assert counts["hall"].frames == filmed.frames * 2 // RATE


def test_persons_outside_the_region_do_not_count(tmp_path, filmed: Filmed):
    """The third walk's feet are lower than the others'."""
    arguments = {"tracks": [f"hall={filmed.tracks}"], "regions": ["hall=0,135;240,135;240,160;0,160"]}
    ingest([f"hall={filmed.video}"], tmp_path / "site", **arguments)
    assert {record.label for record in read_source(tmp_path / "site").train} == {"3"}


def test_short_tracks_are_left_out_and_counted(tmp_path):
    video = write_video(tmp_path / "a.mp4", [scene((), frame) for frame in range(20)])
    (tmp_path / "gt.txt").write_text("".join(f"{frame},1,20,20,30,80,1,1,1\n" for frame in (3, 4, 5)))
    counts = ingest([f"hall={video}"], tmp_path / "site", tracks=[f"hall={tmp_path / 'gt.txt'}"])
    assert (counts["hall"].short, counts["hall"].tracks) == (1, 0)


@pytest.mark.faults
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, filmed: Filmed):
    """SIGKILL at any moment; the same command again gives the same files as an undisturbed run."""
    other = write_video(tmp_path / "yard.mp4", [scene((Walk(5, 10, 3),), frame) for frame in range(60)])
    command = [sys.executable, "-m", "ccafl.cli", "ingest", f"hall={filmed.video}", f"yard={other}"]
    command = [sys.executable, "-c", "from ccafl.cli import main; main()", *command[3:]]
    command += ["--start", f"hall={START}", "--start", f"yard={START}", "--out"]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    moments = random.Random(0)
    for kill in range(KILLS):
        out = tmp_path / f"killed{kill}"
        victim = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = moments.randrange(1, 12)
        while victim.poll() is None and len(files_in(out) if out.exists() else ()) < seen:
            pass
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        subprocess.run([*command, out], check=True, capture_output=True)
        assert files_in(out) == files_in(tmp_path / "whole")


def test_a_finished_camera_is_kept_and_another_can_be_added(tmp_path, filmed: Filmed):
    site = tmp_path / "site"
    ingest([f"hall={filmed.video}"], site, tracks=[f"hall={filmed.tracks}"])
    before = {path: path.stat().st_mtime_ns for path in (site / "hall").rglob("*.jpg")}
    walks = (Walk(5, 10, 3),)
    other = write_video(tmp_path / "yard.mp4", [scene(walks, frame) for frame in range(60)])
    tracks = [f"hall={filmed.tracks}", f"yard={write_truth(tmp_path / 'yard.txt', walks, 60)}"]
    ingest([f"hall={filmed.video}", f"yard={other}"], site, tracks=tracks)
    assert {path: path.stat().st_mtime_ns for path in (site / "hall").rglob("*.jpg")} == before
    assert {record.camera for record in read_source(site).train} == {"hall", "yard"}


def test_a_camera_made_with_other_settings_is_not_passed_off_as_this_one(tmp_path, filmed: Filmed, capsys):
    site = tmp_path / "site"
    ingest([f"hall={filmed.video}"], site, tracks=[f"hall={filmed.tracks}"])
    message = refusal(capsys, "ingest", f"hall={filmed.video}", "--out", site)
    assert "other footage or with other settings" in message
    assert json.loads((site / "hall" / "ingest.json").read_text())["counts"]["tracks"] == 3
