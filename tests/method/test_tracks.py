"""Joining tracks within a camera: by looks, never against time or people's answers."""

import torch
import torch.nn.functional as F

from ccafl.config import Association
from ccafl.method.intra_camera import intra_camera_losses
from ccafl.method.memory import HybridMemory
from ccafl.method.tracks import join_tracks, maybe_one_person, overlapping_tracks, tracks_of_two_persons
from ccafl.training.association import associate_identities

PICTURES = 4


def world(seed: int = 0, persons: int = 40, each: int = 2, cameras: int = 2):
    """Features of pictures, their labels, the labels' cameras and tracks, and the true person within the camera."""
    random = torch.Generator().manual_seed(seed)
    person = torch.arange(persons).repeat_interleave(each).repeat(cameras)
    camera = torch.arange(cameras).repeat_interleave(persons * each)
    looks = torch.randn(persons, 32, generator=random)[person] + 0.2 * torch.randn(len(person), 32, generator=random)
    labels = torch.arange(len(person)).repeat_interleave(PICTURES)
    features = F.normalize(looks[labels] + 0.5 * torch.randn(len(labels), 32, generator=random))
    begin = 100.0 * (torch.arange(len(person)) % each) + torch.rand(len(person), generator=random) * 80
    tracks = torch.stack([torch.arange(len(person)).double(), begin.double(), begin.double() + 15], dim=1)
    return features, labels, camera, tracks, person + persons * camera


def test_overlaps_are_those_of_a_plain_double_loop():
    _, _, cameras, tracks, _ = world(persons=15, each=3)
    tracks = torch.cat([tracks, tracks[:5] + torch.tensor([0.0, 30.0, 30.0])])[3:]  # with two tracks, or none
    rows = tracks.tolist()
    plain = {
        (int(min(a, c)), int(max(a, c)))
        for a, b1, e1 in rows
        for c, b2, e2 in rows
        if a != c and cameras[int(a)] == cameras[int(c)] and b1 <= e2 and b2 <= e1
    }
    assert set(map(tuple, overlapping_tracks(cameras, tracks).tolist())) == plain


def test_tracks_of_one_person_join_and_those_of_two_do_not():
    features, labels, cameras, tracks, truth = world()
    groups = join_tracks(features, labels, cameras, tracks).groups
    together = groups[:, None] == groups
    same = truth[:, None] == truth
    own = ~torch.eye(len(groups), dtype=torch.bool)
    assert (together & same & own).sum() > 0.9 * (same & own).sum()
    assert (together & ~same).sum() == 0


def test_a_track_of_two_persons_is_doubtful():
    features, labels, cameras, tracks, truth = world()

    def doubtful(labels, tracks, shown=features):
        learned = join_tracks(shown, labels, cameras, tracks).log_ratio
        return tracks_of_two_persons(shown, labels, tracks, learned)

    assert len(doubtful(labels, tracks)) == 0
    assert len(doubtful(labels[PICTURES - 1 :], tracks, features[PICTURES - 1 :])) == 0  # the first has one picture
    one, other = 3, 8  # a tracker goes on with another person
    assert truth[one] != truth[other]
    changed, begin = labels.clone(), tracks.clone()
    changed[labels == other] = one
    begin[one, 2] = begin[other, 2] = tracks[[one, other], 2].max()
    assert doubtful(changed, begin[torch.arange(len(begin)) != other]).tolist() == [one]


def test_neither_time_nor_answers_nor_other_labels_are_overruled():
    features, labels, cameras, tracks, _ = world()
    at_once = tracks.clone()
    at_once[1, 1:] = at_once[0, 1:]  # labels 0 and 1 look alike
    assert join_tracks(features, labels, cameras, tracks).groups[:2].tolist() == [0, 0]
    assert join_tracks(features, labels, cameras, at_once).groups[:2].tolist() == [0, 1]
    assert join_tracks(features, labels, cameras, tracks[1:]).groups[:2].tolist() == [0, 1]  # 0 is no track
    link = torch.tensor([[1, 0]])
    assert join_tracks(features, labels, cameras, tracks, cannot_link=link).groups[:2].tolist() == [0, 1]
    assert join_tracks(features, labels, cameras, at_once, must_link=link).groups[:2].tolist() == [0, 0]


