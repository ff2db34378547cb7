"""Runs one load: a task per stream sends what is due, until the time is over.

In an open loop snippets are due by schedule, whatever the daemon does; those that it keeps from
being sent wait, and their latency grows meanwhile. In a closed loop a snippet is due when an
answer frees its place.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tsnd_client.bench.arrivals import Arrivals, due_times
from tsnd_client.bench.histogram import Histogram
from tsnd_client.bench.lag import watch_lag
from tsnd_client.bench.lane import Door, Lane
from tsnd_client.bench.ledger import Ledger, Outcome, Ticket
from tsnd_client.bench.streams import Feed

_NAP_S = 0.25
"""Longest sleep, so that Ctrl-C is heard in the pauses of slow streams."""
_LATE_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a run takes, seconds.

    Attributes:
        warm_up_s: Sending without measuring.
        duration_s: Measuring.
        drain_s: Longest wait for the answers to what was due before.
    """

    warm_up_s: float
    duration_s: float
    drain_s: float


@dataclass(slots=True)
class Run:
    """One load, while it runs and afterwards; lanes tell it what became of snippets.

    Attributes:
        ledger: What became of snippets.
        clock_ns: What it goes by, nanoseconds.
        slips: How late the generator woke, microseconds.
        sent_late: Snippets that were handed to gRPC 10 ms or more after they were due: because
            the server did not read those before them, or because the generator was late.
        busy: Share of the time for which the event loop's thread computed.
        failure: Why it ended early; empty when it did not.
    """

    ledger: Ledger
    clock_ns: Callable[[], int]
    slips: Histogram = field(default_factory=Histogram)
    sent_late: int = 0
    busy: float = 0.0
    failure: str = ""

    def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """Note what became of a snippet."""
        self.ledger.settle(ticket, outcome, self.clock_ns())

    def broken(self, reason: str) -> None:
        """End early: a lane takes nothing more."""
        self.failure = self.failure or reason
        self.stop()

    def stop(self) -> None:
        """End early."""
        self.ledger.stop(self.clock_ns())


def new_run(timing: Timing, clock_ns: Callable[[], int] = time.monotonic_ns) -> Run:
    """Prepare a run that begins now."""
    from_ns = clock_ns() + round(timing.warm_up_s * 1e9)
    return Run(Ledger(from_ns=from_ns, until_ns=from_ns + round(timing.duration_s * 1e9)), clock_ns)


async def run_load(
    run: Run, door: Door, feeds: Sequence[Feed], *, drain_s: float, arrivals: Arrivals, seed: int
) -> None:
    """Load a server until a run is over, or stopped, and its answers have come.

    Args:
        run: What is filled.
        door: To the server.
        feeds: The streams.
        drain_s: Longest wait for the answers, seconds.
        arrivals: How an open loop spaces messages.
        seed: What they are drawn with.
    """
    lanes = await asyncio.gather(*(door.open_lane(feed, run) for feed in feeds))
    begin_ns, busy_ns = run.clock_ns(), time.thread_time_ns()
    watch = asyncio.create_task(watch_lag(run.slips, clock_ns=run.clock_ns))
    try:
        tasks = [
            asyncio.create_task(_feed(run, lane, feed, _schedule(feed, arrivals, begin_ns, seed)))
            for lane, feed in zip(lanes, feeds, strict=True)
        ]
        patience_ns = await _until_over(run, tasks, drain_s)
        run.busy = (time.thread_time_ns() - busy_ns) / max(1, run.clock_ns() - begin_ns)
    finally:
        watch.cancel()
    left_s = max(0.0, (patience_ns - run.clock_ns()) / 1e9)
    await asyncio.gather(*(lane.finish(left_s) for lane in lanes))


async def _until_over(run: Run, tasks: Sequence[asyncio.Task[None]], drain_s: float) -> int:
    """Wait until all is sent, or the time to wait for that is over; returns when that is."""
    pending = set(tasks)
    while pending and run.clock_ns() < run.ledger.until_ns:
        left_s = (run.ledger.until_ns - run.clock_ns()) / 1e9
        _, pending = await asyncio.wait(pending, timeout=min(_NAP_S, left_s))
    # The end may have come early by now.
    patience_ns = run.ledger.until_ns + round(drain_s * 1e9)
    if pending:
        left_s = max(0.0, (patience_ns - run.clock_ns()) / 1e9)
        _, pending = await asyncio.wait(pending, timeout=left_s)
    for task in pending:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    return patience_ns


def _schedule(feed: Feed, arrivals: Arrivals, begin_ns: int, seed: int) -> Iterator[int] | None:
    if feed.messages_per_s is None:
        return None
    rng = random.Random(f"{seed}/{feed.index}")
    return due_times(arrivals, feed.messages_per_s, begin_ns=begin_ns, rng=rng)


async def _feed(run: Run, lane: Lane, feed: Feed, schedule: Iterator[int] | None) -> None:
    if schedule is None:
        await _feed_closed(run, lane, feed)
    else:
        await _feed_open(run, lane, feed, schedule)


async def _feed_closed(run: Run, lane: Lane, feed: Feed) -> None:
    slots = asyncio.Semaphore(feed.messages_in_flight)
    while run.clock_ns() < run.ledger.until_ns:
        await slots.acquire()
        now_ns = run.clock_ns()
        if now_ns < run.ledger.until_ns:
            ticket = _ticket(run, feed, now_ns, slots)
            ticket.account.sent += feed.group
            await lane.send(ticket)


async def _feed_open(run: Run, lane: Lane, feed: Feed, schedule: Iterator[int]) -> None:
    try:
        for due_ns in schedule:
            slept = await _sleep_until(run, due_ns)
            if due_ns >= run.ledger.until_ns:
                return
            slip_ns = run.clock_ns() - due_ns
            if slept:
                run.slips.add(slip_ns // 1000)
            ticket = _ticket(run, feed, due_ns)
            if slip_ns > _LATE_NS:
                run.sent_late += feed.group
            ticket.account.sent += feed.group
            await lane.send(ticket)
    except asyncio.CancelledError:
        # What was due and could not be sent in time is part of the truth.
        for due_ns in schedule:
            if due_ns >= run.ledger.until_ns:
                break
            _ticket(run, feed, due_ns)
        raise


async def _sleep_until(run: Run, due_ns: int) -> bool:
    """Sleep, if there is time, until then or the end; returns whether there was."""
    slept = False
    while (left_ns := min(due_ns, run.ledger.until_ns) - run.clock_ns()) > 0:
        await asyncio.sleep(min(_NAP_S, left_ns / 1e9))
        slept = True
    return slept


def _ticket(run: Run, feed: Feed, due_ns: int, slot: asyncio.Semaphore | None = None) -> Ticket:
    account = run.ledger.account(feed.priority, due_ns)
    account.due += feed.group
    return Ticket(due_ns, feed.group, account, feed.timeout_ms, slot)
