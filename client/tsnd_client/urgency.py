"""How soon a snippet must run: its place among others, and how long it may wait."""

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """Which snippets run first: always those of the lower number.

    When the daemon's queue is full, BULK is shed first.
    """

    REAL_TIME = 0
    NORMAL = 1
    BULK = 2


PRIORITIES = {"real-time": Priority.REAL_TIME, "normal": Priority.NORMAL, "bulk": Priority.BULK}
"""By the names that command lines have for them."""


@dataclass(frozen=True, slots=True)
class Urgency:
    """What every request of a call says about time.

    Attributes:
        priority: Which snippets run first.
        timeout_us: Longest wait in the daemon's queue, microseconds; 0 is without limit.
    """

    priority: Priority = Priority.NORMAL
    timeout_us: int = 0


def to_urgency(priority: Priority, timeout_s: float | None) -> Urgency:
    """Check what a caller asked for.

    Args:
        priority: Which snippets run first.
        timeout_s: Longest wait in the daemon's queue, seconds; None is without limit.

    Raises:
        ValueError: The priority is none of `Priority`, or the timeout is not positive or
            more than a year.
    """
    return Urgency(Priority(priority), 0 if timeout_s is None else _to_microseconds(timeout_s))


def _to_microseconds(timeout_s: float) -> int:
    if not 0 < timeout_s <= 365 * 86_400:
        raise ValueError(
            f"timeout_s must be more than 0 and at most a year, got {timeout_s}; None is no limit"
        )
    # 0 would be no limit at all.
    return max(1, round(timeout_s * 1e6))
