"""The numbers as a table of Markdown: values in, lines out."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.peers.rounds import HALF, Contest, Findings

_TITLES = (
    "snippets/s (min..max)", "first / it, by round", "server's CPU, us each",
    "rate within the bound", "p50 ms at half load", "p99 ms",
)  # fmt: skip


def lines(contest: Contest) -> Iterator[str]:
    """Say what a case gave."""
    case = contest.case
    yield f"**{case.title}**, bound: p99 within {case.p99_ms:g} ms"
    yield ""
    yield _row("", *_TITLES)
    yield "|---" * (len(_TITLES) + 1) + "|"
    if contest.bare:
        first = contest.ways[0]
        ratios = [a.per_s / b for a, b in zip(first.full, contest.bare, strict=True)]
        yield _row("bare session", spread(contest.bare, ".1f"), spread(ratios, ".2f"), *[""] * 4)
    for found in contest.ways:
        yield _row(found.way.title, *_cells(found, contest.ways[0]))
    yield ""
    for name, reason in contest.missing.items():
        yield f"{name} did not take part: {reason}"
    yield from _doubts(contest.ways)


def _cells(found: Findings, first: Findings) -> Iterator[str]:
    rates = [each.per_s for each in found.full]
    yield spread(rates, ".1f")
    ratios = [a.per_s / b.per_s for a, b in zip(first.full, found.full, strict=True) if b.per_s]
    yield spread(ratios, ".2f") if found is not first else ""
    yield spread([each.cpu_us for each in found.full], ".0f")
    yield _best(found)
    yield spread([each.p50_ms for each in found.half], ".1f")
    yield spread([each.p99_ms for each in found.half], ".1f")


def _best(found: Findings) -> str:
    if len(found.steps) <= 1:  # the one that is taken to fail
        return "not tried"
    best = found.within_bound_per_s
    return (
        f"{best:.1f}" if best else f"less than {min(step.rate_per_s for step in found.steps):.1f}"
    )


def _doubts(ways: Sequence[Findings]) -> Iterator[str]:
    """Say what makes numbers doubtful."""
    for found in ways:
        runs = [*found.full, *found.half]
        late = sum(each.is_doubtful for each in runs)
        if late:
            yield f"{found.way.title}: generator late or busy in {late} turns of {len(runs)}"
        refused = sum(each.refused for each in runs)
        if refused:
            yield f"{found.way.title}: {refused} snippets were refused or not answered"
        for failure in {each.failure for each in runs} - {""}:
            yield f"{found.way.title}: {failure}"


def legend() -> str:
    """Say how to read it."""
    return (
        "snippets/s: closed loop, medians. first / it: the first row's snippets/s as a multiple "
        "of this row's, round by round. half load: an open loop (Poisson) at "
        f"{HALF:.0%} of the row's own median snippets/s."
    )


def spread(values: Sequence[float], form: str) -> str:
    """Write a median and the range."""
    if not values:
        return ""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}}..{high:{form}})"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
