"""The rule of average precision as its definition reads: one prediction after the other.

What `tsnd_client.evaluation` computes on whole arrays is checked against this, and timed beside it.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation import GroundTruth, Predictions, Ties


def average_precision_by_loop(
    predictions: Predictions,
    truth: GroundTruth,
    thresholds: Sequence[float],
    ties: Ties = Ties.ORIGINAL,
) -> npt.NDArray[np.float64]:
    """Compute what `average_precision` does: float64 [classes, thresholds]."""
    rows = [
        [_of_class(label, predictions, truth, threshold, ties) for threshold in thresholds]
        for label in range(len(truth.labels))
    ]
    return np.array(rows)


def _of_class(
    label: int, predictions: Predictions, truth: GroundTruth, threshold: float, ties: Ties
) -> float:
    instances: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for of_video, of_label, span in zip(truth.video, truth.label, truth.spans, strict=True):
        if of_label == label:
            instances[int(of_video)].append((float(span[0]), float(span[1])))
    count = sum(map(len, instances.values()))
    if not count:
        return float("nan")
    rows = np.flatnonzero(predictions.label == label)
    rows = rows[_falling(predictions.scores[rows], ties)]
    taken: set[tuple[int, int]] = set()
    precisions: list[float] = []
    for place, row in enumerate(rows, 1):
        video = int(predictions.video[row])
        span = predictions.spans[row]
        ious = [_iou(span, instance) for instance in instances.get(video, [])]
        for best in _falling(np.array(ious), ties).tolist():
            if ious[best] < threshold:
                break
            if (video, best) not in taken:
                taken.add((video, best))
                precisions.append(len(taken) / place)
                break
    return sum(max(precisions[step:]) for step in range(len(precisions))) / count


def _falling(values: npt.NDArray[np.float64], ties: Ties) -> npt.NDArray[np.int64]:
    if ties is Ties.FIRST:
        return np.argsort(-values, kind="stable")
    return np.argsort(values)[::-1]


def _iou(span: npt.NDArray[np.float64], instance: tuple[float, float]) -> float:
    start, end = float(span[0]), float(span[1])
    intersection = max(min(instance[1], end) - max(instance[0], start), 0.0)
    union = (instance[1] - instance[0]) + (end - start) - intersection
    return intersection / union if union > 0 else 0.0
