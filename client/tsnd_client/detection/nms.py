"""Non-maximum suppression of time spans, the same in every run."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, Indices, as_array, as_matrix
from tsnd_client.errors import DetectionError


def suppress(
    spans: npt.ArrayLike, scores: npt.ArrayLike, threshold: float, *, unit: float = 0.0
) -> Indices:
    """Keep the best spans, and none that overlaps a better one too much.

    Two spans overlap by intersection over union, where the intersection of spans that do not
    meet is negative; exactly `threshold` is not too much. Of equal scores the later one in
    the array counts as better, so that the result does not depend on a sort's whims.

    Args:
        spans: [n, 2], start and end.
        scores: [n], larger is better.
        threshold: Largest overlap that two kept spans may have.
        unit: What a span is longer than end - start: 0 where ends are times; 1 where starts
            and ends are ticks and the last one belongs to the span, as in TAG.

    Returns:
        Indices of the kept spans, best first.

    Raises:
        DetectionError: The arrays do not fit together, a number is not finite, or a span
            ends before it starts.
    """
    edges = as_matrix(spans, "spans", columns=2)
    values = as_array(scores, "scores of spans", len(edges))
    require_lengths(edges, unit)
    return suppress_sorted(edges, best_first(values), threshold, unit)


def best_first(scores: npt.NDArray[Any]) -> Indices:
    """Order scores [n] from the largest to the smallest; of equal ones the later comes first."""
    return np.argsort(scores, kind="stable")[::-1]


def suppress_sorted(edges: Floats, order: Indices, threshold: float, unit: float) -> Indices:
    """Keep spans as `suppress` does, of those in `order`, best first; nothing is checked."""
    starts, ends = edges[order, 0], edges[order, 1]
    kept = []
    while order.size:
        kept.append(order[0])
        lengths = ends - starts + unit
        shared = np.minimum(ends[0], ends[1:]) - np.maximum(starts[0], starts[1:]) + unit
        # In this order of operations an overlap of exactly the threshold stays exact.
        far = shared / (lengths[0] + lengths[1:] - shared) <= threshold
        starts, ends, order = starts[1:][far], ends[1:][far], order[1:][far]
    return np.array(kept, np.intp)


def require_lengths(edges: Floats, unit: float = 0.0) -> None:
    """Refuse spans [n, 2] of no or negative length.

    Raises:
        DetectionError: There is one.
    """
    bad = np.flatnonzero(edges[:, 1] - edges[:, 0] + unit <= 0)
    if bad.size:
        start, end = edges[bad[0]]
        raise DetectionError(
            f"span {bad[0]} goes from {start:g} to {end:g}: expected it to end after it starts. "
            "Swap the two, or leave it out."
        )
