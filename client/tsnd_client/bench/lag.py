"""How late the generator itself is: what it measures is worth no more than its own punctuality."""

import asyncio
from collections.abc import Callable

from tsnd_client.bench.histogram import Histogram

PERIOD_S = 0.01


async def watch_lag(
    slips: Histogram, *, clock_ns: Callable[[], int], period_s: float = PERIOD_S
) -> None:
    """Note how long after its time each of many alarms goes off, microseconds; never returns.

    A busy event loop, or a processor that others use, delays them as it delays sending and
    reading.
    """
    while True:
        due_ns = clock_ns() + round(period_s * 1e9)
        await asyncio.sleep(period_s)
        slips.add((clock_ns() - due_ns) // 1000)