def test_the_association_joins_tracks_only_where_it_may():
    features, labels, cameras, tracks, truth = world()
    off, on = (
        associate_identities(
            features, labels, cameras, Association(rate="auto", centred_by_camera=True, tracks=wanted), tracks=tracks
        ).identities
        for wanted in (False, True)
    )
    for found, expected in ((off, False), (on, True)):
        pairs = (found[:, None] == found) & (found >= 0) & (truth[:, None] == truth)
        assert bool(pairs.fill_diagonal_(False).any()) == expected


def test_the_most_similar_that_are_no_strangers_may_be_one_person():
    random = torch.Generator().manual_seed(0)
    centres, cameras = F.normalize(torch.randn(20, 8, generator=random)), torch.tensor([0] * 12 + [1] * 8)
    strangers = torch.tensor([[0, 1], [2, 11], [13, 17]])
    masks = maybe_one_person(centres, cameras, strangers)
    assert [len(mask) for mask in masks] == [12, 8]
    apart = {(0, 0, 1), (0, 2, 11), (1, 1, 5)}
    for camera, mask in enumerate(masks):
        assert (mask == mask.T).all()
        assert not mask.diagonal().any()
        assert (mask.sum(1) >= 5).all()
        assert not any(mask[one, other] for place, one, other in apart if place == camera)


def test_who_may_be_the_same_person_is_no_negative():
    random = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(4, 8, generator=random))
    instances = F.normalize(torch.randn(3, 4, 8, generator=random), dim=2)
    features, labels = torch.randn(4, 8, generator=random), torch.tensor([0, 0, 1, 3])
    unknown = torch.zeros(4, 4, dtype=torch.bool)
    unknown[:3, 3] = unknown[3, :3] = True  # the last of four labels may be any of the others
    found = intra_camera_losses(features, labels, HybridMemory(centres, instances), unknown=unknown)
    known = intra_camera_losses(features[:3], labels[:3], HybridMemory(centres[:3], instances[:, :3]))
    for name, loss in known.items():  # the last sample is compared with nobody, so that its losses are 0
        assert torch.allclose(found[name] * 4, loss * 3, atol=1e-5), name


def test_the_few_tracks_of_one_person_join_among_many_of_people_who_look_alike():
    """As features are after training: the chance of being one person rises steeply among the most similar only."""
    random = torch.Generator().manual_seed(0)
    people, again, cameras = 150, 20, 2
    person = torch.cat([torch.arange(people), torch.arange(again)]).repeat(cameras)
    camera = torch.arange(cameras).repeat_interleave(people + again)
    looks = torch.randn(12, 32, generator=random)[torch.randint(12, (people * cameras,), generator=random)]
    looks = 0.75 * looks + 0.66 * torch.randn(len(looks), 32, generator=random)
    person += people * camera
    labels = torch.arange(len(person)).repeat_interleave(PICTURES)
    features = F.normalize(looks[person][labels] + 0.2 * torch.randn(len(labels), 32, generator=random))
    begin = 400 * torch.rand(len(person), generator=random).double()
    begin[torch.arange(len(person)) % (people + again) >= people] += 1000
    tracks = torch.stack([torch.arange(len(person)).double(), begin, begin + 8], dim=1)
    groups = join_tracks(features, labels, camera, tracks).groups
    together, same = (torch.triu(names[:, None] == names, 1) for names in (groups, person))
    assert (together & same).sum() > 0.9 * same.sum()
    assert (together & ~same).sum() < 0.1 * same.sum()
