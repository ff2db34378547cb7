"""The numbers of a finished run: pure, from its ledger to plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from tsnd_client.bench.generator import Run
from tsnd_client.bench.histogram import Histogram
from tsnd_client.bench.ledger import Account, merged
from tsnd_client.urgency import PRIORITIES

_BUSY = 0.9
"""Share of the time beyond which the event loop has no room left, bursts considered."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, milliseconds; zeros where there were none."""

    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of snippets.

    Attributes:
        due: Those that were to be sent.
        sent: Those that were.
        answered: Those that came back with scores.
        refused: Those that did not, by gRPC status; CANCELLED: given up by us.
        deadline_missed: Those refused with DEADLINE_EXCEEDED, or answered longer after they were
            due than their timeout.
        latency_ms: From when a snippet was due to its scores.
    """

    due: int
    sent: int
    answered: int
    refused: Mapping[str, int]
    deadline_missed: int
    latency_ms: Percentiles


@dataclass(frozen=True, slots=True)
class Second:
    """Snippets due in one second of a run, and their latency, milliseconds."""

    second: int
    answered: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the generator kept its own time.

    Attributes:
        slip_ms: How late it woke for what was due, and for alarms every 10 ms.
        busy: Share of the time for which its event loop computed.
        sent_late: Snippets sent 10 ms or more after they were due. When the generator was not
            late itself, the server did not read those before them.
        is_late: Whether it was so late, or so busy, that the run says more about it, or about
            the machine under it, than about the server.
    """

    slip_ms: Percentiles
    busy: float
    sent_late: int
    is_late: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """One run.

    Attributes:
        offered_per_s: Snippets per second that were to be sent; None in a closed loop.
        measured_s: How long it was measured.
        answered_per_s: Snippets that came back with scores in that time, per second.
        all: All snippets.
        by_priority: The same for each priority that was sent.
        queue_ms: The daemon's, from acceptance to the start of the execution.
        compute_ms: The daemon's, of the execution.
        mean_batch: Snippets by executions; 0 where the server does not say.
        batch_sizes: Snippets by the size of the batch that they ran in.
        over_time: Second by second.
        generator: How well it kept its time.
        accounts_close: Whether each snippet sent was answered or refused, once.
        ended_early: Why, if it did.
    """

    offered_per_s: float | None
    measured_s: float
    answered_per_s: float
    all: Counts
    by_priority: Mapping[str, Counts]
    queue_ms: Percentiles
    compute_ms: Percentiles
    mean_batch: float
    batch_sizes: Mapping[int, int]
    over_time: tuple[Second, ...]
    generator: Generator
    accounts_close: bool
    ended_early: str


def summarize(run: Run, offered_per_s: float | None, *, max_slip_ms: float) -> Summary:
    """Reduce a run to its numbers.

    Args:
        run: A finished one.
        offered_per_s: Snippets per second that were to be sent; None in a closed loop.
        max_slip_ms: A 99th percentile of the slip beyond which the generator was too late.
    """
    accounts = run.ledger.accounts
    total = merged(accounts.values())
    measured_s = max(0.0, (run.ledger.until_ns - run.ledger.from_ns) / 1e9)
    return Summary(
        offered_per_s=offered_per_s,
        measured_s=measured_s,
        answered_per_s=run.ledger.finished / measured_s if measured_s else 0.0,
        all=_counts(total),
        by_priority={
            name: _counts(accounts[key]) for name, key in PRIORITIES.items() if key in accounts
        },
        queue_ms=percentiles(total.queue),
        compute_ms=percentiles(total.compute),
        mean_batch=mean_batch(total.batches),
        batch_sizes=dict(sorted(total.batches.items())),
        over_time=tuple(_second(key, total.seconds[key]) for key in sorted(total.seconds)),
        generator=_generator(run, max_slip_ms),
        accounts_close=all(account.closes for account in accounts.values()),
        ended_early=run.failure,
    )


def holds(run: Run, p99_ms: float) -> bool:
    """Say whether 99 % of all snippets that were due were answered within a bound.

    What was refused, given up or never sent counts as not answered: otherwise a daemon that
    sheds load would seem fast.

    Args:
        run: A finished one.
        p99_ms: The bound, milliseconds.
    """
    total = merged(run.ledger.accounts.values())
    return total.due > 0 and total.latency.count_within(round(p99_ms * 1e3)) >= 0.99 * total.due


def percentiles(durations_us: Histogram) -> Percentiles:
    """Return a histogram's percentiles, from microseconds to milliseconds."""
    p50, p90, p99, p99_9 = (durations_us.percentile(p) / 1e3 for p in (50, 90, 99, 99.9))
    return Percentiles(durations_us.mean / 1e3, p50, p90, p99, p99_9, durations_us.maximum / 1e3)


def mean_batch(snippets: Mapping[int, int]) -> float:
    """Return snippets by executions.

    Args:
        snippets: Snippets by the size of the batch that they ran in; 0 is unknown.
    """
    known = {size: number for size, number in snippets.items() if size}
    executions = sum(number / size for size, number in known.items())
    return sum(known.values()) / executions if executions else 0.0


def _counts(account: Account) -> Counts:
    return Counts(
        due=account.due,
        sent=account.sent,
        answered=account.answered,
        refused=dict(sorted(account.refused.items())),
        deadline_missed=account.refused["DEADLINE_EXCEEDED"] + account.late,
        latency_ms=percentiles(account.latency),
    )


def _second(second: int, latency_us: Histogram) -> Second:
    found = percentiles(latency_us)
    return Second(second, latency_us.count, found.p50, found.p99, found.max)


def _generator(run: Run, max_slip_ms: float) -> Generator:
    slip_ms = percentiles(run.slips)
    is_late = slip_ms.p99 > max_slip_ms or run.busy > _BUSY
    return Generator(slip_ms, run.busy, run.sent_late, is_late)
