"""How does the daemon compare with what one would use instead, on the same work?

NVIDIA Triton (by PyTriton), Ray Serve, LitServe and mosec serve the same ONNX files as tsnd, on
the same cores, with the same pixels, each with its own dynamic batching; all run at the same
time and are loaded in turns. Peers live in environments of their own.

    make peers bench-peers
    python -m benchmarks.peers --quick --peers mosec --models tiny
"""

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.machine import machine_line
from benchmarks.peers import table
from benchmarks.peers.contestants import (
    MAX_BATCH_SIZE,
    PORTS,
    WAYS,
    Kind,
    Pixels,
    Server,
    Way,
    free_ports,
    serving,
)
from benchmarks.peers.models import MODELS, Case
from benchmarks.peers.processes import NotStarted
from benchmarks.peers.rounds import IN_FLIGHT, STREAMS, Contest, Effort, Findings, compete
from tsnd_client.bench.generator import Timing

PEERS = tuple(dict.fromkeys(way.kind.name for way in WAYS if way.kind.name != "tsnd"))
FULL = {
    "tiny": Effort(rounds=3, latency_rounds=3, timing=Timing(0.4, 2.0, 1.0), tries=3),
    "bn_inception": Effort(rounds=3, latency_rounds=2, timing=Timing(0.4, 3.0, 2.0), tries=2),
}
QUICK = {
    "tiny": Effort(rounds=1, latency_rounds=1, timing=Timing(0.3, 1.0, 0.5), tries=1),
    "bn_inception": Effort(rounds=1, latency_rounds=1, timing=Timing(0.3, 1.5, 2.0), tries=0),
}
_TOLERANCE = 1e-3
"""Of results against tsnd's, relative to the largest: batches of other sizes round otherwise."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables, write JSON if asked to; returns 1 when a peer is missing."""
    options = parse(argv)
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tsnd-") as folder:
        contests = []
        for model in options.models:
            effort = (QUICK if options.quick else FULL)[model]
            cases = MODELS[model](Path(folder))
            for found in cases[:1] if options.quick else cases:
                case = replace(found, workers=options.workers)
                contests.append(uvloop.run(contest(case, options.peers, effort, Path(folder))))
    report(contests, time.monotonic() - begun_s)
    if options.json:
        raw = {"machine": machine_line("onnxruntime"), "contests": [record(c) for c in contests]}
        options.json.write_text(json.dumps(raw, indent=2) + "\n")
    return 1 if any(found.missing for found in contests) else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="one short round, FP32 only: to try it out"
    )
    parser.add_argument("--peers", type=names(PEERS), default=PEERS, metavar=",".join(PEERS))
    parser.add_argument(
        "--models", type=names(tuple(MODELS)), default=tuple(MODELS), metavar=",".join(MODELS)
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="of each peer; 0: one, or one a core for large models",
    )
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    return parser.parse_args(argv)


def names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what reads names with commas between."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(part for part in text.split(",") if part)
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}"
            )
        return found

    return read


async def contest(case: Case, peers: Sequence[str], effort: Effort, folder: Path) -> Contest:
    """Start all servers for a case, and load them in turns."""
    rng = np.random.default_rng(0)
    pixels: Pixels = rng.integers(0, 256, case.shape, dtype=np.uint8)
    ways = [
        way
        for way in WAYS
        if way.kind.name in ("tsnd", *peers) and not (way.only_light and case.heavy)
    ]
    kinds = tuple(dict.fromkeys(way.kind for way in ways))
    first_port = free_ports(PORTS * len(kinds))
    missing: dict[str, str] = {}
    servers: dict[str, Server] = {}
    async with AsyncExitStack() as stack:

        async def start(kind: Kind) -> None:
            port = first_port + PORTS * kinds.index(kind)
            try:
                server = serving(kind, case, pixels, port, folder)
                servers[kind.name] = await stack.enter_async_context(server)
            except NotStarted as err:
                missing[kind.name] = str(err)

        first, *others = kinds
        await start(first)  # alone, for tsnd measures at its start how it uses the cores best
        await asyncio.gather(*(start(kind) for kind in others))
        if first.name in missing:
            raise NotStarted(f"tsnd: {missing[first.name]}")
        there = [way for way in ways if way.kind.name in servers]
        check_same_work(there, servers, pixels)
        entries = [
            (Findings(way), servers[way.kind.name], way.door(servers[way.kind.name], case, pixels))
            for way in there
        ]
        bare = await compete(case, entries, pixels, effort)
    return Contest(case, tuple(found for found, _, _ in entries), tuple(bare), missing)


def check_same_work(ways: Sequence[Way], servers: Mapping[str, Server], pixels: Pixels) -> None:
    """Ask every server for the same snippet.

    Raises:
        ValueError: One does not answer as the first does.
    """
    answers = {way.kind: way.kind.ask(servers[way.kind.name].port, pixels) for way in ways}
    (first, expected), *others = answers.items()
    scale = float(np.abs(expected).max())
    for kind, found in others:
        if found.shape != expected.shape:
            raise ValueError(
                f"{kind.name} gives {found.shape} values, {first.name} {expected.shape}"
            )
        error = float(np.abs(found - expected).max()) / scale
        if error > _TOLERANCE:
            raise ValueError(
                f"{kind.name} and {first.name} differ by {error:.2g} of the largest value"
            )


def report(contests: Sequence[Contest], took_s: float) -> None:
    """Print tables."""
    print(f"{datetime.datetime.now(datetime.UTC).date()}, {machine_line('onnxruntime', 'numpy')}")
    print(
        f"{IN_FLIGHT} snippets in flight on up to {STREAMS} streams, raw pixels, batches of up to "
        f"{MAX_BATCH_SIZE}; all servers and the generator on the same cores\n"
    )
    for found in contests:
        print("\n".join(table.lines(found)) + "\n")
    print(table.legend())
    print(f"in {took_s:.0f} s")


def record(found: Contest) -> dict[str, object]:
    """Gather a case's raw numbers."""
    return {
        "title": found.case.title,
        "p99_ms": found.case.p99_ms,
        "bare_per_s": found.bare,
        "missing": found.missing,
        "ways": [
            {
                "title": each.way.title,
                "group": each.way.group,
                "full": [asdict(turn) for turn in each.full],
                "half": [asdict(turn) for turn in each.half],
                "within_bound_per_s": each.within_bound_per_s,
                "steps": [asdict(step) for step in each.steps],
            }
            for each in found.ways
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
