"""How much of the bare engine's throughput does the daemon deliver, and at what latency?

Three questions, answered in turns (A B C A B C ...) so that a drifting machine hits all:

- engine: the same package in a bare ONNX Runtime session and behind the daemon;
- daemon: the daemon with its synthetic backend, that is without any engine;
- delay: how long snippets wait when the daemon has 70 % of the load that it could carry.

Clients run in this process and share the machine's cores with the daemon. The first two
loads are closed loops: each stream keeps a fixed number of snippets in flight. The third is
an open loop: snippets come when they come (Poisson), from as many streams.

    make bench
    python -m benchmarks.throughput --rounds 5 --seconds 10 --json out.json
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.machine import machine_line
from tsnd_client import AsyncClient, SnippetScores

BIN = Path(sys.executable).parent
MODEL = "bench"
BATCH = 8
SHAPE = (256, 340, 3)


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement; latencies as a client sees them, milliseconds."""

    name: str
    snippets_per_s: float
    mean_batch: float
    p50_ms: float
    p99_ms: float
    p99_queue_ms: float = 0.0
    full_batch_ms: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON if asked to."""
    options = parse(argv)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, *SHAPE), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        repository = build_model(Path(folder), options.crops)
        runs = [
            run for _ in range(options.rounds) for run in one_round(repository, pixels, options)
        ]
    report(runs, options)
    return 0


DELAY_US = 2_000
"""The daemon's max_queue_delay_us."""
LOAD = 0.7


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--streams", type=int, default=16, help="concurrent streams")
    parser.add_argument("--in-flight", type=int, default=2, help="unanswered snippets per stream")
    parser.add_argument("--crops", type=int, choices=(1, 10), default=1)
    parser.add_argument(
        "--shared-memory", action="store_true", help="share pixels instead of sending them"
    )
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    return parser.parse_args(argv)


def build_model(folder: Path, crops: int) -> Path:
    """Build a BN-Inception RGB package with random weights."""
    caffe, repository = folder / "caffe", folder / "models"
    tsn_build("synth", "bn_inception", "--modality", "rgb", "--out", caffe)
    tsn_build(
        "build", "--prototxt", caffe / "deploy.prototxt", "--weights", caffe / "weights.caffemodel",
        "--labels", caffe / "labels.txt", "--modality", "rgb", "--crops", str(crops),
        "--name", MODEL, "--repository", repository,
    )  # fmt: skip
    return repository


def tsn_build(*arguments: str | Path) -> None:
    subprocess.run([BIN / "tsn-build", *arguments], check=True, stdout=subprocess.DEVNULL)


def one_round(
    repository: Path, pixels: npt.NDArray[np.uint8], options: argparse.Namespace
) -> list[Run]:
    bare = run_bare(repository, pixels, options.seconds)
    full = asyncio.run(run_daemon("daemon, onnxruntime", repository, pixels, options))
    rate = LOAD * full.snippets_per_s
    name = f"the same at {LOAD:.0%} load"
    partly = asyncio.run(run_daemon(name, repository, pixels, options, rate=rate))
    empty = asyncio.run(run_daemon("daemon, no engine", repository, pixels, options, "synthetic"))
    return [bare, full, partly, empty]


def run_bare(repository: Path, pixels: npt.NDArray[np.uint8], seconds: float) -> Run:
    """Run full batches back to back in a bare session."""
    path = repository / MODEL / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    session.run(None, {"snippets": pixels})
    durations = []
    start = time.perf_counter()
    while (began := time.perf_counter()) - start < seconds:
        session.run(None, {"snippets": pixels})
        durations.append(time.perf_counter() - began)
    rate = BATCH * len(durations) / sum(durations)
    return summarize("bare session", rate, [BATCH], durations)


async def run_daemon(
    name: str,
    repository: Path,
    pixels: npt.NDArray[np.uint8],
    options: argparse.Namespace,
    backend: str = "onnxruntime",
    *,
    rate: float | None = None,
) -> Run:
    """Load a daemon in a process of its own with concurrent streams.

    Args:
        name: Of the run.
        repository: With the model.
        pixels: The snippets.
        options: The command line's.
        backend: The daemon's.
        rate: Snippets per second of an open loop; None for a closed one.
    """
    async with daemon(repository, backend) as target:
        begun = time.perf_counter()
        until = begun + options.seconds
        streams = await asyncio.gather(
            *(
                one_stream(
                    target,
                    pixels,
                    until,
                    options.in_flight,
                    gaps(rate, options, seed),
                    shares=options.shared_memory,
                )
                for seed in range(options.streams)
            )
        )
        elapsed = time.perf_counter() - begun
    answers = [answer for stream in streams for answer in stream]
    batches = [answer.result.batch_size for answer in answers]
    run = summarize(name, len(answers) / elapsed, batches, [a.latency_s for a in answers])
    queued_ms = np.percentile([answer.result.queue_ns / 1e6 for answer in answers], 99)
    full_ms = [a.result.compute_ns / 1e6 for a in answers if a.result.batch_size == BATCH] or [0.0]
    return replace(run, p99_queue_ms=float(queued_ms), full_batch_ms=statistics.median(full_ms))


