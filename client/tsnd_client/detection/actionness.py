"""How likely each tick of a video is part of an action: the curve that TAG groups."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, as_array, as_matrix, softmax
from tsnd_client.errors import DetectionError


def merge_actionness(
    streams: Sequence[npt.ArrayLike], weights: Sequence[float] | None = None
) -> Floats:
    """Sum the actionness scores of several modalities, as `gen_bottom_up_proposals.py` does.

    The first modality sets the ticks. One that has fewer cuts the sum to its own; of one that has
    more, as many are taken, evenly.

    Args:
        streams: At least one, each [T, 2 or more], means over crops, before softmax; column 0 is
            the background, column 1 any action. The numbers of columns are the same.
        weights: One each, not normalised; None is 1 for all.

    Returns:
        float64 [T, columns].

    Raises:
        DetectionError: There is no stream, they do not fit together, or a number is not finite.
    """
    if not streams:
        raise DetectionError("expected actionness scores of at least one modality, got none.")
    factors = as_array(
        [1.0] * len(streams) if weights is None else list(weights),
        "weights of modalities",
        len(streams),
    )
    arrays = [_as_scores(stream) for stream in streams]
    total: Floats = arrays[0] * factors[0]
    for array, factor in zip(arrays[1:], factors[1:], strict=True):
        if array.shape[1] != total.shape[1]:
            raise DetectionError(
                f"actionness scores of {total.shape[1]} and of {array.shape[1]} columns cannot be "
                "summed. Take networks of one kind."
            )
        total = total[: len(array)]
        total = total + _resample(array, len(total)) * factor
    return total


def actionness_curve(scores: npt.ArrayLike, sigma_ticks: float = 3.0) -> Floats:
    """Turn actionness scores into a smooth curve of probabilities.

    Args:
        scores: [T, 2 or more], before softmax; column 1 is any action.
        sigma_ticks: Standard deviation of the Gaussian, which is cut off after four of them and
            sees the video mirrored at its ends; 0 does not smooth.

    Returns:
        float64 [T], from 0 to 1; empty for no tick.

    Raises:
        DetectionError: It is not such an array, a number is not finite, or sigma is negative.
    """
    if not (math.isfinite(sigma_ticks) and sigma_ticks >= 0):
        raise DetectionError(f"sigma_ticks must be 0 or more, got {sigma_ticks}.")
    array = _as_scores(scores)
    if not len(array):
        return np.empty(0)
    return _smooth(softmax(array)[:, 1], sigma_ticks)


def _smooth(curve: Floats, sigma_ticks: float) -> Floats:
    if sigma_ticks == 0:
        return curve
    radius = int(4 * sigma_ticks + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_ticks) ** 2)
    mirrored = np.pad(curve, radius, mode="symmetric")
    return np.convolve(mirrored, kernel / kernel.sum(), mode="valid")


def _resample(array: Floats, length: int) -> Floats:
    if not length:
        return array[:0]
    ticks = np.arange(length) * (len(array) / length)
    return array[ticks.astype(np.intp)]


def _as_scores(scores: npt.ArrayLike) -> Floats:
    array = as_matrix(scores, "actionness scores")
    if len(array) and array.shape[1] < 2:
        raise DetectionError(
            f"actionness scores: expected columns for background and action, got {array.shape[1]}."
        )
    return array if len(array) else array.reshape(0, max(array.shape[1], 2))
