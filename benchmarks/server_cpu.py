"""What processor time does a snippet cost the daemon, beside a bare gRPC echo?

The daemon runs without an engine (its synthetic backend), in a process of its own; so does
an echo in grpc.aio that looks at nothing. Both get the same bytes, in turns: snippets of
150 KB, one in a message and eight in a message. The kernel says how much time each process
used, on all its threads.

    make bench-cpu
    python -m benchmarks.server_cpu --turns 40
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from benchmarks.machine import machine_line
from tsnd.v1 import model_pb2, snippets_pb2

BIN = Path(sys.executable).parent
METHOD = "/tsnd.v1.SnippetService/ScoreStream"
MODEL = "bench"
SIDE = 224
WARM_UP_TURNS = 2
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_REPLY_BYTES_PER_SNIPPET = 5_800
"""Length of the daemon's: 400 scores and 1,024 features."""


@dataclass(frozen=True, slots=True)
class Load:
    """How snippets are sent: streams, snippets in a message, messages unanswered."""

    streams: int
    group: int
    in_flight: int


LOADS = {"singly": Load(4, 1, 16), "in groups of 8": Load(4, 8, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    options = parse(argv)
    if options.echo:
        asyncio.run(echo())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        repository = options.repository or build_model(Path(folder))
        costs = asyncio.run(measure(repository, options))
    report(costs, options)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=20, help="turns of each server")
    parser.add_argument("--snippets", type=int, default=800, help="in each turn")
    parser.add_argument(
        "--repository", type=Path, help="of a package `bench`, instead of a new one"
    )
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def build_model(folder: Path, *, height: int = SIDE, width: int = SIDE) -> Path:
    """Build a package; its graph is not run."""
    caffe, repository = folder / "caffe", folder / "models"
    tsn_build("synth", "bn_inception", "--modality", "rgb", "--out", caffe)
    tsn_build(
        "build", "--prototxt", caffe / "deploy.prototxt", "--weights", caffe / "weights.caffemodel",
        "--labels", caffe / "labels.txt", "--modality", "rgb", "--crops", "1", "--frame-size",
        f"{height}x{width}", "--name", MODEL, "--repository", repository,
    )  # fmt: skip
    return repository


def tsn_build(*arguments: str | Path) -> None:
    subprocess.run([BIN / "tsn-build", *arguments], check=True, stdout=subprocess.DEVNULL)


Costs = dict[tuple[str, str], list[float]]
"""Processor time per snippet, milliseconds, turn by turn; by server and load."""


async def measure(repository: Path, options: argparse.Namespace) -> Costs:
    """Load both servers in turns, so that a drifting machine hits both."""
    costs: Costs = {}
    tsnd = (
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "synthetic", "--log-level", "WARNING",
    )  # fmt: skip
    echo = (sys.executable, "-m", "benchmarks.server_cpu", "--echo")
    async with process(*echo) as echoing, process(*tsnd) as serving:
        for how, load in LOADS.items():
            for turn in range(options.turns + WARM_UP_TURNS):
                for name, (pid, target) in (("echo", echoing), ("daemon", serving)):
                    before_s = cpu_s(pid)
                    await send(target, load, options.snippets)
                    cost = (cpu_s(pid) - before_s) / options.snippets * 1e3
                    if turn >= WARM_UP_TURNS:
                        costs.setdefault((name, how), []).append(cost)
    return costs


@asynccontextmanager
async def process(*command: str | Path) -> AsyncIterator[tuple[int, str]]:
    """Run a server that prints grpc=ADDRESS when it is ready; yields its pid and address."""
    running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        line = (await running.stdout.readline()).decode() if running.stdout else ""
        yield running.pid, line.split("grpc=")[1].split()[0]
    finally:
        running.terminate()
        await running.wait()


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used on all its threads, seconds."""
    return time.clock_gettime(~pid << 3 | 2)  # its CPU clock: clock_getcpuclockid(3)


async def send(target: str, load: Load, snippets: int) -> None:
    """Send snippets on several streams and read as many results as there are."""
    request = snippets_pb2.ScoreRequest(
        model=MODEL,
        snippets=[
            snippets_pb2.Snippet(
                id=f"cam/{index}",
                modality=model_pb2.MODALITY_RGB,
                shape=[SIDE, SIDE, 3],
                raw=bytes(SIDE * SIDE * 3),
            )
            for index in range(load.group)
        ],
    ).SerializeToString()
    messages = snippets // load.streams // load.group
    async with aio.insecure_channel(target, options=UNLIMITED) as channel:
        await asyncio.gather(
            *(one_stream(channel, request, messages, load) for _ in range(load.streams))
        )


async def one_stream(
    channel: aio.Channel, request: bytes, messages: int, load: Load, *, first: bytes | None = None
) -> None:
    """Send the same message over and over, after a first one that has no snippets."""
    call: Any = channel.stream_stream(METHOD)()
    if first is not None:
        await call.write(first)
        reply = snippets_pb2.ScoreStreamResponse.FromString(await call.read())
        if reply.attachment.refusal:
            raise RuntimeError(reply.attachment.refusal)
    window = asyncio.Semaphore(load.in_flight)

    async def write() -> None:
        for _ in range(messages):
            await window.acquire()
            await call.write(request)
        await call.done_writing()

    writing = asyncio.create_task(write())
    answered = 0
    while (reply := await call.read()) is not aio.EOF:
        found = snippets_pb2.ScoreStreamResponse.FromString(reply).results
        if not all(result.HasField("response") for result in found):
            raise RuntimeError(f"a snippet was refused: {found}")
        before, answered = answered, answered + len(found)
        for _ in range(answered // load.group - before // load.group):
            window.release()
    await writing
    if answered != messages * load.group:
        raise RuntimeError(f"{answered} results for {messages * load.group} snippets")


async def echo() -> None:
    """Serve a method that answers every message, and looks at none."""
    results = {
        group: snippets_pb2.ScoreStreamResponse(
            results=[
                snippets_pb2.SnippetResult(
                    response=snippets_pb2.ScoreResponse(
                        outputs=[snippets_pb2.Tensor(data=bytes(_REPLY_BYTES_PER_SNIPPET))]
                    )
                )
                for _ in range(group)
            ]
        ).SerializeToString()
        for group in (1, 8)
    }

    async def stream(_requests: object, context: Any) -> None:  # noqa: ANN401 - untyped in gRPC
        while (message := await context.read()) is not aio.EOF:
            group = 8 if len(message) > 2 * SIDE * SIDE * 3 else 1
            await context.write(results[group])

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(stream)
    service, _, method = METHOD[1:].partition("/")
    server = aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"echo ready grpc=127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def report(costs: Costs, options: argparse.Namespace) -> None:
    """Print medians, and the ratio turn by turn."""
    print(machine_line())
    print(
        f"server processor time per snippet of 150 KB, ms; median (quartiles) of {options.turns} "
        f"turns of {options.snippets} snippets\n"
    )
    print(f"{'':<18}{'echo':>23}{'daemon':>23}{'daemon / echo':>23}")
    for how in LOADS:
        echoed, served = costs["echo", how], costs["daemon", how]
        ratios = [b / a for a, b in zip(echoed, served, strict=True)]
        print(f"{how:<18}{spread(echoed):>23}{spread(served):>23}{spread(ratios):>23}")


def spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f}..{high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
