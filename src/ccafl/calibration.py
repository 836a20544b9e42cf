"""Scores of a search as probabilities of being the same person. Does not need torch.

An encoder's `Calibration` says how much more often a cosine is seen between pictures of one person than of two. The
probability follows from that and from how rare pictures of the person are in the gallery.
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

Verdict = Literal["likely", "unsure", "unlikely"]

LIKELY, UNLIKELY = 0.7, 0.2
"""From this probability a hit is likely, and below that one unlikely."""
MOST_STRANGERS = 2.0
"""Strangers that may look like one person, as a share of a person's pictures: with more, the curve does not hold."""
_MOST = 0.5  # share of a gallery that one person is taken to have at most
_STEEPEST = 700.0  # log odds beyond which exp overflows


@dataclass(frozen=True, slots=True)
class Calibration:
    """How an encoder's cosines tell one person from two.

    Attributes:
        slope: by which the log of the ratio of both densities rises with the cosine.
        offset: that log at cosine 0.
        pictures: that a person had in training, on average: as many are assumed in the gallery.
        joins: whether the curve was fitted to pictures of one person in different cameras, as joined in training;
            otherwise to pictures of one label, which are more alike.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Annotated[float, Field(allow_inf_nan=False)]
    pictures: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    joins: bool

    def probability(self, cosine: float, size: int) -> float:
        """That a picture of a gallery of ``size`` pictures shows the person, given its cosine with the query."""
        return float(self.probabilities(np.array(cosine), size))

    def probabilities(self, cosines: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """`probability` of each cosine; the shape stays."""
        share = min(self.pictures / max(size, 1), _MOST)
        odds = self.offset + self.slope * cosines.astype(np.float64) + np.log(share / (1 - share))
        made: NDArray[np.float64] = 1 / (1 + np.exp(np.clip(-odds, -_STEEPEST, _STEEPEST)))
        return made


CALIBRATION: TypeAdapter[Calibration] = TypeAdapter(Calibration)
"""Reads and writes one as JSON."""


def verdict(probability: float) -> Verdict:
    """``likely``, ``unsure`` or ``unlikely``."""
    if probability >= LIKELY:
        return "likely"
    return "unsure" if probability >= UNLIKELY else "unlikely"
