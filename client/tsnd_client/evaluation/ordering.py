"""The order in which predictions, and what they may claim, come; and what decides ties."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tsnd_client.evaluation.columns import Indices


class Ties(StrEnum):
    """Which of equal values comes first.

    The original leaves that to NumPy's default sort, read backwards. It is not stable, and its
    outcome differs between CPUs, but an evaluation that is to equal the original's on the same
    machine must do likewise.
    """

    ORIGINAL = "original"  # what NumPy's sort makes of it here
    FIRST = "first"  # that which is given first, on every machine


def by_group_and_score(groups: Indices, scores: npt.NDArray[np.float64], ties: Ties) -> Indices:
    """Order rows by group, and those of a group by falling score.

    Args:
        groups: int64 [N], 0 or more.
        scores: float64 [N], finite.
        ties: Which of equal scores comes first.

    Returns:
        int64 [N], places of the rows.
    """
    if ties is Ties.FIRST:
        return np.lexsort((-scores, groups))
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for rows in np.split(order, starts[1:]):  # views: sorting them sorts `order`
        rows[:] = rows[np.argsort(scores[rows])[::-1]]
    return order
