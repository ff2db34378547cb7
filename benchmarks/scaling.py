"""Does a snippet cost the daemon the same, however many streams, models and groups there are?

The daemon runs without an engine (its synthetic backend) in a process of its own, and the
kernel says how much time it used on all its threads. Along each axis the points take turns:
streams, each a connection of its own; snippets in a message; models, over which the streams are
spread; ways for the pixels to come. As many snippets are unanswered at every point that has
streams enough. From 8 to 256 streams the cost must stay flat, within 15 %.

    make bench-scaling
    python -m benchmarks.scaling --axes streams --rounds 9
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.load import Load, measure
from benchmarks.machine import machine_line
from benchmarks.server_cpu import BIN, MODEL, build_model, cpu_s, process, spread, tsn_build
from benchmarks.smoke import Bound, judge, quotients
from tsnd_client.bench.generator import Timing
from tsnd_client.bench.lane import Door, Lane, Sink
from tsnd_client.bench.native import Asked, open_native
from tsnd_client.bench.payloads import Payload
from tsnd_client.bench.streams import Feed, StreamKind

MODELS = 8
NAMES = (MODEL, *(f"{MODEL}{index}" for index in range(1, MODELS)))
STREAMS = 32
LARGEST_GROUP = 32
IN_FLIGHT = 256
IN_FLIGHT_OF_A_STREAM = 32
FLAT_FROM, FLAT = 8, Bound("cost of a snippet beside that of 8 streams", most=1.15)
_ANY_LATENCY_MS = 60_000.0


@dataclass(frozen=True, slots=True)
class Point:
    """A load along an axis.

    Attributes:
        value: Where it is on its axis.
        streams: How many.
        group: Snippets in a message.
        models: How many the streams are spread over.
        payload: How pixels come.
    """

    value: int | str
    streams: int = STREAMS
    group: int = 1
    models: int = 1
    payload: Payload = Payload.RAW

    def kind(self) -> StreamKind:
        """Return the streams, which together have `IN_FLIGHT` snippets unanswered if they can."""
        share = min(IN_FLIGHT_OF_A_STREAM, IN_FLIGHT // self.streams)
        return StreamKind(count=self.streams, group=self.group, in_flight=max(1, self.group, share))


AXES: dict[str, tuple[Point, ...]] = {
    "streams": tuple(Point(n, streams=n) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "group": tuple(Point(n, group=n, streams=8) for n in (1, 2, 4, 8, 16, 32)),
    "models": tuple(Point(n, models=n) for n in (1, 2, 4, 8)),
    "payload": tuple(Point(payload.value, payload=payload) for payload in Payload),
}

Costs = Mapping[Point, list[float]]
"""Processor time per snippet, milliseconds, turn by turn."""


class SpreadDoor:
    """Opens streams to several models in turns."""

    def __init__(self, doors: Sequence[Door]) -> None:
        """Take the doors to them."""
        self.served = doors[0].served
        self._doors = doors

    async def open_lane(self, feed: Feed, sink: Sink) -> Lane:
        """Begin a stream to the model that is its turn."""
        return await self._doors[feed.index % len(self._doors)].open_lane(feed, sink)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables; returns 1 when the cost is not flat over streams."""
    options = parse(argv)
    timing = Timing(warm_up_s=0.5, duration_s=options.seconds, drain_s=5.0)
    with tempfile.TemporaryDirectory() as folder:
        repository = build_models(Path(folder))
        found = uvloop.run(measure_axes(repository, options.axes, timing, options.rounds))
    print(machine_line())
    print(
        "daemon's processor time per snippet of 150 KB, ms; median (quartiles) of "
        f"{options.rounds} turns of {options.seconds:g} s"
    )
    for axis, costs in found.items():
        print("\n" + "\n".join(table(axis, costs)))
    verdict = flatness(found.get("streams", {}))
    print("\n".join(["", *verdict]))
    return 1 if any(line.startswith("FAIL") for line in verdict) else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), default=tuple(AXES))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each point")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each turn")
    return parser.parse_args(argv)


def build_models(folder: Path) -> Path:
    """Build as many packages of one network as there may be models."""
    repository = build_model(folder)
    caffe = folder / "caffe"
    for name in NAMES[1:]:
        tsn_build(
            "build", "--prototxt", caffe / "deploy.prototxt", "--weights",
            caffe / "weights.caffemodel", "--labels", caffe / "labels.txt", "--modality", "rgb",
            "--crops", "1", "--frame-size", "224x224", "--name", name,
            "--repository", repository,
        )  # fmt: skip
    return repository


async def measure_axes(
    repository: Path, axes: Sequence[str], timing: Timing, rounds: int
) -> dict[str, Costs]:
    """Measure the points of each axis in turns, so that a drifting machine hits all."""
    tsnd = (
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "synthetic", "--max-group-size", str(LARGEST_GROUP), "--max-queue-size",
        str(4 * IN_FLIGHT), "--log-level", "WARNING",
    )  # fmt: skip
    found: dict[str, Costs] = {}
    async with process(*tsnd) as (pid, target):
        for axis in axes:
            costs: dict[Point, list[float]] = {point: [] for point in AXES[axis]}
            for _ in range(rounds):
                for point, turns in costs.items():
                    turns.append(await cost_ms(target, NAMES, partial(cpu_s, pid), point, timing))
            found[axis] = costs
    return found


async def cost_ms(
    target: str,
    models: Sequence[str],
    used_s: Callable[[], float],
    point: Point,
    timing: Timing,
) -> float:
    """Load the daemon; returns its processor time per snippet, milliseconds.

    Args:
        target: HOST:PORT of the daemon.
        models: Names of those that it serves, of which the point takes the first ones.
        used_s: Tells the processor time that it has used so far, seconds.
        point: What is sent.
        timing: For how long.

    Raises:
        RuntimeError: A snippet was refused, or the daemon ended a stream.
    """
    async with AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(
                open_native(
                    Asked(
                        target=target,
                        model=name,
                        payload=point.payload,
                        largest_group=point.group,
                    )
                )
            )
            for name in models[: point.models]
        ]
        load = Load(timing, [point.kind()])
        found = await measure(SpreadDoor(doors), used_s, load, _ANY_LATENCY_MS)
    if found.failure or found.refused:
        raise RuntimeError(f"{found.refused} snippets were refused at {point}: {found.failure}")
    return found.cpu_us / 1e3


def table(axis: str, costs: Costs) -> list[str]:
    """Write an axis as a table of Markdown."""
    head = [f"| {axis} | ms | of the first |", "|---|---|---|"]
    first = next(iter(costs.values()))
    return head + [
        f"| {point.value} | {spread(turns)} | {spread(quotients(turns, first))} |"
        for point, turns in costs.items()
    ]


def flatness(costs: Costs) -> list[str]:
    """Hold the cost at more streams to that at 8, turn by turn."""
    by_streams = {point.streams: turns for point, turns in costs.items()}
    lines = []
    for streams, turns in by_streams.items():
        if streams > FLAT_FROM:
            verdict = judge(quotients(turns, by_streams[FLAT_FROM]), FLAT)
            mark = "ok  " if verdict.holds else "FAIL"
            lines.append(
                f"{mark} {verdict.median:5.2f} +- {verdict.noise:.2f}  <= {FLAT.most:g}  "
                f"{FLAT.what}: {streams} streams"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
