"""Judges detections by the protocol of their data set."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.detection import Detection
from tsnd_client.evaluation.average_precision import average_precision
from tsnd_client.evaluation.average_recall import RecallCurve, average_recall
from tsnd_client.evaluation.columns import GroundTruth
from tsnd_client.evaluation.indexing import LeftOut, index_detections
from tsnd_client.evaluation.ordering import Ties
from tsnd_client.evaluation.protocols import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How good detections are.

    Attributes:
        protocol: What they were judged by.
        labels: C class names.
        precision: float64 [C, T], average precision by class and threshold of the protocol; NaN
            for classes without instances.
        instances: int64 [C], how many there are to be found.
        detections: int64 [C], how many were judged.
        videos: How many have instances.
        curve: AR@AN of the detections, their classes aside.
        left_out: Detections that were not judged.
    """

    protocol: Protocol
    labels: tuple[str, ...]
    precision: npt.NDArray[np.float64]
    instances: npt.NDArray[np.int64]
    detections: npt.NDArray[np.int64]
    videos: int
    curve: RecallCurve
    left_out: LeftOut

    @property
    def mean_precision(self) -> npt.NDArray[np.float64]:
        """Mean over the classes that have instances: mAP at each threshold, float64 [T]."""
        mean: npt.NDArray[np.float64] = self.precision[self.instances > 0].mean(axis=0)
        return mean

    @property
    def average_map(self) -> float:
        """The mean of mAP over the thresholds."""
        return float(self.mean_precision.mean())

    @property
    def headline(self) -> float:
        """The number that the protocol is quoted by."""
        if self.protocol.headline is None:
            return self.average_map
        nearest = np.abs(np.array(self.protocol.thresholds) - self.protocol.headline).argmin()
        return float(self.mean_precision[nearest])


def evaluate(
    detections: Iterable[Detection],
    truth: GroundTruth,
    protocol: Protocol,
    *,
    ties: Ties = Ties.ORIGINAL,
    skip_unknown_labels: bool = False,
) -> Evaluation:
    """Compute mAP and AR@AN of detections.

    Without detections every number is 0.

    Args:
        detections: In the unit of the truth; of whole videos.
        truth: The ground truth; only its videos are judged.
        protocol: One of `PROTOCOLS`.
        ties: Which of equal scores, and of equal overlaps, comes first.
        skip_unknown_labels: Leave out detections of classes that the truth does not have.

    Raises:
        EvaluationError: See `index_detections`.
    """
    predictions, left_out = index_detections(
        detections, truth, skip_unknown_labels=skip_unknown_labels
    )
    classes = len(truth.labels)
    return Evaluation(
        protocol=protocol,
        labels=truth.labels,
        precision=average_precision(predictions, truth, protocol.thresholds, ties=ties),
        instances=np.bincount(truth.label, minlength=classes),
        detections=np.bincount(predictions.label, minlength=classes),
        videos=len(truth.videos),
        curve=average_recall(predictions, truth, proposals_per_video=protocol.proposals_per_video),
        left_out=left_out,
    )
