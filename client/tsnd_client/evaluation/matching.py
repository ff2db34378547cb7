"""Which predictions are right: each instance may be claimed once, by the best prediction first."""

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import Indices
from tsnd_client.evaluation.overlap import Overlaps


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


def by_preference(rows: Indices, instances: Indices, tiou: npt.NDArray[np.float64]) -> Overlaps:
    """Order pairs by row, and those of a row by falling overlap.

    Of equal overlaps the earlier instance comes first. The original leaves these to an unstable
    sort, whose outcome differs between CPUs.
    """
    order = np.lexsort((instances, -tiou, rows))
    return Overlaps(rows[order], instances[order], tiou[order])
