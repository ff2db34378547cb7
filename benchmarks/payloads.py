"""What does a snippet cost the daemon, by the way its pixels come?

Raw in the message, in shared memory, or as JPEG: the same frames of 340 x 256, to a daemon
without an engine (its synthetic backend, which brings the pixels to their place in a batch as
every backend does), in turns; from streams that send messages of a fixed size, and from those
of the client library, which joins what is there. The kernel says how much time the daemon used,
on all its threads. Beside it, what decoding alone takes on one core.

    make bench-payloads
    python -m benchmarks.payloads --turns 40
"""

import argparse
import asyncio
import fcntl
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from grpc import aio

from benchmarks import server_cpu
from benchmarks.machine import machine_line
from benchmarks.server_cpu import (
    BIN,
    MODEL,
    UNLIMITED,
    WARM_UP_TURNS,
    Load,
    build_model,
    cpu_s,
    one_stream,
    process,
    spread,
)
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import AsyncClient, Jpeg, SnippetRejected

HEIGHT, WIDTH = 256, 340
SIZE = HEIGHT * WIDTH * 3
DECODINGS = 200

LOADS = {**server_cpu.LOADS, "in groups of 16": Load(4, 16, 2)}
BY_CLIENT = "by AsyncClient"
CLIENT_STREAMS = 4
CLIENT_FACTOR = 4
"""Times as many snippets, so that streams are long beside what they begin with."""

Costs = dict[tuple[str, str], list[float]]
"""Processor time per snippet, milliseconds, turn by turn; by payload and load."""

Payload = Callable[[int], snippets_pb2.Snippet]
"""Makes the snippet at a place in its group."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=20, help="turns of each payload")
    parser.add_argument("--snippets", type=int, default=800, help="in each turn")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, shared_memory() as memory:
        repository = build_model(Path(folder), height=HEIGHT, width=WIDTH)
        costs = asyncio.run(measure(repository, PAYLOADS, memory, options, LOADS))
        costs |= asyncio.run(measure_client(repository, options))
    report(costs, options)
    return 0


def natural_frame() -> npt.NDArray[np.uint8]:
    """Return a frame, uint8 [HEIGHT, WIDTH, 3], that compresses about as a photograph does."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.resize(
            rng.normal(0, 7 * step**0.5, (HEIGHT // step, WIDTH // step, 3)), (WIDTH, HEIGHT)
        )
        for step in (2, 4, 8, 16, 32)
    ]
    frame: npt.NDArray[np.uint8] = np.clip(128 + np.sum(layers, axis=0), 0, 255).astype(np.uint8)
    return frame


def snippet(**payload: Any) -> snippets_pb2.Snippet:  # noqa: ANN401 - one of three types
    return snippets_pb2.Snippet(
        id="cam/1", modality=model_pb2.MODALITY_RGB, shape=[HEIGHT, WIDTH, 3], **payload
    )


FRAME = natural_frame()
JPEG = cv2.imencode(".jpg", FRAME)[1].tobytes()
PAYLOADS: dict[str, Payload] = {
    "raw": lambda _: snippet(raw=FRAME.tobytes()),
    "shared": lambda place: snippet(shared=snippets_pb2.SharedRange(offset=place * SIZE)),
    "jpeg": lambda _: snippet(jpeg=snippets_pb2.JpegImages(images=[JPEG])),
}


@contextmanager
def shared_memory() -> Iterator[snippets_pb2.SharedMemory]:
    """Make memory with room for the largest group; yields what says where it is."""
    name = f"tsnd-bench-{secrets.token_hex(16)}"
    size = SIZE * max(load.group for load in LOADS.values())
    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, bytes(size))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        yield snippets_pb2.SharedMemory(
            key=name, byte_size=size, process_id=os.getpid(), descriptor=fd
        )
    finally:
        os.close(fd)


