"""Average recall over the average number of proposals (AR@AN), as in the ActivityNet toolkit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import GroundTruth, Indices, Predictions
from tsnd_client.evaluation.ordering import Ties, by_group_and_score
from tsnd_client.evaluation.overlap import overlaps

RECALL_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_STEPS = 100


@dataclass(frozen=True, slots=True, eq=False)
class RecallCurve:
    """Recall over the mean number of proposals per video.

    Attributes:
        thresholds: T temporal IoUs.
        proposals_per_video: float64 [100], rising.
        recall: float64 [T, 100].
    """

    thresholds: tuple[float, ...]
    proposals_per_video: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]

    @property
    def average(self) -> npt.NDArray[np.float64]:
        """float64 [100], the mean over thresholds."""
        mean: npt.NDArray[np.float64] = self.recall.mean(axis=0)
        return mean

    @property
    def area(self) -> float:
        """The area under `average`, over that of recall 1: from 0 to 1."""
        last = self.proposals_per_video[-1]
        return float(np.trapezoid(self.average, self.proposals_per_video) / last) if last else 0.0

    def at(self, proposals_per_video: float) -> float:
        """Read `average` off the curve; NaN beyond its ends."""
        return float(
            np.interp(
                proposals_per_video,
                self.proposals_per_video.round(9),  # 1.0000000000000002 is 1
                self.average,
                left=np.nan,
                right=np.nan,
            )
        )


def average_recall(
    proposals: Predictions,
    truth: GroundTruth,
    *,
    proposals_per_video: float | None = None,
    thresholds: Sequence[float] = RECALL_THRESHOLDS,
    ties: Ties = Ties.ORIGINAL,
) -> RecallCurve:
    """Compute which share of the instances is covered by the best proposals of each video.

    Classes do not matter. Of each video the same share of its proposals is kept, such that
    there are `proposals_per_video` on average; the curve has a point at every hundredth of
    them. An instance counts as found when any of these overlaps it enough.

    Args:
        proposals: In the unit of the truth; of each video the highest scores come first.
        truth: The instances.
        proposals_per_video: The last point of the curve; None means all proposals.
        thresholds: Temporal IoUs, each above 0.
        ties: Which of equal scores comes first.

    Returns:
        The curve; all zeros when there are no proposals.
    """
    videos, total = len(truth.videos), len(proposals.video)
    if not total:
        shape = (len(thresholds), _STEPS)
        return RecallCurve(tuple(thresholds), np.zeros(_STEPS), np.zeros(shape))
    wanted = float(proposals_per_video or float(total) / videos)
    counts = np.bincount(proposals.video, minlength=videos)
    # The order of operations decides where a product is just below a whole number: as there.
    kept = np.minimum((counts * (wanted * float(videos) / total)).astype(np.int64), counts)
    ordered = by_group_and_score(proposals.video, proposals.scores, ties)
    ranks = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    keep = ranks < kept[proposals.video[ordered]]
    ordered, ranks = ordered[keep], ranks[keep]
    found_at = _first_hits(proposals, ordered, ranks, truth, thresholds)
    shares = np.arange(1, _STEPS + 1) / _STEPS * (wanted * float(videos) / max(kept.sum(), 1))
    taken = np.minimum((kept[:, np.newaxis] * shares).astype(np.int64), kept[:, np.newaxis])
    recall = [(first[:, np.newaxis] < taken[truth.video]).mean(axis=0) for first in found_at]
    per_video = shares * (float(kept.sum()) / videos)
    return RecallCurve(tuple(thresholds), per_video, np.stack(recall))


def _first_hits(
    proposals: Predictions,
    ordered: Indices,
    ranks: Indices,
    truth: GroundTruth,
    thresholds: Sequence[float],
) -> Indices:
    """Find the rank of the first proposal that hits each instance: int64 [T, G]."""
    first = np.full((len(thresholds), len(truth.video)), np.iinfo(np.int64).max)
    groups, spans = proposals.video[ordered], proposals.spans[ordered]
    for block in overlaps(groups, spans, truth.video, truth.spans, min(thresholds)):
        for row, threshold in enumerate(thresholds):
            hit = block.tiou >= threshold
            np.minimum.at(first[row], block.instance[hit], ranks[block.row[hit]])
    return first
