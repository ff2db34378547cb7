"""`tsn bench`: decide what to run, run it, and print each run as it ends."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tsnd_client.bench import report
from tsnd_client.bench.arguments import Arguments
from tsnd_client.bench.generator import Run, new_run, run_load
from tsnd_client.bench.lane import Door, Served
from tsnd_client.bench.machine import git_revision, machine
from tsnd_client.bench.native import Asked, open_native
from tsnd_client.bench.plan import Plan, Protocol, to_plan
from tsnd_client.bench.ramp import Step, best_rate, next_rate
from tsnd_client.bench.record import check_destination, to_record, write_record
from tsnd_client.bench.summary import Summary, holds, summarize

_MIN_DRAIN_S = 1.0


@dataclass(slots=True)
class Results:
    """What a benchmark has brought so far.

    Attributes:
        served: What the server says about itself.
        runs: The runs that have ended.
        steps: Of the search for a rate.
        interrupted: Whether Ctrl-C has ended it.
        current: The run that goes on.
    """

    served: Served | None = None
    runs: list[Summary] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    interrupted: bool = False
    current: Run | None = None

    def interrupt(self) -> None:
        """End the run that goes on, and begin no other."""
        self.interrupted = True
        if self.current:
            self.current.stop()

    @property
    def is_over(self) -> bool:
        """Whether no other run may begin."""
        return self.interrupted or any(run.ended_early for run in self.runs)


def run(args: Arguments) -> int:
    """Do it all; return the exit status.

    Returns:
        0; 1 when the server ended it early, accounts do not close or no rate holds the bound;
        130 after Ctrl-C.

    Raises:
        ClientError: The command line, the server or a file was not usable.
    """
    plan = to_plan(args)
    _check_outputs(plan)
    results = asyncio.run(bench(plan))
    _write(plan, results)
    return _status(plan, results)


async def bench(plan: Plan) -> Results:
    """Run a plan, and print."""
    results = Results()
    with _on_interrupt(results):
        async with _open(plan) as door:
            results.served = door.served
            _print(report.head_lines(plan, door.served))
            if plan.p99_ms is not None:
                await _search(plan, door, results, plan.p99_ms)
            else:
                await _run_all(plan, door, results)
    return results


async def _run_all(plan: Plan, door: Door, results: Results) -> None:
    for rate_per_s in plan.rates or (None,):
        if not results.is_over:
            await _run_one(plan, door, results, rate_per_s)
    if len(results.runs) == 1:
        _print(report.detail_lines(results.runs[0]))


async def _search(plan: Plan, door: Door, results: Results, p99_ms: float) -> None:
    # What has not come long after the bound has missed it: waiting on tells nothing new.
    drain_s = min(plan.timing.drain_s, max(_MIN_DRAIN_S, 2 * p99_ms / 1e3))
    short = replace(plan, timing=replace(plan.timing, drain_s=drain_s))
    while not results.is_over:
        rate_per_s = next_rate(results.steps, start_per_s=plan.rates[0])
        if rate_per_s is None:
            break
        finished = await _run_one(short, door, results, rate_per_s)
        if not results.is_over:
            is_late = results.runs[-1].generator.is_late
            results.steps.append(Step(rate_per_s, holds(finished, p99_ms), is_late))
    if results.steps:
        _print(["", report.search_line(results.steps, p99_ms)])


async def _run_one(plan: Plan, door: Door, results: Results, rate_per_s: float | None) -> Run:
    """Do one run, and print it."""
    run = results.current = new_run(plan.timing)
    await run_load(
        run,
        door,
        plan.feeds(rate_per_s),
        drain_s=plan.timing.drain_s,
        arrivals=plan.arrivals,
        seed=plan.seed,
    )
    summary = summarize(run, rate_per_s, max_slip_ms=plan.max_slip_ms)
    results.runs.append(summary)
    _print(report.run_lines(summary))
    return run


@asynccontextmanager
async def _open(plan: Plan) -> AsyncIterator[Door]:
    if plan.protocol is Protocol.KSERVE:
        from tsnd_client.bench import kserve  # noqa: PLC0415 -- needs what may be missing

        async with kserve.open_kserve(plan.target, plan.model) as kserve_door:
            yield kserve_door
        return
    asked = Asked(
        target=plan.target,
        model=plan.model,
        modality=plan.modality,
        payload=plan.payload,
        reply=plan.reply,
        largest_group=max(kind.group for kind in plan.kinds),
    )
    async with open_native(asked) as door:
        yield door


@contextlib.contextmanager
def _on_interrupt(results: Results) -> Iterator[None]:
    """Let the first Ctrl-C end the load, so that what there is can be printed."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # the second one ends the program
        results.interrupt()

    # Only the main thread of a program can listen to signals.
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)


def _check_outputs(plan: Plan) -> None:
    """Complain before the load of what could not be written after it."""
    if plan.json:
        check_destination(plan.json)
    if plan.plot:
        from tsnd_client.bench import plots  # noqa: PLC0415 -- needs an extra that may be missing

        plots.check_format(plan.plot)
        check_destination(plan.plot)


def _write(plan: Plan, results: Results) -> None:
    if plan.json and results.served:
        record = to_record(
            plan,
            results.served,
            results.runs,
            results.steps,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=sys.argv,
            machine=machine(),
            git=git_revision(),
        )
        write_record(plan.json, record)
    if plan.plot and results.served and results.runs:
        from tsnd_client.bench import plots  # noqa: PLC0415 -- needs an extra that may be missing

        title = report.head_lines(plan, results.served)[0]
        plots.write_plot(plan.plot, title, results.runs)


def _status(plan: Plan, results: Results) -> int:
    if results.interrupted:
        print("tsn: interrupted; these are the numbers so far", file=sys.stderr)
        return 130
    if any(run.ended_early or not run.accounts_close for run in results.runs):
        return 1
    return 1 if plan.p99_ms is not None and best_rate(results.steps) is None else 0


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        # A pipe should see each line as it comes.
        print(line, flush=True)
