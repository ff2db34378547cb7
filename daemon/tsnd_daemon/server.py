"""The daemon's life: load -> warm up -> SERVING -> drain -> stop. Owns signals and tasks."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, start_http_server

from tsnd.v1 import snippets_pb2_grpc
from tsnd_daemon.batcher import Batcher
from tsnd_daemon.errors import AddressError, PackageError
from tsnd_daemon.executors.base import Executor, ExecutorThread
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor
from tsnd_daemon.executors.openvino import OpenVinoExecutor
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_store import Model, load_models
from tsnd_daemon.services.errors_to_status import SERVICE, ErrorsToStatus
from tsnd_daemon.services.snippets import ServedModel, SnippetService
from tsnd_daemon.settings import Settings
from tsnd_daemon.snippets import Snippet
from tsnd_daemon.validation import SnippetContract

_MIN_MESSAGE_BYTES = 4 * 1024 * 1024
_MESSAGE_OVERHEAD_BYTES = 64 * 1024
# A client that is still sending when its connection closes loses the replies it has not
# read. So connections outlive the last reply long enough for clients to see the end.
_LINGER_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a running daemon offers: its addresses and its models' names."""

    grpc: str
    metrics: str
    models: tuple[str, ...]


ExecutorFactory = Callable[[Model, Settings], Executor]


def make_executor(model: Model, settings: Settings) -> Executor:
    """Make the executor that the settings ask for."""
    if settings.executor == "synthetic":
        return SyntheticExecutor(model)
    executor = OpenVinoExecutor if settings.executor == "openvino" else OnnxRuntimeExecutor
    return executor(model, max_batch_size=settings.max_batch_size, threads=settings.compute_threads)


class Server:
    """One daemon: made, run once, gone."""

    def __init__(
        self, settings: Settings, *, executor_factory: ExecutorFactory = make_executor
    ) -> None:
        """Prepare a daemon; nothing is read or bound yet.

        Args:
            settings: All of its settings.
            executor_factory: Makes an executor; called in the thread that will own it.
        """
        self._settings = settings
        self._executor_factory = executor_factory
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask the daemon to drain and stop; call it on the event loop."""
        self._stop.set()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT stop the daemon; call it on the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def run(self, on_ready: Callable[[Endpoints], None]) -> None:
        """Serve until `stop`.

        Args:
            on_ready: Called once, when the daemon is SERVING.

        Raises:
            StartError: When a package or an address prevents the start.
            ExceptionGroup: When a task died, such as one whose executor was lost.
        """
        settings, registry = self._settings, CollectorRegistry()
        _check_free(settings.host, settings.port, "port")
        _check_free(settings.host, settings.metrics_port, "metrics-port")
        metrics = Metrics(registry)
        async with AsyncExitStack() as stack:
            served = {}
            for name, model in load_models(settings.model_repository, settings.precision).items():
                thread = await stack.enter_async_context(self._executor_thread(model))
                batcher = Batcher(name, thread, settings.batch_policy, metrics)
                contract = SnippetContract(model.manifest)
                served[name] = ServedModel(
                    model.manifest, contract, batcher, settings.max_batch_size
                )
            service = SnippetService(
                served, metrics, max_in_flight_per_stream=settings.max_in_flight_per_stream
            )
            door = stack.enter_context(
                _metrics_endpoint(settings.host, settings.metrics_port, registry)
            )
            server, port = _bind(settings.host, settings.port, metrics, _message_bound(served))
            address = _joined(settings.host, port)
            endpoints = Endpoints(address, f"http://{door}/metrics", tuple(served))
            async with asyncio.TaskGroup() as tasks:
                batching = [tasks.create_task(m.batcher.run()) for m in served.values()]
                await self._serve(server, service, lambda: on_ready(endpoints))
                for task in batching:
                    task.cancel()
        logger.info("stopped")

    async def _serve(
        self, server: aio.Server, service: SnippetService, on_ready: Callable[[], None]
    ) -> None:
        """Start, wait for `stop`, drain."""
        health_service = health.aio.HealthServicer()
        snippets_pb2_grpc.add_SnippetServiceServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            await server.start()
            for name in ("", SERVICE):
                await health_service.set(name, health_pb2.HealthCheckResponse.SERVING)
            on_ready()
            await self._stop.wait()
            logger.info("draining: answering what has been accepted")
            await health_service.enter_graceful_shutdown()
            try:
                async with asyncio.timeout(self._settings.drain_grace_s):
                    if await service.drain():
                        await asyncio.sleep(_LINGER_S)
            except TimeoutError:
                logger.warning("drain_grace_s is over; what is left is cut off")
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def _executor_thread(self, model: Model) -> AsyncIterator[ExecutorThread]:
        """Load a model in a thread of its own and run its smallest and largest batch."""
        name, sizes = model.manifest.name, {1, self._settings.max_batch_size}
        thread = ExecutorThread(name)
        try:
            await thread.start(lambda: self._executor_factory(model, self._settings))
            snippet = Snippet("warm-up", np.zeros(tuple(model.manifest.input.shape), np.uint8))
            for size in sorted(sizes):
                await _warm_up(thread, [snippet] * size, name)
            logger.info(
                "model %s version %d is warm: %s, %s",
                name,
                model.manifest.version,
                self._settings.precision,
                self._settings.executor,
            )
            yield thread
        finally:
            await thread.close()


async def _warm_up(thread: ExecutorThread, batch: list[Snippet], model: str) -> None:
    try:
        await thread.execute(batch)
    except Exception as err:
        raise PackageError(
            f"model {model!r} failed to run a batch of {len(batch)} while warming up: {err}. "
            "Lower max_batch_size if memory is short, or build the package again."
        ) from err


def _bind(host: str, port: int, metrics: Metrics, max_message: int) -> tuple[aio.Server, int]:
    """Make a gRPC server on an address; returns it with its port."""
    server = aio.server(
        interceptors=[ErrorsToStatus(metrics)],
        options=[
            ("grpc.max_receive_message_length", max_message),
            ("grpc.so_reuseport", 0),  # else a second daemon would silently share the port
        ],
    )
    try:
        return server, server.add_insecure_port(_joined(host, port))
    except RuntimeError as err:
        raise AddressError(f"cannot listen on {_joined(host, port)}: {err}") from err


def _check_free(host: str, port: int, setting: str) -> None:
    """Refuse an address that is taken or not ours, in words of our own."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as err:
        raise AddressError(
            f"--host {host!r} is not an address of this machine: {err}. Give an IP address without "
            "brackets, or a host name."
        ) from err
    try:
        for family, kind, *_, address in infos:  # all of them: gRPC would bind some and go on
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as err:
        raise _unbindable(host, port, setting, err) from err


def _unbindable(host: str, port: int, setting: str, err: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {_joined(host, port)}: {err.strerror}. Is another tsnd running? "
        f"Choose another with --{setting} (0 picks a free one) or --host."
    )


@contextmanager
def _metrics_endpoint(host: str, port: int, registry: CollectorRegistry) -> Iterator[str]:
    """Serve metrics over HTTP from a thread; yields host:port."""
    try:
        httpd, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as err:
        raise _unbindable(host, port, "metrics-port", err) from err
    try:
        yield _joined(host, httpd.server_port)
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def _message_bound(served: Mapping[str, ServedModel]) -> int:
    """Return the largest message to read, in bytes.

    Twice the largest snippet, so that one of the wrong size still gets a precise answer.
    """
    largest = max(model.contract.size_bytes for model in served.values())
    return max(_MIN_MESSAGE_BYTES, 2 * largest + _MESSAGE_OVERHEAD_BYTES)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
