"""Scores of proposals, and how those of several modalities become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, as_array, as_matrix
from tsnd_client.detection.proposals import require_relative
from tsnd_client.errors import DetectionError


@dataclass(frozen=True, slots=True, eq=False)
class ProposalScores:
    """What SSN says about the proposals of a video: the values of a result file of SSN.

    Attributes:
        relative: float64 [n, 2], the proposals as fractions of the video.
        activity: float64 [n, K + 1], before softmax, background first.
        completeness: float64 [n, K], before the exponential.
        regression: float64 [n, K, 2], shift of the centre in lengths of the proposal, and the
            logarithm of the change of its length; None without regression.
    """

    relative: Floats
    activity: Floats
    completeness: Floats
    regression: Floats | None

    @classmethod
    def checked(
        cls,
        relative: npt.ArrayLike,
        activity: npt.ArrayLike,
        completeness: npt.ArrayLike,
        regression: npt.ArrayLike | None,
    ) -> Self:
        """Take scores from outside, in the shapes of the attributes.

        Raises:
            DetectionError: They do not fit together, a number is not finite, or a proposal
                is not a span inside the video.
        """
        spans = require_relative(relative)
        complete = as_matrix(completeness, "completeness scores")
        count, classes = len(spans), complete.shape[1]
        if len(complete) != count:
            raise DetectionError(
                f"completeness scores: expected {count} rows, one a proposal, got {len(complete)}."
            )
        return cls(
            spans,
            as_array(activity, "activity scores", count, classes + 1),
            complete,
            None if regression is None else as_array(regression, "regression", count, classes, 2),
        )

    @property
    def classes(self) -> int:
        """K, without the background."""
        return int(self.completeness.shape[1])


def fuse(
    streams: Sequence[ProposalScores], weights: Sequence[float] | None = None
) -> ProposalScores:
    """Average the scores of several modalities for the same proposals.

    Args:
        streams: At least one.
        weights: One each; only their ratios count. None weighs all alike.

    Returns:
        The weighted means of activity, completeness and regression, before any softmax.

    Raises:
        DetectionError: There is no stream, the streams differ in proposals or classes, or the
            weights do not fit.
    """
    if not streams:
        raise DetectionError("expected the scores of at least one modality, got none.")
    shares = normalised_weights(weights, len(streams))
    first = streams[0]
    for other in streams[1:]:
        _require_alike(first, other)
    regressions = [stream.regression for stream in streams if stream.regression is not None]
    return ProposalScores(
        first.relative,
        _mean([stream.activity for stream in streams], shares),
        _mean([stream.completeness for stream in streams], shares),
        _mean(regressions, shares) if regressions else None,
    )


def normalised_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Scale weights to sum 1.

    Raises:
        DetectionError: There are not `count` of them, one is negative, or all are 0.
    """
    if weights is None:
        return [1 / count] * count
    values = as_array(list(weights), "weights of modalities", count)
    if values.min() < 0 or values.sum() <= 0:
        raise DetectionError(f"weights {list(weights)}: expected none below 0 and one above.")
    return [float(value) for value in values / values.sum()]


def _mean(arrays: Sequence[Floats], shares: Sequence[float]) -> Floats:
    total = arrays[0] * shares[0]
    for array, share in zip(arrays[1:], shares[1:], strict=True):
        total += array * share
    return total


def _require_alike(first: ProposalScores, other: ProposalScores) -> None:
    if first.activity.shape != other.activity.shape:
        raise DetectionError(
            f"modalities differ: {len(first.activity)} proposals of {first.classes} classes and "
            f"{len(other.activity)} of {other.classes}. Score the same proposals with networks "
            "for the same classes."
        )
    if (first.regression is None) != (other.regression is None):
        raise DetectionError("one modality has regression, another has none. Leave it out of all.")
