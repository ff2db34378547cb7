"""Average precision per class and threshold, as the ActivityNet toolkit defines it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import GroundTruth, Indices, Predictions
from tsnd_client.evaluation.matching import by_preference, true_positives, with_original_ties
from tsnd_client.evaluation.ordering import Ties, by_group_and_score
from tsnd_client.evaluation.overlap import Overlaps, join, overlaps


def average_precision(
    predictions: Predictions,
    truth: GroundTruth,
    thresholds: Sequence[float],
    *,
    ties: Ties = Ties.ORIGINAL,
) -> npt.NDArray[np.float64]:
    """Compute the interpolated average precision of every class at every threshold.

    Predictions of a class are taken over all videos by falling score. One is right when it
    claims an instance of its class and video (see `matching.true_positives`); the area is that
    under the staircase of the precision, made monotone from the right (VOC 2010 and later).

    Args:
        predictions: In the unit of the truth.
        truth: The instances.
        thresholds: Temporal IoUs, each above 0.
        ties: Which of equal scores, and of equal overlaps, comes first.

    Returns:
        float64 [classes, thresholds]; 0 for a class without predictions, NaN for one without
        instances.
    """
    ranked = by_group_and_score(predictions.label, predictions.scores, ties)
    preferences = _preferences(predictions, ranked, truth, min(thresholds), ties)
    positives = np.bincount(truth.label, minlength=len(truth.labels))
    bounds = np.searchsorted(predictions.label[ranked], np.arange(len(truth.labels) + 1))
    precision = np.empty((len(truth.labels), len(thresholds)))
    for column, threshold in enumerate(thresholds):
        right = true_positives(preferences, len(ranked), len(truth.label), threshold)
        for label, count in enumerate(positives):
            of_class = right[bounds[label] : bounds[label + 1]]
            precision[label, column] = interpolated(of_class, int(count))
    return precision


def _preferences(
    predictions: Predictions, ranked: Indices, truth: GroundTruth, at_least: float, ties: Ties
) -> Overlaps:
    """Find what each rank may claim, that which it prefers first."""
    videos = len(truth.videos)
    groups = predictions.label[ranked] * videos + predictions.video[ranked]
    spans = predictions.spans[ranked]
    instance_groups = truth.label * videos + truth.video
    pairs = join(overlaps(groups, spans, instance_groups, truth.spans, at_least))
    preferences = by_preference(pairs)
    if ties is Ties.FIRST:
        return preferences
    return with_original_ties(preferences, groups, spans, instance_groups, truth.spans)


def interpolated(right: npt.NDArray[np.bool_], positives: int) -> float:
    """Compute the area under the monotone precision of one ranked list.

    Args:
        right: bool [N], best prediction first.
        positives: How many instances there are to be found.

    Returns:
        The area, from 0 to 1; NaN if there is nothing to be found.
    """
    if positives == 0:
        return float("nan")
    places = np.flatnonzero(right)  # where the recall steps up, by 1 / positives
    precision = np.arange(1, len(places) + 1) / (places + 1)
    monotone = np.maximum.accumulate(precision[::-1])
    return float(monotone.sum() / positives)
