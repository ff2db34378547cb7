"""All ways in turns: capacity, latency at half of it, and the highest rate within a bound."""

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnxruntime

from benchmarks.load import Load, Measured, measure
from benchmarks.peers.contestants import MAX_BATCH_SIZE, Pixels, Server, Way
from benchmarks.peers.models import Case
from benchmarks.peers.processes import cpu_s
from benchmarks.peers.servers.engine import INPUT
from tsnd_client.bench.generator import Timing
from tsnd_client.bench.lane import Door
from tsnd_client.bench.ramp import Step, best_rate, next_rate
from tsnd_client.bench.streams import StreamKind

STREAMS = 8
IN_FLIGHT = 32
HALF = 0.5
BEYOND = 1.15
"""A rate this much above what a closed loop gave is taken to fail without being tried."""
_PRECISION = 1.05


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Turns of each way for its capacity.
        latency_rounds: Turns of each way at half of that.
        timing: Of each turn.
        tries: Most rates to try in the search of the highest one within the bound.
    """

    rounds: int
    latency_rounds: int
    timing: Timing
    tries: int


@dataclass(slots=True)
class Findings:
    """What one way gave.

    Attributes:
        way: Which one.
        full: Closed loops, turn by turn.
        half: Open loops at half the capacity, turn by turn.
        steps: Of the search for a rate.
    """

    way: Way
    full: list[Measured] = field(default_factory=list)
    half: list[Measured] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def capacity_per_s(self) -> float:
        """Median of the closed loops."""
        return statistics.median(found.per_s for found in self.full)

    @property
    def within_bound_per_s(self) -> float | None:
        """The highest rate that held the bound; None when none did."""
        return best_rate(self.steps)


@dataclass(frozen=True, slots=True)
class Contest:
    """What a case gave.

    Attributes:
        case: The graph.
        ways: All that took part.
        bare: Snippets per second of a bare session, round by round; empty where it is no bound.
        missing: Why a server did not take part, by its name.
    """

    case: Case
    ways: tuple[Findings, ...]
    bare: tuple[float, ...]
    missing: dict[str, str]


Entry = tuple[Findings, Server, Door]


async def compete(
    case: Case, entries: Sequence[Entry], pixels: Pixels, effort: Effort
) -> list[float]:
    """Measure all ways; returns the bare session's rates, round by round.

    Every other round goes backwards, so that a machine that drifts favours nobody.
    """
    bare = []
    for turn in range(effort.rounds):
        if case.heavy:
            bare.append(bare_per_s(case, pixels, effort.timing.duration_s))
        for found, server, door in _in_turn(entries, turn):
            load = Load(effort.timing, streams_of(found.way.group))
            found.full.append(await _measure(case, found, server, door, load))
    for turn in range(effort.latency_rounds):
        for found, server, door in _in_turn(entries, turn):
            rate = HALF * found.capacity_per_s
            load = Load(effort.timing, streams_of(found.way.group), rate, seed=turn)
            found.half.append(await _measure(case, found, server, door, load))
    for found, _, _ in entries:
        found.steps.append(Step(BEYOND * found.capacity_per_s, holds=False))
    for turn in range(effort.tries):
        for found, server, door in _in_turn(entries, turn):
            await _try_rate(case, (found, server, door), effort, turn)
    return bare


def _in_turn(entries: Sequence[Entry], turn: int) -> Sequence[Entry]:
    return entries if turn % 2 == 0 else entries[::-1]


async def _try_rate(case: Case, entry: Entry, effort: Effort, turn: int) -> None:
    found, server, door = entry
    rate = next_rate(
        found.steps, start_per_s=math.nan, precision=_PRECISION, max_steps=effort.tries + 1
    )
    if rate is None:
        return
    load = Load(effort.timing, streams_of(found.way.group), rate, seed=turn)
    measured = await _measure(case, found, server, door, load)
    found.steps.append(Step(rate, measured.within, measured.is_doubtful))


async def _measure(case: Case, found: Findings, server: Server, door: Door, load: Load) -> Measured:
    measured = await measure(door, partial(cpu_s, server.pid), load, case.p99_ms)
    offered = "closed" if load.rate_per_s is None else f"{load.rate_per_s:.0f}/s"
    print(
        f"{case.title:<20}{found.way.title:<22}{offered:>8}{measured.per_s:>9.1f}/s  p50 "
        f"{measured.p50_ms:8.1f} ms  p99 {measured.p99_ms:8.1f} ms  {measured.cpu_us:7.0f} us"
        f"{'  refused: ' + str(measured.refused) if measured.refused else ''}"
        f"{'  generator late' if measured.is_doubtful else ''}  {measured.failure}".rstrip(),
        file=sys.stderr,
        flush=True,
    )
    return measured


def streams_of(group: int) -> list[StreamKind]:
    """Return streams that keep `IN_FLIGHT` snippets unanswered, whatever the group."""
    count = min(STREAMS, max(1, IN_FLIGHT // group))
    return [StreamKind(count=count, group=group, in_flight=IN_FLIGHT // count)]


def bare_per_s(case: Case, pixels: Pixels, seconds: float) -> float:
    """Run full batches back to back in a session on all cores; returns snippets per second."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(case.onnx, options, providers=["CPUExecutionProvider"])
    batch = np.stack([pixels] * MAX_BATCH_SIZE)
    session.run(None, {INPUT: batch})
    batches, begun_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - begun_s) < seconds:
        session.run(None, {INPUT: batch})
        batches += 1
    return batches * MAX_BATCH_SIZE / took_s
