"""One load on one server: what came of it, and what it cost the server."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsnd_client.bench.arrivals import Arrivals
from tsnd_client.bench.generator import Run, Timing, new_run, run_load
from tsnd_client.bench.lane import Door
from tsnd_client.bench.streams import StreamKind, closed_feeds, open_feeds
from tsnd_client.bench.summary import holds, summarize

_MAX_SLIP_MS = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Attributes:
        timing: For how long.
        streams: By which streams.
        rate_per_s: Snippets per second of an open loop, of all streams; None is a closed loop.
        seed: What arrivals are drawn with.
    """

    timing: Timing
    streams: Sequence[StreamKind]
    rate_per_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a load.

    Attributes:
        per_s: Snippets answered per second.
        p50_ms: Median latency, from when a snippet was due.
        p99_ms: The 99th percentile.
        within: Whether 99 % of all that was due was answered within the bound.
        cpu_us: The server's processor time per answered snippet, microseconds.
        refused: Snippets answered with an error, or not at all.
        is_doubtful: Whether the generator was too late or too busy to tell.
        failure: Why it ended early; empty when it did not.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    within: bool
    cpu_us: float
    refused: int
    is_doubtful: bool
    failure: str


async def measure(door: Door, cpu_s: Callable[[], float], load: Load, p99_ms: float) -> Measured:
    """Load a server.

    Args:
        door: To it.
        cpu_s: Tells the processor time that it has used so far, seconds.
        load: What is sent.
        p99_ms: The bound that latency is held to.
    """
    rate = load.rate_per_s
    feeds = closed_feeds(load.streams) if rate is None else open_feeds(load.streams, rate)
    run = new_run(load.timing)
    cost = asyncio.create_task(_cpu_while_measuring(run, cpu_s))
    await run_load(
        run, door, feeds, drain_s=load.timing.drain_s, arrivals=Arrivals.POISSON, seed=load.seed
    )
    used_s = await cost
    found = summarize(run, load.rate_per_s, max_slip_ms=_MAX_SLIP_MS)
    latency = found.all.latency_ms
    return Measured(
        per_s=found.answered_per_s,
        p50_ms=latency.p50,
        p99_ms=latency.p99,
        within=holds(run, p99_ms),
        cpu_us=1e6 * used_s / max(1, run.ledger.finished),
        refused=found.all.due - found.all.answered,
        is_doubtful=found.generator.is_late,
        failure=found.ended_early,
    )


async def _cpu_while_measuring(run: Run, cpu_s: Callable[[], float]) -> float:
    """Return the processor time that a server uses between warm-up and end, seconds."""
    await _sleep_until(run, run.ledger.from_ns)
    before_s = cpu_s()
    await _sleep_until(run, run.ledger.until_ns)
    return cpu_s() - before_s


async def _sleep_until(run: Run, when_ns: int) -> None:
    await asyncio.sleep(max(0.0, (when_ns - run.clock_ns()) / 1e9))
