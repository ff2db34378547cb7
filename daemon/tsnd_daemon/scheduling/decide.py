"""Says when waiting snippets form a batch; a pure function."""

from dataclasses import dataclass

from tsnd_daemon.settings import BatchPolicy


@dataclass(frozen=True, slots=True)
class Close:
    """Form a batch now, of this many snippets."""

    size: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait this long, or (None) until something changes."""

    ns: int | None


def decide(
    *, pending: int, oldest_ns: int, now_ns: int, is_idle: bool, has_room: bool, policy: BatchPolicy
) -> Close | Wait:
    """Say whether the pending snippets form a batch yet.

    An idle executor gets a batch as soon as it is full, has a preferred size, or its oldest
    snippet has waited max_queue_delay_us. A busy one gets only a full batch: to close a
    smaller one early would gain nothing and keep later snippets out of it.

    Args:
        pending: Snippets that wait.
        oldest_ns: When the oldest of them arrived, on a monotonic clock; any, if there are
            none or a full batch.
        now_ns: The same clock, now.
        is_idle: Whether an executor has nothing in hand.
        has_room: Whether an executor takes one more batch.
        policy: Bounds on batch size (snippets) and queue delay (microseconds).

    Returns:
        `Close` with the batch's size, or `Wait` with the time after which to ask again.
    """
    if pending == 0 or not has_room:
        return Wait(ns=None)
    if pending >= policy.max_batch_size:
        return Close(size=policy.max_batch_size)
    if not is_idle:
        return Wait(ns=None)
    left_ns = oldest_ns + policy.max_queue_delay_us * 1_000 - now_ns
    if left_ns <= 0:
        return Close(size=pending)
    preferred = [size for size in policy.preferred_batch_sizes if size <= pending]
    return Close(size=max(preferred)) if preferred else Wait(ns=left_ns)
