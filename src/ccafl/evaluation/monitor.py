"""What is measured while a run trains, using the truth that training must not see."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ccafl.data.numbering import EvaluationImages, LabelledImages, known_cameras
from ccafl.data.store import ImageStore
from ccafl.evaluation.alignment import text_image_alignment
from ccafl.evaluation.association_quality import association_quality
from ccafl.evaluation.camera_agnosticism import camera_probe, own_camera_neighbours, same_person_mass
from ccafl.evaluation.ranking import Ranking, rank
from ccafl.method.share import Share
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.training.run import Embed

_MASS_SAMPLES = 2048  # at most, training images whose probabilities are averaged


@dataclass(frozen=True, slots=True)
class RankedSet:
    """Query and gallery, with their images, and the names of the cameras known from training."""

    query: EvaluationImages
    gallery: EvaluationImages
    query_store: ImageStore
    gallery_store: ImageStore
    trained_cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Monitor:
    """`ccafl.training.run.Observer` with the true persons (N,) and a test set, each where known.

    ``scale`` multiplies the classifier's cosines before the softmax.
    """

    persons: Tensor | None
    test: RankedSet | None
    scale: float

    def text_alignment(self, text_features: Tensor, image_features: Tensor, images: LabelledImages) -> dict[str, float]:
        """own_cosine, other_cosine, rank_percentile."""
        identities, cameras = (
            numbers.to(text_features.device) for numbers in (images.identities, images.identity_cameras)
        )
        return asdict(text_image_alignment(text_features, image_features, identities, cameras))

    def association_quality(self, association: Tensor) -> dict[str, float]:
        """precision, recall, f1, joined; empty if the persons are unknown."""
        return {} if self.persons is None else asdict(association_quality(association, self.persons))

    def same_person_mass(
        self, features: Tensor, classifier: GlobalIDClassifier, images: LabelledImages, share: Share | None
    ) -> float | None:
        """Mean over evenly chosen training images; None if the persons are unknown."""
        if self.persons is None:
            return None
        chosen = torch.arange(0, len(images), -(-len(images) // _MASS_SAMPLES))
        with torch.no_grad():
            cosines = classifier(features[chosen.to(features.device)])
        truth = (images.identities[chosen].to(features.device), self.persons.to(features.device))
        return float(same_person_mass(cosines, *truth, self.scale, share).mean())

    def ranking(self, embed: Embed) -> dict[str, float]:
        """mAP, rank1, rank5, rank10, unmatched, camera_probe, camera_chance, own_camera_neighbours, own_camera_chance;
        empty without a test set.
        """
        if self.test is None:
            return {}
        query, gallery = self.test.query, self.test.gallery
        known = self.test.trained_cameras
        features = (
            embed(self.test.query_store, known_cameras(query, known)),
            embed(self.test.gallery_store, known_cameras(gallery, known)),
        )
        truth = (query.persons, query.cameras, gallery.persons, gallery.cameras)
        return figures(rank(*features, *truth)) | camera_figures(*features, *truth)


def figures(ranking: Ranking) -> dict[str, float]:
    """The usual figures, 0..1, and the number of queries without a match."""
    ranks = {f"rank{depth}": ranking.cmc[min(depth, len(ranking.cmc)) - 1].item() for depth in (1, 5, 10)}
    return {"mAP": ranking.mAP, **ranks, "unmatched": ranking.unmatched}


def camera_figures(
    query_features: Tensor,
    gallery_features: Tensor,
    query_persons: Tensor,
    query_cameras: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
) -> dict[str, float]:
    """How much features reveal the camera, each figure with its chance level."""
    features, cameras, persons = (
        torch.cat(both)
        for both in (
            (query_features, gallery_features),
            (query_cameras, gallery_cameras),
            (query_persons, gallery_persons),
        )
    )
    near, chance = own_camera_neighbours(
        query_features, gallery_features, query_persons, query_cameras, gallery_persons, gallery_cameras
    )
    return {
        "camera_probe": camera_probe(features, cameras, persons),
        "camera_chance": 1 / len(cameras.unique()),
        "own_camera_neighbours": near,
        "own_camera_chance": chance,
    }
