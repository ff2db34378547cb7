"""Average precision per class and threshold, as the ActivityNet toolkit defines it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import GroundTruth, Indices, Predictions
from tsnd_client.evaluation.matching import by_preference, true_positives
from tsnd_client.evaluation.overlap import overlaps


def average_precision(
    predictions: Predictions, truth: GroundTruth, thresholds: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Compute the interpolated average precision of every class at every threshold.

    Predictions of a class are taken over all videos by falling score, of equal scores the earlier
    row first. One is right when it claims an instance of its class and video (see
    `matching.true_positives`); the area is that under the staircase of the precision, made
    monotone from the right (VOC 2010 and later).

    Args:
        predictions: In the unit of the truth.
        truth: The instances.
        thresholds: Temporal IoUs, each above 0.

    Returns:
        float64 [classes, thresholds]; 0 for a class without predictions, NaN for one without
        instances.
    """
    ranked = by_class_and_score(predictions.label, predictions.scores)
    labels = predictions.label[ranked]
    videos = len(truth.videos)
    blocks = list(
        overlaps(
            labels * videos + predictions.video[ranked],
            predictions.spans[ranked],
            truth.label * videos + truth.video,
            truth.spans,
            min(thresholds),
        )
    )
    pairs = by_preference(
        np.concatenate([block.row for block in blocks] or [np.empty(0, np.int64)]),
        np.concatenate([block.instance for block in blocks] or [np.empty(0, np.int64)]),
        np.concatenate([block.tiou for block in blocks] or [np.empty(0)]),
    )
    positives = np.bincount(truth.label, minlength=len(truth.labels))
    bounds = np.searchsorted(labels, np.arange(len(truth.labels) + 1))
    precision = np.empty((len(truth.labels), len(thresholds)))
    for column, threshold in enumerate(thresholds):
        right = true_positives(pairs, len(ranked), len(truth.label), threshold)
        for label, count in enumerate(positives):
            of_class = right[bounds[label] : bounds[label + 1]]
            precision[label, column] = interpolated(of_class, int(count))
    return precision


def by_class_and_score(labels: Indices, scores: npt.NDArray[np.float64]) -> Indices:
    """Order rows by class, then by falling score; of equal scores the earlier row first."""
    return np.lexsort((-scores, labels))


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
