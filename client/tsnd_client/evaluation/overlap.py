"""Which spans of the same group overlap, and by how much."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import Indices, Spans

# Pairs looked at in one go: about 200 MB of working memory, whatever the size of the input.
_PAIRS_AT_ONCE = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pairs of a row and an instance.

    Attributes:
        row: int64 [P], never falling.
        instance: int64 [P].
        tiou: float64 [P], their temporal intersection over union.
    """

    row: Indices
    instance: Indices
    tiou: npt.NDArray[np.float64]


def temporal_iou(spans: Spans, instances: Spans) -> npt.NDArray[np.float64]:
    """Divide the intersection of two spans by their union.

    The order of operations is that of the ActivityNet toolkit, so that spans on a grid of frames
    reach a threshold exactly when they do there: another order changes a class's AP by 5e-3.

    Args:
        spans: [..., 2], start and end.
        instances: [..., 2] of a shape that goes with it.

    Returns:
        [...], from 0 to 1; 0 where both spans are empty.
    """
    starts = np.maximum(instances[..., 0], spans[..., 0])
    ends = np.minimum(instances[..., 1], spans[..., 1])
    intersection = np.maximum(ends - starts, 0.0)
    lengths = (instances[..., 1] - instances[..., 0]) + (spans[..., 1] - spans[..., 0])
    union = lengths - intersection
    tiou: npt.NDArray[np.float64] = np.zeros_like(union)
    np.divide(intersection, union, out=tiou, where=union > 0)
    return tiou


def overlaps(
    row_groups: Indices,
    row_spans: Spans,
    instance_groups: Indices,
    instance_spans: Spans,
    at_least: float,
) -> Iterator[Overlaps]:
    """Find the pairs of one group that overlap enough, block by block of rows.

    Memory is bounded by the pairs that are found, not by those that are looked at.

    Args:
        row_groups: int64 [N].
        row_spans: float64 [N, 2].
        instance_groups: int64 [G].
        instance_spans: float64 [G, 2].
        at_least: The smallest temporal IoU that is of interest, above 0.

    Yields:
        Pairs; the rows of each block follow those of the block before.
    """
    by_group = np.argsort(instance_groups, kind="stable")
    sorted_groups = instance_groups[by_group]
    first = np.searchsorted(sorted_groups, row_groups, "left")
    counts = np.searchsorted(sorted_groups, row_groups, "right") - first
    for block in _blocks(counts):
        rows = np.arange(block.start, block.stop)
        pair_rows = np.repeat(rows, counts[block])
        places = _ranges(first[block], counts[block])
        instances = by_group[places]
        tiou = temporal_iou(row_spans[pair_rows], instance_spans[instances])
        keep = tiou >= at_least
        yield Overlaps(pair_rows[keep], instances[keep], tiou[keep])


def join(blocks: Iterable[Overlaps]) -> Overlaps:
    """Join the blocks of `overlaps` to one."""
    nothing = Overlaps(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    all_blocks = list(blocks) or [nothing]
    return Overlaps(
        np.concatenate([block.row for block in all_blocks]),
        np.concatenate([block.instance for block in all_blocks]),
        np.concatenate([block.tiou for block in all_blocks]),
    )


def _blocks(counts: Indices) -> Iterator[slice]:
    """Cut rows into runs that have at most _PAIRS_AT_ONCE pairs, or a single row."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


def _ranges(starts: Indices, counts: Indices) -> Indices:
    """Join arange(start, start + count) of each row: ([5, 0], [2, 3]) gives 5 6 0 1 2."""
    before = np.cumsum(counts) - counts
    places: Indices = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return places
