"""Labels that must-links join within a camera are one label for training."""

from datetime import timedelta
from pathlib import Path

import torch

from ccafl.data.identity_links import merged, numbered
from ccafl.data.links import MUST_LINK, Link
from ccafl.data.numbering import accumulate
from ccafl.data.records import Record
from colour_people import FIRST


def test_labels_of_one_camera_merge_and_those_of_two_do_not():
    track = FIRST, FIRST + timedelta(seconds=1)
    records = [Record(Path(f"{camera}{label}"), camera, label, None, None, track) for camera in "ab" for label in "123"]
    images = accumulate(records)
    pairs = ((("a", "3"), ("a", "1")), (("a", "2"), ("b", "2")))
    same = merged(images, numbered([Link(MUST_LINK, *pair, place="") for pair in pairs], images.names))
    assert same.groups.tolist() == [0, 1, 0, 2, 3, 4]
    assert same.images.names == (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("b", "3"))
    assert same.images.identities.tolist() == [0, 1, 0, 2, 3, 4]
    assert same.images.labels.tolist() == [0, 1, 0, 0, 1, 2]
    assert same.images.tracks[:, 0].tolist() == [0, 1, 0, 2, 3, 4]
    assert torch.equal(same.images.identity_cameras, torch.tensor([0, 0, 1, 1, 1]))