def gaps(rate: float | None, options: argparse.Namespace, seed: int) -> Iterator[float]:
    """Yield how long after each snippet of a stream the next one comes, seconds."""
    rng = np.random.default_rng(seed)
    while True:
        yield 0.0 if rate is None else float(rng.exponential(options.streams / rate))


@asynccontextmanager
async def daemon(repository: Path, backend: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", backend, "--max-batch-size", str(BATCH), "--max-queue-delay-us", str(DELAY_US),
        "--log-level", "WARNING",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        line = (await process.stdout.readline()).decode() if process.stdout else ""
        yield line.split("grpc=")[1].split()[0]
    finally:
        process.terminate()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Answer:
    """A snippet's scores, and how long the client waited for them."""

    result: SnippetScores
    latency_s: float


async def one_stream(
    target: str,
    pixels: npt.NDArray[np.uint8],
    until: float,
    in_flight: int,
    gaps_s: Iterator[float],
    *,
    shares: bool,
) -> list[Answer]:
    """Stream snippets until a point in time, with gaps between them."""
    sent: dict[str, float] = {}

    async def snippets() -> AsyncIterator[tuple[str, npt.NDArray[np.uint8]]]:
        due = time.perf_counter()
        for index, gap_s in enumerate(gaps_s):
            due += gap_s
            if due >= until or time.perf_counter() >= until:
                return
            if gap_s:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent[str(index)] = time.perf_counter()
            yield str(index), pixels[index % BATCH]

    answers = []
    # In an open loop nobody waits for an answer before sending the next snippet.
    window = in_flight if next(gaps_s) == 0.0 else 1_000
    async with AsyncClient(target, max_in_flight=window, shared_memory=shares) as client:
        async for result in client.score_stream(await client.model(MODEL), snippets()):
            if not isinstance(result, SnippetScores):
                raise result
            answers.append(Answer(result, time.perf_counter() - sent.pop(result.snippet_id)))
    return answers


def summarize(name: str, rate: float, batches: Sequence[int], latencies_s: Sequence[float]) -> Run:
    """Reduce one measurement; `batches` has an entry per snippet, so its mean is harmonic."""
    executions = sum(1 / batch for batch in batches)
    p50, p99 = np.percentile(latencies_s, [50, 99]) * 1e3
    return Run(name, rate, len(batches) / executions, float(p50), float(p99))


def report(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Print medians, the ratio round by round, and where it was measured."""
    by_name = {run.name: [r for r in runs if r.name == run.name] for run in runs}
    machine = machine_line("onnxruntime")
    print(machine)
    print(
        f"BN-Inception rgb, {options.crops} crop(s); {options.streams} streams with "
        f"{options.in_flight} snippets of 261 KB in flight each; median of {options.rounds} rounds "
        f"of {options.seconds:g} s\n"
    )
    print(
        f"{'':<22}{'snippets/s':>11}{'(min..max)':>18}{'mean batch':>11}{'p50 ms':>9}{'p99 ms':>9}"
    )
    for name, group in by_name.items():
        rates = [run.snippets_per_s for run in group]
        columns = [median(group, field) for field in ("mean_batch", "p50_ms", "p99_ms")]
        print(
            f"{name:<22}{statistics.median(rates):>11.1f}{f'({min(rates):.1f}..{max(rates):.1f})':>18}"
            f"{columns[0]:>11.1f}{columns[1]:>9.0f}{columns[2]:>9.0f}"
        )
    bare, served, *_ = by_name.values()
    ratios = [b.snippets_per_s / a.snippets_per_s for a, b in zip(bare, served, strict=True)]
    print(f"\ndaemon / bare session, round by round: {', '.join(f'{r:.2f}' for r in ratios)}")
    for full, partly in zip(served, by_name[f"the same at {LOAD:.0%} load"], strict=True):
        bound_ms = DELAY_US / 1e3 + full.full_batch_ms
        print(
            f"p99 queue delay at {LOAD:.0%} load: {partly.p99_queue_ms:.0f} ms; max_queue_delay "
            f"and one full batch: {bound_ms:.0f} ms"
        )
    if options.json:
        text = json.dumps({"machine": machine, "runs": [asdict(run) for run in runs]}, indent=2)
        options.json.write_text(text)


def median(runs: Sequence[Run], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in runs))


if __name__ == "__main__":
    sys.exit(main())
