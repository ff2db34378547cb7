"""From the scores of snippets to the answer for a video: pure NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt


def mean_over_snippets(scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Average scores over the snippets of a video: TSN's segmental consensus.

    Args:
        scores: [S, classes], before softmax; S is at least 1.

    Returns:
        float32 [classes], before softmax.

    Raises:
        ValueError: There are no snippets, or `scores` is not two-dimensional.
    """
    array = np.asarray(scores, np.float32)
    if array.ndim != 2 or not len(array):
        raise ValueError(f"expected scores [S, classes] with S >= 1, got shape {array.shape}")
    mean: npt.NDArray[np.float64] = array.mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def softmax(scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Turn scores into probabilities.

    Args:
        scores: [..., classes], finite.

    Returns:
        float32 of the same shape; the last axis sums to 1.
    """
    array = np.asarray(scores, np.float64)
    # The largest exponent becomes 0, so exp cannot overflow.
    powers = np.exp(array - array.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities.astype(np.float32)


def top_k(scores: npt.NDArray[np.floating[Any]], k: int) -> list[tuple[int, float]]:
    """Find the k largest values.

    Args:
        scores: [classes].
        k: How many, at least 1; more than there are classes gives all.

    Returns:
        Pairs of class index and value, largest first; equal values by class index.

    Raises:
        ValueError: `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(index), float(scores[index])) for index in order]
