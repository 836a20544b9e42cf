"""The benchmark's measures, and that tracks and pictures from true detections reach them."""

import shutil

import numpy as np
import pytest
from benchmarks.footage import pictures_on_persons, qualities, scores

from block_people import RATE, Filmed

pytest.importorskip(
    "trackeval",
    reason="TrackEval is not installed: pip install --no-deps trackeval (it asks for OpenCV's build for desktops)",
)

BOXES = np.array([[0, 0, 10, 30], [100, 0, 110, 30]], np.float32)


def test_scores_of_perfect_tracks_and_of_one_that_changes_person():
    true = {frame: (np.array([1, 2]), BOXES) for frame in range(1, 11)}
    assert scores(true, true) == {"HOTA": pytest.approx(1), "IDF1": pytest.approx(1)}
    changed = {frame: (np.array([5, 6] if frame <= 5 else [6, 5]), BOXES) for frame in range(1, 11)}
    assert scores(true, changed)["IDF1"] == pytest.approx(0.5)
    missing = {frame: (np.array([5, -1]), BOXES) for frame in range(1, 11)}
    assert scores(true, missing)["IDF1"] == pytest.approx(2 / 3)


def test_pictures_count_for_the_person_that_they_show(tmp_path):
    true = {1: (np.array([1, 2]), BOXES)}
    table = tmp_path / "crops.csv"
    table.write_text('label,frame,box\n7,1,"0,0,10,30"\n7,1,"0,2,10,30"\n7,1,"100,0,10,30"\n7,1,"50,0,10,30"\n')
    assert pictures_on_persons(table, true) == (0.75, 0.5)


def test_true_detections_give_good_tracks_and_pictures(tmp_path, filmed: Filmed):
    shutil.copy(filmed.video, tmp_path / "c1.mp4")
    shutil.copy(filmed.tracks, tmp_path / "c1.txt")
    (tmp_path / "cameras.csv").write_text(f"camera,start,fps\nc1,2026-05-01T14:00:00Z,{RATE}\n")
    row = next(qualities(tmp_path))
    assert row["detector"] == "true detections"
    assert row["IDF1"] >= 0.85
    assert row["on_person"] >= 0.95
