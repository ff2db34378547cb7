"""What `tsn bench` prints: values in, lines out."""

from collections.abc import Iterator, Mapping, Sequence

from tsnd_client.bench.lane import Served
from tsnd_client.bench.plan import Plan
from tsnd_client.bench.ramp import Step, best_rate, lowest_failed
from tsnd_client.bench.summary import Counts, Generator, Percentiles, Summary

_FEW = 100
"""Of fewer snippets the 99th percentile is the slowest one."""

_WIDTHS = (10, 11, 10, 9, 9, 9, 9, 9, 9, 8, 11)
_TITLES = (
    "offered/s", "answered/s", "priority",
    "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms",
    "refused", "missed", "mean batch",
)  # fmt: skip


def head_lines(plan: Plan, served: Served) -> list[str]:
    """Say what is loaded with what, and begin the table."""
    shape = " x ".join(map(str, served.snippet_shape))
    made_of = ", ".join(filter(None, (served.modality, shape, served.backend, served.precision)))
    streams = sum(kind.count for kind in plan.kinds)
    loop = f"open loop, {plan.arrivals} arrivals" if plan.is_open else "closed loop"
    timing = plan.timing
    return [
        f"{served.model} version {served.version} ({made_of}) at {served.target}",
        f"{loop}, {streams} streams, {plan.payload} pixels, {plan.protocol}; "
        f"{timing.duration_s:g} s after {timing.warm_up_s:g} s of warm-up",
        "",
        _row(_TITLES),
    ]


def run_lines(summary: Summary) -> Iterator[str]:
    """Put a run's numbers into the table, and below them what must not be overlooked."""
    offered = "closed" if summary.offered_per_s is None else f"{summary.offered_per_s:.1f}"
    mean = f"{summary.mean_batch:.1f}" if summary.mean_batch else "?"
    yield _row((offered, f"{summary.answered_per_s:.1f}", "all", *_cells(summary.all), mean))
    if len(summary.by_priority) > 1:
        for name, counts in summary.by_priority.items():
            yield _row(("", "", name, *_cells(counts), ""))
    yield from _warnings(summary)


def detail_lines(summary: Summary) -> Iterator[str]:
    """Say what else there is to know of a single run, beyond its `run_lines`."""
    yield ""
    if summary.batch_sizes.keys() - {0}:
        yield f"queue    {_split(summary.queue_ms)}"
        yield f"compute  {_split(summary.compute_ms)}"
        yield f"snippets by batch size  {_shares(summary.batch_sizes)}"
    if not _is_short(summary):
        yield account_line(summary)
    if not summary.generator.is_late:
        yield generator_line(summary.generator)


def account_line(summary: Summary) -> str:
    """Account for every snippet."""
    counts = summary.all
    refused = " + ".join(f"{number} {code}" for code, number in counts.refused.items())
    unsent = counts.due - counts.sent
    return (
        f"accounts {'close' if summary.accounts_close else 'DO NOT CLOSE'}: {counts.due} due = "
        f"{counts.sent} sent + {unsent} not sent in time; {counts.sent} sent = {counts.answered} "
        f"answered + {refused or '0 refused'}"
    )


def generator_line(generator: Generator) -> str:
    """Say how well the generator kept its own time."""
    slip = generator.slip_ms
    return (
        f"generator woke late by {slip.p50:.1f} ms (p50), {slip.p99:.1f} ms (p99), "
        f"{slip.max:.1f} ms (max); its loop was busy {generator.busy:.0%} of the time; "
        f"{generator.sent_late} snippets were sent 10 ms or more after they were due"
    )


def search_line(steps: Sequence[Step], p99_ms: float) -> str:
    """Say what the search for a rate has found."""
    best, failed = best_rate(steps), lowest_failed(steps)
    if best is None:
        tried = f"; {failed:.1f} does not" if failed else ""
        return f"no rate holds a p99 of {p99_ms:g} ms{tried}"
    beyond = f"; {failed:.1f} does not" if failed else ", the highest that was tried"
    return f"{best:.1f} snippets/s hold a p99 of {p99_ms:g} ms{beyond}"


def _warnings(summary: Summary) -> Iterator[str]:
    if _is_short(summary):
        yield f"  ! {account_line(summary)}"
    if summary.generator.is_late:
        yield f"  ! not to be trusted: {generator_line(summary.generator)}"
    if summary.ended_early:
        yield f"  ! ended early: {summary.ended_early}"
    if summary.all.due < _FEW:
        yield f"  ! {summary.all.due} snippets are too few for a p99: measure for longer"


def _is_short(summary: Summary) -> bool:
    """Say whether some snippet was not answered, or is missing altogether."""
    return not summary.accounts_close or summary.all.answered < summary.all.due


def _cells(counts: Counts) -> tuple[str, ...]:
    found = counts.latency_ms
    durations = (found.p50, found.p90, found.p99, found.p99_9, found.max)
    shown = [_ms(value) if counts.answered else "-" for value in durations]
    return (*shown, str(sum(counts.refused.values())), str(counts.deadline_missed))


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _split(found: Percentiles) -> str:
    return f"p50 {_ms(found.p50)} ms, p99 {_ms(found.p99)} ms, max {_ms(found.max)} ms"


def _shares(snippets: Mapping[int, int]) -> str:
    total = sum(snippets.values())
    return ", ".join(f"{size}: {number / total:.0%}" for size, number in snippets.items())
