"""Who takes part: how each server is started, and the ways in which it is asked."""

import json
import random
import socket
import sys
import sysconfig
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.peers.http_lane import HttpDoor
from benchmarks.peers.models import NAME, Case
from benchmarks.peers.processes import NotStarted, running
from benchmarks.peers.servers.engine import INPUT, VARIABLE, Settings
from benchmarks.peers.triton_lane import OPTIONS, UNARY, TritonDoor, infer_message
from tsnd.kserve import inference_pb2 as kserve
from tsnd_client import Client, ClientError
from tsnd_client.bench.lane import Door, Served
from tsnd_client.bench.machine import usable_cores
from tsnd_client.bench.native import Asked, NativeDoor

ROOT = Path(__file__).parents[2]
VENVS = ROOT / ".cache" / "peers"
MAX_BATCH_SIZE = 8
MAX_DELAY_MS = 2
GROUP = 8
PATIENCE_S = 90.0
_ASK_S = 20.0
PORTS = 3
"""Triton listens on two more, after the one it is given."""
_PORT_RANGE = (20_000, 32_000)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        pid: Of its first process.
        port: Where it listens on this host.
    """

    pid: int
    port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that can be started.

    Attributes:
        name: Of its environment, and of its file among the servers; tsnd has neither.
        ask: Scores one snippet at a port: its outputs, one after the other.
    """

    name: str
    ask: Callable[[int, Pixels], Floats]

    @property
    def python(self) -> Path:
        return VENVS / self.name / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return self.name == "tsnd" or (VENVS / self.name / ".installed").exists()


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask a server.

    Attributes:
        title: For the table.
        kind: Which server.
        door: Makes the generator's door to it.
        group: Snippets in a message.
        only_light: Whether it is left out where the model decides, not the way.
    """

    title: str
    kind: Kind
    door: Callable[[Server, Case, Pixels], Door]
    group: int = 1
    only_light: bool = False


@asynccontextmanager
async def serving(
    kind: Kind, case: Case, pixels: Pixels, port: int, folder: Path
) -> AsyncIterator[Server]:
    """Start a server and wait until it scores.

    Args:
        kind: Which one.
        case: What it serves.
        pixels: A snippet to ask it for.
        port: The first of `PORTS` that it may use.
        folder: For its log and what it needs to keep.

    Raises:
        NotStarted: It does not.
    """
    if not kind.is_installed:
        raise NotStarted("it is not installed: make peers")
    command, environment = command_of(kind, case, port, folder)

    def is_ready() -> bool:
        try:
            kind.ask(port, pixels)
        except (OSError, grpc.RpcError, ClientError, ValueError):
            return False
        return True

    log = folder / f"{kind.name}.log"
    async with running(command, environment, log, is_ready=is_ready, patience_s=PATIENCE_S) as pid:
        yield Server(pid, port)


def command_of(
    kind: Kind, case: Case, port: int, folder: Path
) -> tuple[list[str | Path], dict[str, str]]:
    """Return how a server is started: command, and what is added to the environment.

    Workers of the peers share the cores as executors of tsnd do: one for each core with one
    thread, where the model is what takes time; else one.
    """
    if kind.name == "tsnd":
        return [
            Path(sys.executable).parent / "tsnd", "--model-repository", case.repository,
            "--port", str(port), "--metrics-port", "0", "--backend", "onnxruntime",
            "--precision", case.precision, "--max-batch-size", str(MAX_BATCH_SIZE),
            "--max-queue-delay-us", str(1000 * MAX_DELAY_MS), "--log-level", "WARNING",
        ], {}  # fmt: skip
    settings = Settings(
        model=str(case.onnx),
        shape=case.shape,
        port=port,
        max_batch_size=MAX_BATCH_SIZE,
        max_delay_ms=MAX_DELAY_MS,
        workers=case.workers or (usable_cores() if case.heavy else 1),
        threads=1,
    )
    environment = {
        VARIABLE: json.dumps(asdict(settings)),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "PYTRITON_HOME": str(folder / "pytriton"),
        # Triton's processes look for the library of the Python that started them.
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
    }
    return [kind.python, "-m", f"benchmarks.peers.servers.{kind.name}_server"], environment


def free_ports(count: int) -> int:
    """Return the first of some ports in a row that nobody listens on.

    Below those that the kernel gives to connections, which would take them meanwhile.
    """
    while True:
        first = random.randrange(*_PORT_RANGE)
        if all(_is_free(first + place) for place in range(count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ask_tsnd(port: int, pixels: Pixels) -> Floats:
    with Client(f"127.0.0.1:{port}") as client:
        found = client.score(client.model(NAME), pixels)
    assert found.features is not None
    return np.concatenate([found.scores, found.features])


def ask_http(path: str) -> Callable[[int, Pixels], Floats]:
    def ask(port: int, pixels: Pixels) -> Floats:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}",
            pixels.tobytes(),
            {"Content-Type": "application/octet-stream"},
        )
        with urllib.request.urlopen(request, timeout=_ASK_S) as answer:
            return np.frombuffer(answer.read(), np.float32)

    return ask


def ask_triton(port: int, pixels: Pixels) -> Floats:
    message = infer_message(NAME, INPUT, pixels.shape, pixels.tobytes())
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        infer: Any = channel.unary_unary(UNARY)
        reply = kserve.ModelInferResponse.FromString(infer(message, timeout=_ASK_S))
    return np.frombuffer(b"".join(reply.raw_output_contents), np.float32)


def native_door(group: int) -> Callable[[Server, Case, Pixels], Door]:
    def door(server: Server, case: Case, pixels: Pixels) -> Door:
        with Client(server.target) as client:
            model = client.model(NAME)
        assert model.snippet_shape == case.shape
        asked = Asked(server.target, NAME, largest_group=group)
        return NativeDoor(asked, model, [pixels] * group, None)

    return door


def http_door(path: str) -> Callable[[Server, Case, Pixels], Door]:
    def door(server: Server, case: Case, pixels: Pixels) -> Door:
        return HttpDoor(server.port, path, pixels.tobytes(), served(server, case))

    return door


def triton_door(*, streaming: bool) -> Callable[[Server, Case, Pixels], Door]:
    def door(server: Server, case: Case, pixels: Pixels) -> Door:
        message = infer_message(NAME, INPUT, case.shape, pixels.tobytes())
        return TritonDoor(server.target, message, served(server, case), streaming=streaming)

    return door


def served(server: Server, case: Case) -> Served:
    return Served(
        target=server.target,
        model=NAME,
        version="1",
        modality="rgb",
        snippet_shape=case.shape,
        backend="onnxruntime",
        precision=case.precision,
        max_batch_size=MAX_BATCH_SIZE,
    )


TSND = Kind("tsnd", ask_tsnd)
MOSEC = Kind("mosec", ask_http("/inference"))
TRITON = Kind("triton", ask_triton)
LITSERVE = Kind("litserve", ask_http("/predict"))
RAY = Kind("ray", ask_http("/"))
WAYS = (
    Way("tsnd, streams", TSND, native_door(1)),
    Way(f"tsnd, groups of {GROUP}", TSND, native_door(GROUP), GROUP),
    Way("mosec, HTTP", MOSEC, http_door("/inference")),
    Way("Triton, gRPC streams", TRITON, triton_door(streaming=True)),
    Way("Triton, gRPC calls", TRITON, triton_door(streaming=False), only_light=True),
    Way("LitServe, HTTP", LITSERVE, http_door("/predict")),
    Way("Ray Serve, HTTP", RAY, http_door("/")),
)
