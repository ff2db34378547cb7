"""Does this change make the daemon slower? Ratios only, against committed bounds.

Everything is measured in turns with something that the change does not touch (an echo in
grpc.aio, a bare session, the raw path), so a slow machine moves both. What is left of noise is
estimated from the turns themselves, and a ratio fails only beyond it. What fails is measured once
more, for others on the machine may have come and gone meanwhile; a change that is slow fails twice.

    make bench-smoke
"""

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import payloads, server_cpu, throughput
from benchmarks.machine import machine_line
from benchmarks.server_cpu import Load

BOUNDS = Path(__file__).with_name("bounds.toml")
TURNS, SNIPPETS = 12, 800
ROUNDS, SECONDS = 4, 6.0
GROUPED = {"in groups of 16": Load(4, 16, 2)}


@dataclass(frozen=True, slots=True)
class Bound:
    """How large a ratio may be, or how small.

    Attributes:
        what: Of what to what.
        most: Largest good one.
        least: Smallest good one.
    """

    what: str
    most: float = math.inf
    least: float = -math.inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a bound.

    Attributes:
        median: Of the ratios.
        noise: How far the median of so many such ratios may be off by chance.
        holds: Whether the bound holds within that.
    """

    median: float
    noise: float
    holds: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; returns 1 when a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bounds", type=Path, default=BOUNDS, help="TOML file of bounds")
    bounds = read_bounds(parser.parse_args(argv).bounds)
    begun_s = time.monotonic()
    verdicts = measure_all(MEASUREMENTS, bounds)
    report(bounds, verdicts, time.monotonic() - begun_s)
    return 0 if all(tries[-1].holds for tries in verdicts.values()) else 1


def read_bounds(path: Path) -> dict[str, Bound]:
    """Read the bounds, by the name of their measurement."""
    return {name: Bound(**fields) for name, fields in tomllib.loads(path.read_text()).items()}


def judge(ratios: Sequence[float], bound: Bound) -> Verdict:
    """Compare the median of some ratios with a bound.

    The noise is twice the standard error of a median, 1.25 s / sqrt(n), with s taken from the
    quartiles (1.35 s apart in a normal distribution), which single bad turns do not move.
    """
    low, middle, high = statistics.quantiles(ratios, n=4)
    noise = 2 * 1.25 * (high - low) / 1.35 / math.sqrt(len(ratios))
    holds = middle - noise <= bound.most and middle + noise >= bound.least
    return Verdict(middle, noise, holds)


Ratios = dict[str, list[float]]
"""Turn by turn, by the name of their bound."""

Verdicts = dict[str, list[Verdict]]
"""One after the other, by the name of their bound: a second one where the first did not hold."""


def measure_all(
    measurements: Sequence[Callable[[], Ratios]], bounds: Mapping[str, Bound]
) -> Verdicts:
    """Take all measurements, and those again of which a bound does not hold.

    Raises:
        KeyError: Something is measured that has no bound.
    """
    verdicts: Verdicts = {}
    for measurement in measurements:
        first = {name: judge(ratios, bounds[name]) for name, ratios in measurement().items()}
        failed = [name for name, verdict in first.items() if not verdict.holds]
        second = measurement() if failed else {}
        for name, verdict in first.items():
            again = [judge(second[name], bounds[name])] if name in failed else []
            verdicts[name] = [verdict, *again]
    return verdicts


def measure_processor_time() -> Ratios:
    """Return what a snippet costs the daemon as a multiple of an echo's, by load."""
    options = argparse.Namespace(turns=TURNS, snippets=SNIPPETS)
    with tempfile.TemporaryDirectory() as folder:
        repository = server_cpu.build_model(Path(folder))
        costs = asyncio.run(server_cpu.measure(repository, options))
    return {how: quotients(costs["daemon", how], costs["echo", how]) for how in server_cpu.LOADS}


def measure_payloads() -> Ratios:
    """Return what a snippet in shared memory costs the daemon as a share of a raw one's."""
    options = argparse.Namespace(turns=TURNS, snippets=SNIPPETS)
    kinds = {name: payloads.PAYLOADS[name] for name in ("raw", "shared")}
    with tempfile.TemporaryDirectory() as folder, payloads.shared_memory() as memory:
        repository = server_cpu.build_model(
            Path(folder), height=payloads.HEIGHT, width=payloads.WIDTH
        )
        costs = asyncio.run(payloads.measure(repository, kinds, memory, options, GROUPED))
    (how,) = GROUPED
    return {"shared memory": quotients(costs["shared", how], costs["raw", how])}


def measure_throughput() -> Ratios:
    """Return the daemon's snippets/s as a share of those of bare sessions before and after."""
    options = throughput.parse(["--seconds", str(SECONDS)])
    pixels = np.random.default_rng(0).integers(
        0, 256, (throughput.BATCH, *throughput.SHAPE), dtype=np.uint8
    )
    with tempfile.TemporaryDirectory() as folder:
        repository = throughput.build_model(Path(folder), options.crops)
        before = throughput.run_bare(repository, pixels, SECONDS).snippets_per_s
        shares = []
        for _ in range(ROUNDS):
            served = asyncio.run(throughput.run_daemon("daemon", repository, pixels, options))
            after = throughput.run_bare(repository, pixels, SECONDS).snippets_per_s
            shares.append(served.snippets_per_s / statistics.mean((before, after)))
            before = after
    return {"delivered": shares}


MEASUREMENTS = (measure_processor_time, measure_payloads, measure_throughput)


def quotients(costs: Sequence[float], of: Sequence[float]) -> list[float]:
    """Divide turn by turn."""
    return [cost / reference for cost, reference in zip(costs, of, strict=True)]


def report(bounds: Mapping[str, Bound], verdicts: Verdicts, took_s: float) -> None:
    """Print a table."""
    print(machine_line("onnxruntime"))
    for name, tries in verdicts.items():
        bound = bounds[name]
        limit = f"<= {bound.most:g}" if math.isfinite(bound.most) else f">= {bound.least:g}"
        for place, verdict in enumerate(tries):
            is_last = place == len(tries) - 1
            mark = "ok  " if verdict.holds else "FAIL" if is_last else "once"
            print(f"{mark} {verdict.median:5.2f} +- {verdict.noise:.2f}  {limit:<8} {bound.what}")
    print(f"in {took_s:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
