"""Structured temporal pyramid pooling: from the outputs of ticks to scores of proposals.

Sums up to every tick are made once; a part's mean is then a difference of two, so a proposal
costs the same whatever its length.
"""

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, as_matrix
from tsnd_client.detection.head import Head
from tsnd_client.detection.proposals import require_relative
from tsnd_client.detection.pyramid import Part, cut, locate
from tsnd_client.detection.scores import ProposalScores
from tsnd_client.errors import DetectionError


def pool_proposals(outputs: npt.ArrayLike, relative: npt.ArrayLike, head: Head) -> ProposalScores:
    """Score the proposals of a video (SSN's `STPPReorganized`).

    Activity is the mean over the proposal. Completeness and regression are sums over the parts
    of the pyramid of each part's mean, scaled where the video cuts an extension short. Sums are
    float64, where the original's are float32.

    Args:
        outputs: [T, head.width], the outputs of each tick, means over its crops.
        relative: [n, 2], proposals as fractions of the video; none is fine.
        head: What the outputs mean.

    Returns:
        The scores of each proposal, regression restored.

    Raises:
        DetectionError: There is no tick, its width is not the head's, a number is not finite,
            or a proposal is not a span inside the video.
    """
    rows = as_matrix(outputs, "outputs of ticks")
    _require_width(rows, head)
    spans = require_relative(relative)
    sums = np.zeros((len(rows) + 1, head.width))
    np.cumsum(rows, axis=0, out=sums[1:])
    extent = locate(spans, len(rows))
    parts = cut(extent, head.pyramid, len(rows))
    return ProposalScores(
        spans,
        _pool_activity(sums, extent.ticks, head),
        _pool_parts(sums, parts, [head.completeness_columns(part) for part in range(len(parts))]),
        _pool_regression(sums, parts, head),
    )


def _pool_activity(sums: Floats, ticks: npt.NDArray[np.int64], head: Head) -> Floats:
    first = ticks[:, 1]
    course = Part(first, np.maximum(first + 1, ticks[:, 2]), np.ones(len(ticks)))
    return _pool_parts(sums, [course], [slice(0, head.classes + 1)])


def _pool_regression(sums: Floats, parts: list[Part], head: Head) -> Floats | None:
    if head.regression is None:
        return None
    columns = [head.regression_columns(part) for part in range(len(parts))]
    pooled = _pool_parts(sums, parts, columns)
    return head.regression.restore(pooled.reshape(-1, head.classes, 2))


def _pool_parts(sums: Floats, parts: list[Part], columns: list[slice]) -> Floats:
    """Sum the weighted means of parts [n], each of its own columns."""
    total = np.zeros((len(parts[0].first), columns[0].stop - columns[0].start))
    for part, own in zip(parts, columns, strict=True):
        last = np.minimum(part.last, len(sums) - 1)
        first = np.minimum(part.first, last)
        share = part.weight / np.maximum(last - first, 1)
        of_part = sums[:, own]
        total += (of_part[last] - of_part[first]) * share[:, None]
    return total


def _require_width(rows: Floats, head: Head) -> None:
    if not len(rows):
        raise DetectionError(
            "the video has no tick: expected the outputs of at least one snippet. It may be "
            "shorter than a snippet's stack; leave it out."
        )
    if rows.shape[1] != head.width:
        raise DetectionError(
            f"outputs of ticks: expected {head.width} numbers each, for {head.classes} classes and "
            f"{head.pyramid.parts} parts{'' if head.regression else ' without regression'}, got "
            f"{rows.shape[1]}. Name the classes and the pyramid of the network that scored them."
        )
