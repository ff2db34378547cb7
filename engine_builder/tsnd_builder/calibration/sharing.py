"""Shares a bounded number of snippets out over videos, and over the time of each. Pure."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread_order(length: int) -> list[int]:
    """Order the numbers below `length` so that every beginning of the list is spread evenly.

    It is the van der Corput sequence in base 2: 0, 4, 2, 6, 1, 5, 3, 7. Whoever takes from
    it until there is enough need not know beforehand how many of them are usable.
    """
    bits = max(length - 1, 0).bit_length()
    reversed_ = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in reversed_ if number < length]


def share_out(capacities: Sequence[int], total: int) -> list[int]:
    """Give each video its share of the snippets.

    Args:
        capacities: How many each could give.
        total: How many are to be had in all.

    Returns:
        One number each: as equal as the capacities allow, and `total` together or all
        there are.
    """
    shares = [0] * len(capacities)
    left = total
    by_capacity = sorted(range(len(capacities)), key=capacities.__getitem__)
    for rank, place in enumerate(by_capacity):
        shares[place] = min(capacities[place], left // (len(capacities) - rank))
        left -= shares[place]
    return shares


def spread(values: Sequence[T], number: int) -> list[T]:
    """Pick `number` of the values, at most all, from the middles of as many equal spans."""
    return [values[(2 * place + 1) * len(values) // (2 * number)] for place in range(number)]
