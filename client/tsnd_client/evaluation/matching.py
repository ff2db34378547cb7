"""Which predictions are right: each instance may be claimed once, by the best prediction first."""

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import Indices, Spans
from tsnd_client.evaluation.overlap import Overlaps, temporal_iou


def true_positives(
    overlaps: Overlaps, rank_count: int, instance_count: int, threshold: float
) -> npt.NDArray[np.bool_]:
    """Decide which predictions claim an instance at one threshold.

    In the order of their ranks, predictions take the instance that they overlap most among those
    still free, if that overlap reaches the threshold.

    Args:
        overlaps: Rows are ranks, 0 for the prediction that chooses first; pairs of one rank come
            in the order in which it prefers them (see `by_preference`).
        rank_count: Number of predictions.
        instance_count: Number of instances.
        threshold: Temporal IoU from which on a claim is good.

    Returns:
        bool [rank_count].
    """
    good = overlaps.tiou >= threshold
    ranks, instances = overlaps.row[good], overlaps.instance[good]
    choice = np.searchsorted(ranks, np.arange(rank_count), "left")
    past_last = np.searchsorted(ranks, np.arange(rank_count), "right")
    nobody = rank_count
    holder = np.full(instance_count, nobody, np.int64)
    asking = np.flatnonzero(choice < past_last)
    # Instead of one prediction after the other, all ask at once; an instance keeps the best rank
    # that asked, and the others ask for their next choice (deferred acceptance). As all instances
    # rank the predictions alike there is one stable outcome, that of taking turns.
    while asking.size:
        wanted = instances[choice[asking]]
        held = holder[wanted]
        np.minimum.at(holder, wanted, asking)
        refused = asking[holder[wanted] != asking]
        displaced = np.unique(held[(held != nobody) & (held != holder[wanted])])
        losers = np.concatenate([refused, displaced])
        choice[losers] += 1
        asking = losers[choice[losers] < past_last[losers]]
    matched = np.zeros(rank_count, np.bool_)
    matched[holder[holder != nobody]] = True
    return matched


def by_preference(overlaps: Overlaps) -> Overlaps:
    """Order pairs by row, and those of a row by falling overlap, ties by instance."""
    order = np.lexsort((overlaps.instance, -overlaps.tiou, overlaps.row))
    return Overlaps(overlaps.row[order], overlaps.instance[order], overlaps.tiou[order])


def with_original_ties(
    preferences: Overlaps,
    row_groups: Indices,
    row_spans: Spans,
    instance_groups: Indices,
    instance_spans: Spans,
) -> Overlaps:
    """Reorder equal overlaps of a row as the original's sort does (see `Ties.ORIGINAL`).

    Its outcome depends on the whole array that is sorted, so the row's overlaps with all
    instances of its group are sorted once more. There are few such rows: those whose detection
    contains several instances of one length.

    Args:
        preferences: Pairs by preference.
        row_groups: int64 [N].
        row_spans: float64 [N, 2].
        instance_groups: int64 [G].
        instance_spans: float64 [G, 2].
    """
    rows, tiou = preferences.row, preferences.tiou
    is_tie = (rows[1:] == rows[:-1]) & (tiou[1:] == tiou[:-1])
    tied = np.unique(rows[1:][is_tie])
    first, past_last = np.searchsorted(rows, tied, "left"), np.searchsorted(rows, tied, "right")
    by_group = np.argsort(instance_groups, kind="stable")
    group_start = np.searchsorted(instance_groups[by_group], row_groups[tied], "left")
    group_stop = np.searchsorted(instance_groups[by_group], row_groups[tied], "right")
    instances = preferences.instance.copy()
    for place, row in enumerate(tied):
        members = by_group[group_start[place] : group_stop[place]]
        falling = np.argsort(temporal_iou(row_spans[row], instance_spans[members]))[::-1]
        count = past_last[place] - first[place]
        instances[first[place] : past_last[place]] = members[falling[:count]]
    return Overlaps(rows, instances, tiou)
