"""Footage that cannot be used: one line that says where, what and what to do, before anything is written; and footage
that can be used in part: a warning with counts.
"""

import os
import shutil

import av
import numpy as np
import pytest

from block_people import RATE, Filmed, Walk, scene, write_video
from ccafl.footage import ingest
from small_runs import refusal


def only_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def refuses(tmp_path, capsys):
    """Run the command, which must fail in one line and write nothing."""

    def refuses(*arguments):
        message = refusal(capsys, "ingest", *arguments, "--out", tmp_path / "site")
        assert not (tmp_path / "site").exists()
        return message

    return refuses


def test_a_file_that_is_still_being_written(tmp_path, filmed: Filmed, refuses):
    content = filmed.video.read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: content.rindex(b"moov") - 4])
    message = refuses(f"yard={filmed.video}", f"hall={tmp_path / 'a.mp4'}")
    assert str(tmp_path / "a.mp4") in message
    assert "still being written" in message


def test_only_sound(tmp_path, refuses):
    assert "no video stream (only sound)" in refuses(f"hall={only_sound(tmp_path / 'a.mp4')}")


def test_no_video_at_all(tmp_path, refuses):
    (tmp_path / "a.mp4").write_text("not a video\n" * 100)
    assert "cannot be read as a video" in refuses(f"hall={tmp_path / 'a.mp4'}")
    assert "no such file" in refuses(f"hall={tmp_path / 'b.mp4'}")
    (tmp_path / "empty").mkdir()
    assert "no pictures and no videos" in refuses(f"hall={tmp_path / 'empty'}")


def test_one_name_for_two_cameras(tmp_path, filmed: Filmed, refuses):
    shutil.copy(filmed.video, tmp_path / "b.mp4")
    assert "hall is named twice" in refuses(f"hall={filmed.video}", f"hall={tmp_path / 'b.mp4'}")


def test_the_same_video_for_two_cameras(tmp_path, filmed: Filmed, refuses):
    shutil.copy(filmed.video, tmp_path / "b.mp4")
    assert "same footage" in refuses(f"hall={filmed.video}", f"yard={tmp_path / 'b.mp4'}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{video}"], "names no camera; write CAMERA="),
        (["query={video}"], "cannot be a camera's name"),
        (["../hall={video}"], "cannot be a camera's name"),
        (["hall={video}", "--start", "hal=2026-05-01"], "no footage of camera hal"),
        (["hall={video}", "--start", "hall=yesterday"], "not a time"),
        (["hall={video}", "--fps", "0"], "is not a rate"),
        (["hall={video}", "--roi", "hall=1,2,3"], "is not a region"),
        (["hall={video}", "--detector", "onnx:"], "no such detector"),
        (["hall={video}", "--detector", "onnx:nowhere.onnx"], "no such file"),
        (["hall={video}", "--detector", "torchvision:resnet50"], "no such detector"),
        (["hall={video}", "--detector", "torchvision:ssdlite320_mobilenet_v3_large:nowhere.pth"], "cannot be had"),
        (["hall={video}", "--tracks", "hall=nowhere.txt"], "cannot be read"),
    ],
)
def test_what_cannot_be_meant(arguments, says, filmed: Filmed, refuses):
    assert says in refuses(*(argument.format(video=filmed.video) for argument in arguments))


def test_nobody_in_view_is_a_warning(tmp_path, capsys):
    video = write_video(tmp_path / "a.mp4", [scene((), frame) for frame in range(30)])
    counts = ingest([f"hall={video}"], tmp_path / "site")
    assert (counts["hall"].frames, counts["hall"].tracks) == (30, 0)
    assert "nobody was found in 30 frames" in capsys.readouterr().err
    assert (tmp_path / "site" / "manifest.csv").read_text().count("\n") == 1


def test_damage_is_a_warning_with_a_count_and_the_rest_is_kept(tmp_path, filmed: Filmed, capsys):
    content = bytearray(filmed.video.read_bytes())
    begin, end = content.index(b"mdat"), content.rindex(b"moov")
    middle = (begin + end) // 2
    content[middle : middle + (end - begin) // 8] = bytes((end - begin) // 8)
    (tmp_path / "a.mp4").write_bytes(content)
    counts = ingest([f"hall={tmp_path / 'a.mp4'}"], tmp_path / "site", tracks=[f"hall={filmed.tracks}"])
    assert f"{counts['hall'].damaged} damaged frames were left out" in capsys.readouterr().err
    assert counts["hall"].frames + counts["hall"].damaged == filmed.frames
    assert counts["hall"].tracks == 3


def test_a_rate_that_varies_gives_true_times(tmp_path):
    walk = Walk(1, 0, 5)
    times = [100 * frame + (2000 if frame >= 20 else 0) for frame in range(40)]
    video = write_video(tmp_path / "a.mp4", [scene((walk,), frame) for frame in range(40)], times)
    counts = ingest([f"hall={video}"], tmp_path / "site")
    assert counts["hall"].seconds == pytest.approx(5.9, abs=0.1 / RATE)


def test_pipes_and_lists_of_other_files_are_no_videos(tmp_path, filmed: Filmed, refuses):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is not a regular file" in refuses(f"hall={tmp_path / 'pipe.mp4'}")
    with av.open(str(tmp_path / "private.ts"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", "#EXTINF:10,", str(tmp_path / "private.ts"), "#EXT-X-ENDLIST"]
    (tmp_path / "list.m3u8").write_text("\n".join(lines) + "\n")
    assert "is a list of other files (hls), not a video" in refuses(f"hall={tmp_path / 'list.m3u8'}")
