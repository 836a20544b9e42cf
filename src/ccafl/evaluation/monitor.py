"""What is measured while a run trains, with the truth that training may not see."""

from dataclasses import asdict, dataclass

from torch import Tensor

from ccafl.data.batches import ImageStore
from ccafl.data.records import EvaluationImages
from ccafl.evaluation.association_quality import association_quality
from ccafl.evaluation.ranking import Ranking, rank
from ccafl.training.run import Embed


@dataclass(frozen=True, slots=True)
class RankedSet:
    """Query and gallery, with their images."""

    query: EvaluationImages
    gallery: EvaluationImages
    query_store: ImageStore
    gallery_store: ImageStore


@dataclass(frozen=True, slots=True)
class Monitor:
    """`ccafl.training.run.Observer` with the true persons (N,) and a test set, each where known."""

    persons: Tensor | None
    test: RankedSet | None

    def association_quality(self, association: Tensor) -> dict[str, float]:
        """precision, recall, f1, joined; empty where the persons are unknown."""
        return {} if self.persons is None else asdict(association_quality(association, self.persons))

    def ranking(self, embed: Embed) -> dict[str, float]:
        """mAP, rank1, rank5, rank10, unmatched; empty without a test set."""
        if self.test is None:
            return {}
        query, gallery = self.test.query, self.test.gallery
        features = embed(self.test.query_store), embed(self.test.gallery_store)
        return figures(rank(*features, query.persons, query.cameras, gallery.persons, gallery.cameras))


def figures(ranking: Ranking) -> dict[str, float]:
    """The figures people quote, 0..1, and how many queries had no match."""
    ranks = {f"rank{depth}": ranking.cmc[min(depth, len(ranking.cmc)) - 1].item() for depth in (1, 5, 10)}
    return {"mAP": ranking.mAP, **ranks, "unmatched": ranking.unmatched}
