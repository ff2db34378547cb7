"""From the scores of snippets to the answer for a video: pure NumPy.

The order is TSN's: first the crops of each snippet, then the snippets, then (in
`tsnd_client.fusion`) the modalities, and softmax last, after all means.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SLIDING_SPANS_S = (1, 2, 4, 8, 16)
"""Lengths of the windows of the ActivityNet 2016 rule, seconds."""

_LEAST_WINDOWS = 15  # of the ActivityNet 2016 rule; of more than 60 windows, a quarter

Scores = npt.NDArray[np.float32]


def mean_over_snippets(scores: npt.ArrayLike) -> Scores:
    """Average scores over the snippets of a video: TSN's segmental consensus.

    Args:
        scores: [S, classes], before softmax; S is at least 1.

    Returns:
        float32 [classes], before softmax.

    Raises:
        ValueError: There are no snippets, or `scores` is not two-dimensional.
    """
    return _mean(_of_snippets(scores), axis=0)


def mean_over_crops(scores: npt.ArrayLike) -> Scores:
    """Average scores over the crops of each snippet, as TSN does.

    Args:
        scores: [S, crops, classes], before softmax; at least one crop.

    Returns:
        float32 [S, classes].

    Raises:
        ValueError: `scores` is not three-dimensional, or there are no crops.
    """
    return _mean(_of_crops(scores), axis=1)


def max_over_crops(scores: npt.ArrayLike) -> Scores:
    """Take the best crop of each snippet and class, as the ActivityNet 2016 entry does.

    Args:
        scores: [S, crops, classes], before softmax; at least one crop.

    Returns:
        float32 [S, classes].

    Raises:
        ValueError: As `mean_over_crops`.
    """
    best: Scores = _of_crops(scores).max(axis=1)
    return best


def mean_of_best_snippets(scores: npt.ArrayLike, k: int) -> Scores:
    """Average each class over the k snippets that score it best: top-k pooling.

    Args:
        scores: [S, classes], before softmax; S is at least 1.
        k: How many snippets count; more than there are counts them all.

    Returns:
        float32 [classes], before softmax.

    Raises:
        ValueError: There are no snippets, or `k` is less than 1.
    """
    _require_at_least_one("k", k)
    # The best first: means do not depend on k where it is more than there are.
    return _mean(np.sort(_of_snippets(scores), axis=0)[::-1][:k], axis=0)


def sliding_window_consensus(
    scores: npt.ArrayLike,
    *,
    spans_s: Sequence[float] = SLIDING_SPANS_S,
    overlap: float = 0.2,
    snippets_per_s: float = 1,
) -> Scores:
    """Pool over windows of several lengths: the rule of the ActivityNet 2016 entry.

    Each window is worth, for each class, its best snippet; each length is worth the mean of
    its best windows, 15 of them or a quarter, whichever is more; the video the mean over the
    lengths. TSN and the entry itself take `max_over_crops` first, SSN's copy of the rule
    `mean_over_crops`.

    Args:
        scores: [S, classes], before softmax, evenly spaced in time; S is at least 1.
        spans_s: Lengths of windows, seconds.
        overlap: Share of a window that the next one covers, 0 to less than 1.
        snippets_per_s: How densely the video was scored.

    Returns:
        float32 [classes], before softmax.

    Raises:
        ValueError: There are no snippets or spans, a span holds no snippet, or `overlap` is
            out of range.
    """
    snippets = _of_snippets(scores)
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be of 0 to less than 1, got {overlap}")
    lengths = [int(span_s * snippets_per_s) for span_s in spans_s]
    if not lengths or min(lengths) < 1:
        raise ValueError(
            f"every span must hold a snippet, got spans of {list(spans_s)} seconds with "
            f"{snippets_per_s:g} snippets per second"
        )
    steps = [math.ceil(length * (1 - overlap)) for length in lengths]
    pooled = [
        _mean_of_best_windows(snippets, length, step)
        for length, step in zip(lengths, steps, strict=True)
    ]
    return _mean(np.stack(pooled), axis=0)


def _mean_of_best_windows(snippets: Scores, length: int, step: int) -> Scores:
    windows = np.stack(
        [
            snippets[start : start + length].max(axis=0)  # the last ones are shorter
            for start in range(0, len(snippets), step)
        ]
    )
    return mean_of_best_snippets(windows, max(_LEAST_WINDOWS, len(windows) // 4))


def softmax(scores: npt.ArrayLike) -> Scores:
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
    _require_at_least_one("k", k)
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(index), float(scores[index])) for index in order]


def _mean(array: npt.NDArray[np.float32], axis: int) -> Scores:
    mean: npt.NDArray[np.float64] = array.mean(axis=axis, dtype=np.float64)
    return mean.astype(np.float32)


def _of_snippets(scores: npt.ArrayLike) -> Scores:
    array = np.asarray(scores, np.float32)
    if array.ndim != 2 or not len(array):
        raise ValueError(f"expected scores [S, classes] with S >= 1, got shape {array.shape}")
    return array


def _of_crops(scores: npt.ArrayLike) -> Scores:
    array = np.asarray(scores, np.float32)
    if array.ndim != 3 or not array.shape[1]:
        raise ValueError(
            f"expected scores [S, crops, classes] with at least one crop, got shape {array.shape}"
        )
    return array


def _require_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
