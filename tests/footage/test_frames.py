"""Footage frame by frame: its times, its orientation, and what is damaged."""

import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from block_people import HEIGHT, RATE, WIDTH, Filmed, Walk, scene, write_video
from ccafl.errors import InputError
from ccafl.footage.cameras import open_cameras
from ccafl.footage.frames import Damage, Footage, FrameFolder, VideoFile


def all_frames(source, every: float = 0.0):
    damage = Damage()
    return [frame for frame in source.frames(every, damage) if frame[2] is not None], damage


def test_times_are_the_files_own_where_the_rate_varies(tmp_path):
    times = [0, 40, 80, 1080, 1100, 3000]
    video = write_video(tmp_path / "a.mp4", [scene((), frame) for frame in range(len(times))], times)
    frames, _ = all_frames(VideoFile(video))
    assert [seconds for _, seconds, _ in frames] == pytest.approx([time / 1000 for time in times], abs=0.002)


def test_sampling_keeps_numbers_and_times(filmed: Filmed):
    frames, _ = all_frames(VideoFile(filmed.video), every=0.5)
    assert [number for number, *_ in frames] == list(range(1, filmed.frames + 1, RATE // 2))
    assert frames[3][1] == pytest.approx(1.5)


def test_a_rotated_video_is_turned_upright(tmp_path, filmed: Filmed):
    content = bytearray(filmed.video.read_bytes())
    matrix = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    plain, turned = (next(iter(all_frames(VideoFile(path))[0]))[2] for path in (filmed.video, tmp_path / "turned.mp4"))
    assert turned.shape == (WIDTH, HEIGHT, 3)
    assert (turned == np.rot90(plain, -1)).all()  # a quarter turn clockwise


def test_damage_in_the_middle_is_counted_and_the_rest_keeps_its_numbers(tmp_path, filmed: Filmed):
    content = bytearray(filmed.video.read_bytes())
    begin, end = content.index(b"mdat"), content.rindex(b"moov")
    middle = (begin + end) // 2
    content[middle : middle + (end - begin) // 8] = bytes((end - begin) // 8)
    (tmp_path / "damaged.mp4").write_bytes(content)
    frames, damage = all_frames(VideoFile(tmp_path / "damaged.mp4"))
    assert 1 <= damage.frames < filmed.frames // 2
    assert len(frames) + damage.frames == filmed.frames
    assert frames[-1][:2] == (filmed.frames, pytest.approx((filmed.frames - 1) / RATE))


def test_a_video_whose_end_is_missing_is_read_as_far_as_it_goes(tmp_path, filmed: Filmed):
    with (
        av.open(str(filmed.video)) as given,
        av.open(str(tmp_path / "streamed.mp4"), "w", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    content = (tmp_path / "streamed.mp4").read_bytes()
    (tmp_path / "streamed.mp4").write_bytes(content[: len(content) * 2 // 3])
    frames, damage = all_frames(VideoFile(tmp_path / "streamed.mp4"))
    assert filmed.frames // 3 < len(frames) < filmed.frames
    assert damage.cut_short == 1


def test_a_folder_of_frames_is_a_camera_with_the_rate_of_the_table_or_of_seqinfo(tmp_path):
    for number in range(4):
        Image.fromarray(scene((Walk(1, 0, 10),), number)).save(tmp_path / f"{number:03}.png")
    with pytest.raises(InputError, match="how many frames a second"):
        FrameFolder(tmp_path)
    assert [seconds for _, seconds, _ in all_frames(FrameFolder(tmp_path, 2))[0]] == [0, 0.5, 1, 1.5]
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=4\n")
    assert FrameFolder(tmp_path).rate == 4


def test_files_of_one_camera_follow_each_other(tmp_path, filmed: Filmed):
    """A recorder's files in one folder: numbers and times go on, and each frame knows its file."""
    later = [scene((Walk(9, 0, 3),), frame) for frame in range(20)]
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "1.mp4").write_bytes(filmed.video.read_bytes())
    write_video(tmp_path / "rec" / "2.mp4", later)
    start = datetime(2026, 5, 1, 14, tzinfo=UTC)
    (footage,), _ = open_cameras({"hall": str(tmp_path / "rec")}, {"hall": start}, {})
    frames = [frame for frame in footage.frames(fps=None, damage=Damage()) if frame is not None]
    first_of_second = frames[filmed.frames]
    assert first_of_second.number == filmed.frames + 1
    assert (first_of_second.source, first_of_second.source_number) == (tmp_path / "rec" / "2.mp4", 1)
    assert footage.time_at(first_of_second.seconds) == start + timedelta(seconds=filmed.frames / RATE)


def test_a_camera_begins_when_its_file_says(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2026-05-01T14:03:00.000000Z"
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(scene((), 0), format="rgb24")))
        container.mux(stream.encode())
    (footage,), lines = open_cameras({"hall": str(path)}, {}, {})
    assert isinstance(footage, Footage)
    assert footage.start == datetime(2026, 5, 1, 14, 3, tzinfo=UTC)
    assert "metadata" in lines[0]


def test_without_a_time_a_camera_begins_by_its_files_date(tmp_path, filmed: Filmed):
    path = Path(tmp_path / "a.mp4")
    path.write_bytes(filmed.video.read_bytes())
    ended = datetime(2026, 5, 1, 14, 3, tzinfo=UTC)
    os.utime(path, (ended.timestamp(), ended.timestamp()))
    (footage,), lines = open_cameras({"hall": str(path)}, {}, {})
    assert footage.start == ended - timedelta(seconds=filmed.frames / RATE)
    assert "date" in lines[0]
