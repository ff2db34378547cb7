"""When the scores of a call lose their use, on the monotonic clock; pure but for the clock."""

import time
from typing import Any

from grpc import aio


def deadline_of(context: aio.ServicerContext[Any, Any]) -> int | None:
    """Return the client's deadline, monotonic nanoseconds; None when it has none."""
    left_s = context.time_remaining()
    return None if left_s is None else time.monotonic_ns() + int(left_s * 1e9)


def earlier(call_deadline_ns: int | None, timeout_us: int) -> int | None:
    """Return the earlier of a call's deadline and a timeout from now, if there is any.

    Args:
        call_deadline_ns: Monotonic nanoseconds.
        timeout_us: Microseconds; 0 is none.
    """
    if not timeout_us:
        return call_deadline_ns
    deadline_ns = time.monotonic_ns() + timeout_us * 1_000
    return deadline_ns if call_deadline_ns is None else min(call_deadline_ns, deadline_ns)
