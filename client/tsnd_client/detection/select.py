"""From scores of proposals to detections: combine, filter, suppress, regress, in that order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, Indices, as_array, softmax
from tsnd_client.detection.detection import Detection
from tsnd_client.detection.nms import best_first, suppress_sorted
from tsnd_client.detection.scores import ProposalScores
from tsnd_client.detection.settings import SsnSettings
from tsnd_client.errors import DetectionError


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Detections of a video as arrays, by class, in a class the best first.

    Attributes:
        relative: float64 [m, 2], start and end as fractions of the video.
        classes: int64 [m], from 0 without the background.
        scores: float64 [m].
    """

    relative: Floats
    classes: npt.NDArray[np.int64]
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def to_detections(
        self, video_id: str, duration_s: float, labels: Sequence[str]
    ) -> list[Detection]:
        """Put names and seconds to them.

        Args:
            video_id: The video.
            duration_s: How long it is, seconds.
            labels: Name of each class.

        Returns:
            Detections, the best first; of equal scores in the order of the arrays.

        Raises:
            DetectionError: There are fewer labels than classes, or the video does not last.
        """
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise DetectionError(f"{video_id} lasts {duration_s} s, expected more than 0.")
        if len(self) and self.classes.max() >= len(labels):
            raise DetectionError(
                f"there are {len(labels)} labels, but class {self.classes.max()} was detected. "
                "Give the labels of the network that scored the video."
            )
        return [
            Detection(
                video_id,
                float(self.relative[index, 0] * duration_s),
                float(self.relative[index, 1] * duration_s),
                labels[self.classes[index]],
                float(self.scores[index]),
            )
            for index in np.argsort(-self.scores, kind="stable")
        ]


def select(
    scores: ProposalScores,
    settings: SsnSettings,
    *,
    class_scores: npt.ArrayLike | None = None,
) -> Selection:
    """Turn the scores of a video's proposals into detections (SSN's evaluation script).

    A pair of proposal and class scores as its activity times exp(completeness). Activity is one
    of three things:

    - usually the softmax over the classes without the background, and the best
      `settings.top_k` pairs stay;
    - with top_k None the softmax over background and classes, and all pairs stay;
    - with `class_scores` the latter, or where not `settings.softmax_before_filter` activity as it
      is, and the `settings.class_top_k` best classes stay.

    Suppression follows in each class, then regression; regressed spans are clipped to the video
    and not suppressed again. Of equal scores the later pair or class counts as better.

    Args:
        scores: Of n proposals.
        settings: Of the data set.
        class_scores: [K], what a classifier says about the whole video.

    Returns:
        The detections; none where there is no proposal.

    Raises:
        DetectionError: Numbers of classes differ, or a score is too large to compute with.
    """
    if scores.classes != settings.classes:
        raise DetectionError(
            f"the scores are of {scores.classes} classes, the settings for {settings.classes}. "
            "Take the settings of the data set that the network was trained with."
        )
    if not len(scores.relative):
        return Selection(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0))
    chosen = None
    if class_scores is not None:
        values = as_array(class_scores, "scores of classes", settings.classes)
        chosen = np.sort(best_first(values)[: settings.class_top_k])
    combined = _combine(scores, settings, by_classifier=chosen is not None)
    return _regress(scores, settings, combined, _filter(combined, settings, chosen))


def align_class_scores(by_label: dict[str, float], labels: Sequence[str]) -> Floats:
    """Bring a classifier's scores into the order of the detector's classes.

    Args:
        by_label: Score of each label.
        labels: Name of each class.

    Returns:
        float64 [K].

    Raises:
        DetectionError: A label is missing, or one is unknown.
    """
    unknown, missing = sorted(set(by_label) - set(labels)), sorted(set(labels) - set(by_label))
    if unknown or missing:
        raise DetectionError(
            f"the classifier's labels are not the detector's: unknown {unknown[:3]}, missing "
            f"{missing[:3]}. Expected a score for each of the {len(labels)} labels and no other."
        )
    return as_array([by_label[label] for label in labels], "scores of classes", len(labels))


def _combine(scores: ProposalScores, settings: SsnSettings, *, by_classifier: bool) -> Floats:
    """Score pairs of proposal and class: [n, K]."""
    classes = scores.activity[:, 1:]
    if by_classifier and not settings.softmax_before_filter:
        activity = classes
    elif by_classifier or settings.top_k is None:
        activity = softmax(scores.activity)[:, 1:]
    else:
        activity = softmax(classes)
    with np.errstate(over="ignore"):
        combined: Floats = activity * np.exp(scores.completeness)
    if not np.isfinite(combined).all():
        raise DetectionError(
            f"completeness scores of up to {scores.completeness.max():g} are too large for exp. "
            "Are these the outputs of SSN's head?"
        )
    return combined


def _filter(combined: Floats, settings: SsnSettings, chosen: Indices | None) -> list[Indices]:
    """Say for each class which proposals stay, the best first."""
    order = best_first(combined.ravel())
    if chosen is None and settings.top_k is not None:
        order = order[: settings.top_k]
    proposals, classes = np.divmod(order, combined.shape[1])
    wanted = range(combined.shape[1]) if chosen is None else chosen.tolist()
    kept = [np.empty(0, np.intp)] * combined.shape[1]
    for index in wanted:
        kept[index] = proposals[classes == index]
    return kept


def _regress(
    scores: ProposalScores, settings: SsnSettings, combined: Floats, stay: list[Indices]
) -> Selection:
    kept = [suppress_sorted(scores.relative, order, settings.nms_threshold, 0.0) for order in stay]
    classes = np.repeat(np.arange(len(kept)), [len(one) for one in kept])
    proposals = np.concatenate(kept)
    relative = scores.relative[proposals]
    if settings.use_regression and scores.regression is not None:
        relative = _move(relative, scores.regression[proposals, classes])
    return Selection(relative, classes, combined[proposals, classes])


def _move(relative: Floats, regression: Floats) -> Floats:
    centres, lengths = relative.mean(axis=1), relative[:, 1] - relative[:, 0]
    centres = centres + lengths * regression[:, 0]
    with np.errstate(over="ignore"):  # an infinite length is clipped to the video's
        halves = lengths * np.exp(regression[:, 1]) / 2
    moved: Floats = np.clip(np.stack([centres - halves, centres + halves], axis=1), 0, 1)
    return moved
