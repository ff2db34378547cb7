"""One answer from the two streams of a video, rgb and flow: pure NumPy.

TSN adds the scores before softmax, each stream's with its weight; the weights are not
normalised (tools/eval_scores.py). A video that one modality alone has scored says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.consensus import softmax
from tsnd_client.model_info import Modality

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """What each stream's scores are multiplied by before they are added.

    Attributes:
        rgb: Weight of rgb; finite, 0 or more.
        flow: Weight of flow; likewise. Not both are 0.
    """

    rgb: float = 1.0
    flow: float = 1.0

    def __post_init__(self) -> None:
        weights = (self.rgb, self.flow)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(
                f"weights must be 0 or more and not both 0, got {self.rgb:g} and {self.flow:g}"
            )

    def of(self, modality: Modality) -> float:
        """Return the weight of one modality."""
        return self.rgb if modality is Modality.RGB else self.flow


KINETICS_WEIGHTS = FusionWeights(1.0, 1.0)
"""Of the published results on Kinetics."""

UCF101_WEIGHTS = FusionWeights(1.0, 1.5)
"""Of the published results on UCF101 and HMDB51."""

DEMO_2016_WEIGHTS = FusionWeights(1.0, 0.2)
"""Of the demo of the ActivityNet 2016 entry."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoScores:
    """The scores of a video, and what they are made of.

    Attributes:
        scores: float32 [classes], before softmax.
        streams: The scores of each modality that was there, unweighted.
        missing: Modalities that were asked for and are not in `scores`.
    """

    scores: Scores
    streams: Mapping[Modality, Scores]
    missing: tuple[Modality, ...] = ()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities that `scores` are made of."""
        return tuple(self.streams)

    @property
    def is_partial(self) -> bool:
        """Whether a modality that was asked for is missing."""
        return bool(self.missing)

    @property
    def probabilities(self) -> Scores:
        """float32 [classes]: softmax of the scores."""
        return softmax(self.scores)


def fuse(
    streams: Mapping[Modality, npt.ArrayLike | None], weights: FusionWeights = KINETICS_WEIGHTS
) -> VideoScores:
    """Add up the scores of a video's streams.

    A video that only one stream has scored keeps that stream's scores as they are, without
    its weight: alone, a weight would only sharpen or flatten its probabilities.

    Args:
        streams: By modality that was asked for, the scores [classes] of the video before
            softmax; None where there are none.
        weights: Of the modalities.

    Raises:
        ValueError: No stream has scores, or they have different numbers of classes.
    """
    found = {
        modality: np.asarray(scores, np.float32)
        for modality, scores in streams.items()
        if scores is not None
    }
    if not found:
        raise ValueError("there are no scores of any modality to fuse")
    if len({scores.shape for scores in found.values()}) > 1:
        shapes = ", ".join(f"{modality} {scores.shape}" for modality, scores in found.items())
        raise ValueError(f"the streams must have the same classes, got scores of {shapes}")
    missing = tuple(modality for modality in streams if modality not in found)
    if len(found) == 1:
        (only,) = found.values()
        return VideoScores(only, found, missing)
    total = sum(
        weights.of(modality) * scores.astype(np.float64) for modality, scores in found.items()
    )
    return VideoScores(np.asarray(total, np.float32), found, missing)
