"""Which rate to try next, in search of the highest that holds: pure, no more than a rule."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_STEPS = 12
PRECISION = 1.05
"""The search ends when the lowest rate that failed is no more than 5 % above the best."""
_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried.

    Attributes:
        rate_per_s: Snippets per second.
        holds: Whether the bound held.
        is_doubtful: Whether the generator was too late for that to mean much.
    """

    rate_per_s: float
    holds: bool
    is_doubtful: bool = False


def next_rate(
    steps: Sequence[Step],
    *,
    start_per_s: float,
    precision: float = PRECISION,
    max_steps: int = MAX_STEPS,
) -> float | None:
    """Say which rate to try, snippets/s; None when the search is over.

    Doubles until a rate fails, or halves until one holds, then bisects between them. A failure
    in doubt is tried once more.

    Args:
        steps: What was tried before.
        start_per_s: The first rate, snippets/s.
        precision: Ratio of the lowest failed rate to the best one that is near enough.
        max_steps: Most rates to try.
    """
    if not steps:
        return start_per_s
    if len(steps) >= max_steps:
        return None
    if _deserves_another_try(steps):
        return steps[-1].rate_per_s
    best, failed = best_rate(steps), lowest_failed(steps)
    if failed is None:
        return max(step.rate_per_s for step in steps) * _GROWTH
    if best is None:
        return failed / _GROWTH
    return (best + failed) / 2 if failed > best * precision else None


def best_rate(steps: Sequence[Step]) -> float | None:
    """Return the highest rate that held, snippets/s, below all that failed."""
    failed = lowest_failed(steps)
    held = _held(steps)
    return max((rate for rate in held if failed is None or rate < failed), default=None)


def lowest_failed(steps: Sequence[Step]) -> float | None:
    """Return the lowest rate that failed and did not hold at another try, snippets/s."""
    held = _held(steps)
    return min((step.rate_per_s for step in steps if step.rate_per_s not in held), default=None)


def _held(steps: Sequence[Step]) -> set[float]:
    return {step.rate_per_s for step in steps if step.holds}


def _deserves_another_try(steps: Sequence[Step]) -> bool:
    last, before = steps[-1], steps[:-1]
    is_first = all(step.rate_per_s != last.rate_per_s for step in before)
    return last.is_doubtful and not last.holds and is_first
