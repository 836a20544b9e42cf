"""Whether a model's probabilities hold for a gallery, seen by strangers: labels of one camera are different persons.

A curve that was learned with some cameras says little about others: there, strangers may look as alike as one person
did. The labels of a gallery tell, without anybody knowing who is who across cameras.
"""

from collections import defaultdict

import numpy as np

from ccafl.calibration import Calibration
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import Tracklet

_PICTURES = 4096  # compared at most, as many of each camera, and
_OF_CAMERA = 512  # of one camera
_LEAST_PAIRS = 100


def strangers_share(gallery: Gallery, calibration: Calibration) -> float | None:
    """How many of a gallery's pictures are expected to show a person by their probabilities alone though they show
    strangers, as a share of the pictures that a person is taken to have. 0 would be best; None if there are too few
    labels to tell.
    """
    by_camera: dict[str, list[Tracklet]] = defaultdict(list)
    catalogue = gallery.catalogue()
    for tracklet in sorted(catalogue.of_label):
        by_camera[tracklet[0]].append(tracklet)
    identities = gallery.ledger.identities()
    most = min(_OF_CAMERA, max(2, _PICTURES // max(len(by_camera), 1)))
    total, pairs = 0.0, 0
    for tracklets in by_camera.values():
        owned = [(key, tracklet) for tracklet in tracklets for key in catalogue.of_label[tracklet].keys]
        owned = owned[:: -(-len(owned) // most)]
        features = gallery.vectors([key for key, _ in owned])
        persons = [identities.get(tracklet) or f"{tracklet[1]}\n" for _, tracklet in owned]  # no name has a \n
        numbers = np.unique(persons, return_inverse=True)[1]
        cosines = (features @ features.T)[numbers[:, None] != numbers]
        total += float(calibration.probabilities(cosines, len(gallery)).sum())
        pairs += len(cosines)
    return None if pairs < _LEAST_PAIRS else total / pairs * len(gallery) / calibration.pictures
