"""When the messages of a stream are due: pure, endless, and the same for the same seed."""

import random
from collections.abc import Iterator
from enum import StrEnum


class Arrivals(StrEnum):
    """How an open loop spaces messages."""

    POISSON = "poisson"
    CONSTANT = "constant"


def due_times(
    kind: Arrivals, messages_per_s: float, *, begin_ns: int, rng: random.Random
) -> Iterator[int]:
    """Yield when each message of a stream is due, nanoseconds.

    Args:
        kind: Poisson: gaps are exponential, as of many independent sources. Constant: gaps are
            equal, as of a camera; the first is drawn, so that streams do not march in step.
        messages_per_s: On average.
        begin_ns: Before all of them, on the clock that they are for.
        rng: What gaps are drawn from.
    """
    gap_s = 1 / messages_per_s
    match kind:
        case Arrivals.POISSON:
            due_s = 0.0
            while True:
                due_s += rng.expovariate(messages_per_s)
                yield begin_ns + round(due_s * 1e9)
        case Arrivals.CONSTANT:
            # Multiples of the gap, not sums: those would drift.
            first_s, index = rng.random() * gap_s, 0
            while True:
                yield begin_ns + round((first_s + index * gap_s) * 1e9)
                index += 1
