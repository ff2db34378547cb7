"""How much of the bare engine's throughput does the daemon's executor deliver on this GPU?

For every plan of a package, in turns, so that a GPU that grows hot hits both:

- bare: full batches back to back on one stream: copy in, execute, copy out, wait;
- executor: the same plan behind ExecutorThread, which packs single snippets into its slots.

    make gpu-check
    python -m benchmarks.gpu --package models/kinetics_rgb/1 --batch-size 32
"""

import argparse
import asyncio
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.precision import make_package, tsn_build
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.plans.build import availability
from tsnd_builder.plans.gpu import find_gpu
from tsnd_builder.plans.options import Backend
from tsnd_builder.serving_graph import Modality
from tsnd_daemon.errors import StartError
from tsnd_daemon.executors.base import ExecutorThread
from tsnd_daemon.executors.tensorrt.device import primary_context, start_driver
from tsnd_daemon.executors.tensorrt.engine import Engine
from tsnd_daemon.executors.tensorrt.executor import LoadEngine, TensorRtExecutor
from tsnd_daemon.executors.tensorrt.library import load_engine
from tsnd_daemon.model_store import Model, load_package
from tsnd_daemon.snippets import Snippet

LIBRARIES = ("tsnd", "pycuda", "tensorrt-cu13", "tensorrt-rtx-cu13", "numpy")


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure; sizes in snippets."""

    batch_size: int
    slots: int
    rounds: int
    seconds: float
    device: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What one plan gave, round by round, in snippets per second; or why it gave nothing."""

    plan: str
    bare: tuple[float, ...] = ()
    executor: tuple[float, ...] = ()
    problem: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON if asked to."""
    arguments = parse(argv)
    if find_gpu() is None:
        print("No NVIDIA GPU is visible here, so there is nothing to measure.")
        return 0
    options = Options(
        arguments.batch_size, arguments.slots, arguments.rounds, arguments.seconds, arguments.device
    )
    with tempfile.TemporaryDirectory() as folder:
        package = arguments.package or make_plans(Path(folder), options.batch_size)
        rows = measure(plans_of(package), options)
    report(rows, options)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    return 1 if any(row.problem for row in rows) else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, help="one with plans (default: makes one)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--slots", type=int, default=2, help="batches that the executor holds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    return parser.parse_args(argv)


def make_plans(folder: Path, batch_size: int) -> Path:
    """Build BN-Inception with random weights, and its plans for every library that is here."""
    package = make_package(folder, "bn_inception", Modality.RGB)
    tsn_build("add", package, "--precision", "fp16")
    for backend in Backend:
        if problem := availability(backend):
            print(f"{backend.product} is left out: {problem}", file=sys.stderr)
            continue
        tsn_build(
            "plan", package, "--backend", backend, "--precision", "fp16,fp32,int8",
            "--max-batch-size", str(batch_size),
        )  # fmt: skip
    return package


def plans_of(folder: Path) -> list[Model]:
    manifest = load_package(folder).manifest
    return [
        Model(manifest, artifact, folder / artifact.file, Backend(artifact.plan.backend).value)
        for artifact in manifest.artifacts
        if artifact.kind == pb.ARTIFACT_KIND_PLAN
    ]


def measure(models: Sequence[Model], options: Options, load: LoadEngine = load_engine) -> list[Row]:
    """Measure plans, one after the other."""
    return [asyncio.run(measure_plan(model, options, load)) for model in models]


async def measure_plan(model: Model, options: Options, load: LoadEngine) -> Row:
    """Measure one plan both ways in turns."""
    name, bare, executor = name_of(model), list[float](), list[float]()
    thread = ExecutorThread("benchmark")
    try:
        await thread.start(
            lambda: TensorRtExecutor(
                model,
                max_batch_size=options.batch_size,
                device=options.device,
                slots=options.slots,
                load_engine=load,
            )
        )
    except StartError as err:
        return Row(name, problem=str(err))
    with bare_engine(model, options, load) as engine:
        for turn in range(options.rounds + 1):
            found = engine.run(options.seconds), await run_executor(thread, model, options)
            if turn:  # the first is warm-up
                bare.append(found[0])
                executor.append(found[1])
        del engine  # while its CUDA context is current
    await thread.close()
    return Row(name, tuple(bare), tuple(executor))


class BareEngine:
    """One execution context on one stream, for full batches; made in a current CUDA context."""

    def __init__(self, model: Model, engine: Engine, batch_size: int) -> None:
        source, outputs = model.manifest.input, model.manifest.outputs
        shape = (batch_size, *source.shape)
        self._cuda, self._batch_size = start_driver(), batch_size
        self._stream = self._cuda.Stream()
        self._pixels = self._cuda.pagelocked_empty(shape, np.uint8)
        self._pixels[:] = random_pixels(shape)
        self._results = [
            self._cuda.pagelocked_empty((batch_size, *output.shape), np.float32)
            for output in outputs
        ]
        self._memory = [self._cuda.mem_alloc(a.nbytes) for a in (self._pixels, *self._results)]
        context = engine.create_execution_context()
        assert context is not None, "no memory for a second context"
        ready = context.set_optimization_profile_async(0, self._stream.handle)
        ready &= context.set_input_shape(source.name, shape)
        for tensor, block in zip((source, *outputs), self._memory, strict=True):
            ready &= context.set_tensor_address(tensor.name, int(block))
        assert ready, "the engine takes other tensors"
        self._context = context

    def run(self, seconds: float) -> float:
        """Run batch after batch for a while; returns snippets per second."""
        batches, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not batches:
            self._cuda.memcpy_htod_async(self._memory[0], self._pixels, self._stream)
            assert self._context.execute_async_v3(self._stream.handle), "a batch was refused"
            for array, block in zip(self._results, self._memory[1:], strict=True):
                self._cuda.memcpy_dtoh_async(array, block, self._stream)
            self._stream.synchronize()
            batches += 1
        return batches * self._batch_size / elapsed


@contextmanager
def bare_engine(model: Model, options: Options, load: LoadEngine) -> Iterator[BareEngine]:
    """Load a plan; with the last reference to it, which is here, PyCUDA frees all."""
    with primary_context(start_driver(), options.device) as gpu:
        bare = [BareEngine(model, load(model, gpu).engine, options.batch_size)]
        try:
            yield bare[0]
        finally:
            bare.clear()


async def run_executor(thread: ExecutorThread, model: Model, options: Options) -> float:
    """Keep the executor supplied for a while; returns snippets per second."""
    shape = (options.batch_size, *model.manifest.input.shape)
    snippets = [Snippet(str(i), row) for i, row in enumerate(random_pixels(shape))]
    pending = deque(thread.submit(snippets) for _ in range(thread.slots))
    batches, start = 0, time.perf_counter()
    while time.perf_counter() - start < options.seconds or not batches:
        pending.append(thread.submit(snippets))
        await pending.popleft()
        batches += 1
    elapsed = time.perf_counter() - start
    await asyncio.gather(*pending)
    return batches * options.batch_size / elapsed


def random_pixels(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def name_of(model: Model) -> str:
    precision = pb.Precision.Name(model.artifact.precision).removeprefix("PRECISION_").lower()
    plan = model.artifact.plan
    return f"{precision} {plan.backend} {plan.backend_version}".strip()


def report(rows: Sequence[Row], options: Options) -> None:
    """Print where it was measured, and a line for each plan."""
    cuda = start_driver()
    device = cuda.Device(options.device)
    capability = "{}.{}".format(*device.compute_capability())
    libraries = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := installed(name)))
    print(
        f"\n{device.name()}, compute capability {capability}, driver for CUDA "
        f"{cuda.get_driver_version() / 1000:.1f}; {libraries}; {datetime.date.today()}"
    )
    print(
        f"batches of {options.batch_size} snippets, {options.slots} slots; snippets/s, median "
        f"(min..max) of {options.rounds} rounds of {options.seconds:g} s\n"
    )
    print(f"{'plan':<34}{'bare engine':>26}{'executor':>26}{'executor / bare':>17}{'ms/batch':>10}")
    for row in rows:
        print(f"{row.plan:<34}{row.problem or numbers(row, options)}")


def numbers(row: Row, options: Options) -> str:
    ratio = statistics.median(e / b for e, b in zip(row.executor, row.bare, strict=True))
    per_batch_ms = 1e3 * options.batch_size / statistics.median(row.executor)
    return f"{spread(row.bare):>26}{spread(row.executor):>26}{ratio:>17.2f}{per_batch_ms:>10.2f}"


def spread(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f}..{max(rates):.0f})"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