async def measure(
    repository: Path,
    payloads: dict[str, Payload],
    memory: snippets_pb2.SharedMemory,
    options: argparse.Namespace,
    loads: dict[str, Load],
) -> Costs:
    """Send all payloads in turns, so that a drifting machine hits all."""
    costs: Costs = {}
    async with serving(repository) as (pid, target):
        for how, load in loads.items():
            for turn in range(options.turns + WARM_UP_TURNS):
                for name, payload in payloads.items():
                    before_s = cpu_s(pid)
                    await send(target, load, payload, memory, options.snippets)
                    cost = (cpu_s(pid) - before_s) / options.snippets * 1e3
                    if turn >= WARM_UP_TURNS:
                        costs.setdefault((name, how), []).append(cost)
    return costs


async def measure_client(repository: Path, options: argparse.Namespace) -> Costs:
    """Send all payloads in turns, as the client library does by itself."""
    costs: Costs = {}
    count = options.snippets * CLIENT_FACTOR
    async with serving(repository) as (pid, target):
        for turn in range(options.turns + WARM_UP_TURNS):
            for name in PAYLOADS:
                before_s = cpu_s(pid)
                await send_by_client(target, name, count)
                cost = (cpu_s(pid) - before_s) / count * 1e3
                if turn >= WARM_UP_TURNS:
                    costs.setdefault((name, BY_CLIENT), []).append(cost)
    return costs


async def send_by_client(target: str, payload: str, snippets: int) -> None:
    """Send snippets on several streams of the client library."""
    pixels = Jpeg(JPEG) if payload == "jpeg" else FRAME
    async with AsyncClient(target, shared_memory=payload == "shared") as client:
        model = await client.model(MODEL)

        async def stream() -> None:
            frames = ((f"cam/{i}", pixels) for i in range(snippets // CLIENT_STREAMS))
            async for result in client.score_stream(model, frames):
                if isinstance(result, SnippetRejected):
                    raise result

        await asyncio.gather(*(stream() for _ in range(CLIENT_STREAMS)))


def serving(repository: Path) -> AbstractAsyncContextManager[tuple[int, str]]:
    """Serve without an engine; yields the daemon's pid and address."""
    return process(
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "synthetic", "--max-batch-size", "16", "--log-level", "WARNING",
    )  # fmt: skip


async def send(
    target: str, load: Load, payload: Payload, memory: snippets_pb2.SharedMemory, snippets: int
) -> None:
    """Send snippets on several streams and read as many results as there are."""
    group = [payload(place) for place in range(load.group)]
    request = snippets_pb2.ScoreRequest(model=MODEL, snippets=group).SerializeToString()
    attach = snippets_pb2.ScoreRequest(attach=memory).SerializeToString()
    first = attach if group[0].HasField("shared") else None
    messages = snippets // load.streams // load.group
    async with aio.insecure_channel(target, options=UNLIMITED) as channel:
        await asyncio.gather(
            *(
                one_stream(channel, request, messages, load, first=first)
                for _ in range(load.streams)
            )
        )


def decoding_ms(jpeg: bytes) -> float:
    """Return the processor time that decoding one frame takes, milliseconds."""
    import simplejpeg  # noqa: PLC0415 - what the daemon decodes with

    row = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    begun_s = time.thread_time()
    for _ in range(DECODINGS):
        simplejpeg.decode_jpeg(jpeg, "BGR", buffer=row)
    return (time.thread_time() - begun_s) / DECODINGS * 1e3


def report(costs: Costs, options: argparse.Namespace) -> None:
    """Print medians, and the ratios to raw turn by turn."""
    print(machine_line())
    print(
        f"daemon's processor time per snippet of {WIDTH} x {HEIGHT} ({SIZE // 1000} KB raw, "
        f"{len(JPEG) // 1000} KB as JPEG), ms; median\n(quartiles) of {options.turns} turns of "
        f"{options.snippets} snippets\n"
    )
    print(f"{'':<16}{'raw':>22}{'shared memory':>22}{'jpeg':>22}{'shared / raw':>22}")
    for how in (*LOADS, BY_CLIENT):
        raw, shared, as_jpeg = (costs[name, how] for name in ("raw", "shared", "jpeg"))
        ratios = [b / a for a, b in zip(raw, shared, strict=True)]
        cells = [spread(values) for values in (raw, shared, as_jpeg, ratios)]
        print(f"{how:<16}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"\ndecoding alone: {decoding_ms(JPEG):.3f} ms of one core a frame")


if __name__ == "__main__":
    sys.exit(main())
