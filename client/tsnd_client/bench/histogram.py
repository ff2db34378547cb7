"""Counts of durations in buckets of three significant digits, as HdrHistogram has them.

A value up to 2,047 has a bucket of its own; from there on each doubling has 1,024 buckets, so
that a bucket is less than 0.1 % wide. Buckets that hold nothing take no memory.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Self

_EXACT_BITS = 11
"""2^11 is the first power of two beyond 2 * 10^3: what three digits need (HdrHistogram)."""


class Histogram:
    """Counts of whole numbers from 0 on, of any size; the maximum is exact."""

    def __init__(self) -> None:
        """Begin empty."""
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.total = 0
        self.maximum = 0

    def add(self, value: int, times: int = 1) -> None:
        """Count a value; one below 0, from a clock's rounding, counts as 0."""
        value = max(0, value)
        self._counts[lowest_equivalent(value)] += times
        self.count += times
        self.total += value * times
        self.maximum = max(self.maximum, value)

    def merge(self, others: Iterable[Self]) -> Self:
        """Add the counts of others to these; returns this one."""
        for other in others:
            self._counts.update(other._counts)
            self.count += other.count
            self.total += other.total
            self.maximum = max(self.maximum, other.maximum)
        return self

    def percentile(self, percent: float) -> int:
        """Return the least value that so many percent of the counted do not exceed.

        Rounded up within its bucket, by less than 0.1 %; 0 where nothing was counted.
        """
        # In whole thousandths: 99.9 / 100 * 10_000 is a little more than 9,990 in floats.
        wanted = -(-round(percent * 1000) * self.count // 100_000)
        seen = 0
        for low in sorted(self._counts):
            seen += self._counts[low]
            if seen >= wanted:
                return min(highest_equivalent(low), self.maximum)
        return self.maximum

    def count_within(self, bound: int) -> int:
        """Return how many were at most so large, or in the bound's bucket."""
        last = lowest_equivalent(bound)
        return sum(number for low, number in self._counts.items() if low <= last)

    @property
    def mean(self) -> float:
        """The exact mean; 0 where nothing was counted."""
        return self.total / self.count if self.count else 0.0


def lowest_equivalent(value: int) -> int:
    """Return the lowest value of the bucket that a value belongs to."""
    shift = _shift(value)
    return value >> shift << shift


def highest_equivalent(value: int) -> int:
    """Return the highest value of the bucket that a value belongs to."""
    return lowest_equivalent(value) + (1 << _shift(value)) - 1


def _shift(value: int) -> int:
    return max(0, value.bit_length() - _EXACT_BITS)
