"""The daemon's life: load -> warm up -> SERVING -> drain -> stop. Owns signals and tasks."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from tsnd.v1 import control_pb2_grpc
from tsnd_daemon.addresses import check_free, joined, metrics_endpoint
from tsnd_daemon.backends.choice import choose
from tsnd_daemon.backends.factories import executor_factories
from tsnd_daemon.backends.machine import this_machine
from tsnd_daemon.connections import connection_options, open_port
from tsnd_daemon.errors import AddressError, ExecutorLost, SettingsError, StartError
from tsnd_daemon.gpu_metrics import gpu_metrics
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.model_store import Model, load_package
from tsnd_daemon.security.guard import RELOADED, Guard
from tsnd_daemon.services.control import ModelControlService
from tsnd_daemon.services.errors_to_status import (
    KSERVE_SERVICE,
    OUR_SERVICES,
    SNIPPET_SERVICE,
    ErrorsToStatus,
)
from tsnd_daemon.services.kserve import service as kserve
from tsnd_daemon.services.kserve.infer import Inference
from tsnd_daemon.services.kserve.inputs import InputReader
from tsnd_daemon.services.kserve.regions import Regions
from tsnd_daemon.services.kserve.repository import RepositoryCalls
from tsnd_daemon.services.open_calls import OpenCalls
from tsnd_daemon.services.snippets import SnippetService, add_to_server
from tsnd_daemon.serving.pool import ModelPool, PoolOptions
from tsnd_daemon.serving.served_model import MakeExecutors, ServingOptions
from tsnd_daemon.settings import Settings
from tsnd_daemon.shared_memory import RegionOpener
from tsnd_daemon.tracing import tracing

_MIN_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_MESSAGE_BYTES = 2**31 - 1
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


class Server:
    """One daemon: made, run once, gone."""

    def __init__(
        self,
        settings: Settings,
        *,
        make_executors: MakeExecutors = executor_factories,
        on_draining: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a daemon; nothing is read or bound yet.

        Args:
            settings: All of its settings.
            make_executors: Says how the executors of a model are made.
            on_draining: Called once, when the daemon begins to stop after it was ready.
        """
        self._settings = settings
        self._make_executors = make_executors
        self._on_draining = on_draining
        self._stop = asyncio.Event()
        self._lost: BaseException | None = None
        self._guard: Guard | None = None

    def stop(self) -> None:
        """Ask the daemon to drain and stop; call it on the event loop."""
        self._stop.set()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT stop the daemon; call it on the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def reload(self, settings: Settings) -> None:
        """Take up certificates and tokens anew; call it on the event loop.

        Args:
            settings: What they are now. Others than RELOADED wait for a new start.

        Raises:
            SettingsError: When they cannot be used; all stays as it was.
        """
        if self._guard is not None:  # else it is yet to be made, from files as they are then
            self._guard.reload(settings)
        left = [
            name
            for name in type(self._settings).model_fields
            if name not in RELOADED and getattr(settings, name) != getattr(self._settings, name)
        ]
        if left:
            logger.warning("%s changed, which takes a new start", ", ".join(left))

    async def run(self, on_ready: Callable[[Endpoints], None]) -> None:
        """Serve until `stop`.

        Args:
            on_ready: Called once, when the daemon is SERVING.

        Raises:
            StartError: When a package or an address prevents the start.
            ExecutorLost: When a model lost its executor; what was accepted is answered.
        """
        settings, registry = self._settings, CollectorRegistry()
        self._guard = Guard(settings)
        check_free(settings.host, settings.port, "port")
        check_free(settings.metrics_host, settings.metrics_port, "metrics-port")
        metrics = Metrics(registry)
        traces = tracing(
            metrics.stages, endpoint=settings.otlp_endpoint, ratio=settings.trace_ratio
        )
        with traces, _start_errors_alone():
            async with asyncio.TaskGroup() as tasks:
                pool = ModelPool(self._pool_options(), metrics, tasks, on_lost=self._lose)
                try:
                    if await self._unless_stopped(pool.load_all()):
                        with (
                            gpu_metrics(registry),
                            _decoders(settings.decode_threads) as decoders,
                            metrics_endpoint(
                                settings.metrics_host, settings.metrics_port, registry
                            ) as door,
                        ):
                            await self._serve(pool, metrics, decoders, door, on_ready)
                finally:
                    pool.retire_all()
        logger.info("stopped")
        if self._lost is not None:
            raise ExecutorLost("a model has lost its executor") from self._lost

    def _lose(self, err: BaseException) -> None:
        """Stop because a model has lost its executor; whoever starts the daemon starts it anew."""
        logger.critical("a model has lost its executor", exc_info=err)
        self._lost = self._lost or err
        self._stop.set()

    def _pool_options(self) -> PoolOptions:
        settings = self._settings
        return PoolOptions(
            repository=settings.model_repository,
            pairs=settings.two_stream_pairs,
            version_policy=settings.version_policy_of,
            choose=self._choose,
            serving=lambda name: ServingOptions(
                policy=settings.batch_policy,
                execution=settings.execution_options(name),
                weight=settings.weight_of(name),
                execution_timeout_s=settings.execution_timeout_s,
            ),
            make_executors=self._make_executors,
        )

    def _choose(self, folder: Path) -> Model:
        """Read a package, and choose what is run of it."""
        package = load_package(folder)
        options = self._settings.execution_options(package.manifest.name)
        choice = choose(package, options, this_machine())
        for reason in choice.passed_over:
            # A package with a plan was made for the GPU: what runs it instead is slower.
            level = logging.WARNING if "no plan fits" in reason else logging.INFO
            logger.log(level, "model %s: not on %s", package.manifest.name, reason)
        return choice.model

    async def _serve(
        self,
        pool: ModelPool,
        metrics: Metrics,
        decoders: Executor,
        door: str,
        on_ready: Callable[[Endpoints], None],
    ) -> None:
        """Start, wait for `stop`, drain."""
        settings = self._settings
        assert self._guard is not None, "run makes it"
        calls = OpenCalls(max_streams=settings.max_streams)
        opener = RegionOpener(
            max_regions=settings.max_shared_memory_regions,
            max_region_bytes=settings.max_shared_memory_region_bytes,
        )
        regions = Regions(opener)
        self._check_model_names(pool)
        largest = max(model.contract.size_bytes for model in pool.catalogue.served())
        pool.refuse_larger(largest)
        bound = _message_bound(largest, settings.max_group_size)
        server, port = _bind(settings, metrics, self._guard, bound)
        add_to_server(self._snippets(pool, metrics, calls, decoders, opener), server)
        kserve.add_to_server(self._kserve(pool, metrics, calls, decoders, regions), server)
        control_pb2_grpc.add_ModelControlServiceServicer_to_server(
            ModelControlService(pool if self._is_explicit else None), server
        )
        health_service = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
        names = (*OUR_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            await server.start()
            for name in ("", SNIPPET_SERVICE, KSERVE_SERVICE):
                await health_service.set(name, health_pb2.HealthCheckResponse.SERVING)
            models = tuple(dict.fromkeys(model.manifest.name for model in pool.catalogue.served()))
            on_ready(Endpoints(joined(settings.host, port), f"http://{door}/metrics", models))
            await self._until_stop(pool)
            self._on_draining()
            logger.info("draining: answering what has been accepted")
            await health_service.enter_graceful_shutdown()
            try:
                async with asyncio.timeout(settings.drain_grace_s):
                    if await calls.drain():
                        await asyncio.sleep(_LINGER_S)
            except TimeoutError:
                logger.warning("drain_grace_s is over; what is left is cut off")
                pool.cut_off()
        finally:
            await server.stop(None)
            regions.clear()

    @property
    def _is_explicit(self) -> bool:
        return self._settings.model_control == "explicit"

    def _snippets(
        self,
        pool: ModelPool,
        metrics: Metrics,
        calls: OpenCalls,
        decoders: Executor,
        opener: RegionOpener,
    ) -> SnippetService:
        return SnippetService(
            pool.catalogue,
            metrics,
            calls,
            decoders=decoders,
            regions=opener,
            max_in_flight_per_stream=self._settings.max_in_flight_per_stream,
            max_group_size=self._settings.max_group_size,
        )

    def _kserve(
        self,
        pool: ModelPool,
        metrics: Metrics,
        calls: OpenCalls,
        decoders: Executor,
        regions: Regions,
    ) -> kserve.KServeService:
        settings = self._settings
        inputs = InputReader(regions, decoders, settings.max_group_size)
        return kserve.KServeService(
            Inference(pool.catalogue, calls, inputs),
            RepositoryCalls(pool, may_change=self._is_explicit),
            metrics,
            kserve.KServeOptions(
                settings.max_in_flight_per_stream, version_policy=settings.version_policy_of
            ),
        )

    def _check_model_names(self, pool: ModelPool) -> None:
        """Refuse settings for models that there are not, unless they may come."""
        unknown = sorted(self._settings.models.keys() - pool.catalogue.names())
        if not unknown:
            return
        text = f"there are settings for {', '.join(unknown)}, and no such model is served"
        if self._settings.model_control == "none":
            raise SettingsError(f"{text}. Look at the names of the [models.NAME] tables.")
        logger.warning("%s yet", text)

    async def _until_stop(self, pool: ModelPool) -> None:
        """Wait for `stop`; look at the repository now and then, if that is wanted."""
        while not self._stop.is_set():
            is_polling = self._settings.model_control == "poll"
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_interval_s if is_polling else None):
                    await self._stop.wait()
            if not self._stop.is_set():
                await self._unless_stopped(pool.poll())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do some work, or drop it as soon as `stop` is called; returns whether it is done."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait({working})
        if not working.cancelled():
            working.result()
        return not working.cancelled()


@contextmanager
def _start_errors_alone() -> Iterator[None]:
    """Raise a StartError by itself, not as one of a group."""
    try:
        yield
    except* StartError as group:
        raise group.exceptions[0] from None


def _bind(
    settings: Settings, metrics: Metrics, guard: Guard, max_message: int
) -> tuple[aio.Server, int]:
    """Make a gRPC server on an address; returns it with its port."""
    server = aio.server(
        interceptors=[ErrorsToStatus(metrics, guard.door)],
        options=connection_options(settings, max_message_bytes=max_message),
    )
    address = joined(settings.host, settings.port)
    try:
        return server, open_port(server, address, guard.certificates)
    except RuntimeError as err:
        raise AddressError(f"cannot listen on {address}: {err}") from err


@contextmanager
def _decoders(threads: int) -> Iterator[Executor]:
    """Keep threads that decode JPEG; 0 is one for each core that may be used."""
    count = threads or len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(count, thread_name_prefix="decoder")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)  # what is left belongs to batches that were cut off


def _message_bound(largest_snippet_bytes: int, max_group_size: int) -> int:
    """Return the largest message to read, in bytes.

    At least twice the largest snippet, so that one of the wrong size gets a precise answer.

    Raises:
        SettingsError: When it is more than gRPC takes.
    """
    pixels = max(2, max_group_size) * largest_snippet_bytes
    bound = max(_MIN_MESSAGE_BYTES, pixels + _MESSAGE_OVERHEAD_BYTES)
    if bound > _MAX_MESSAGE_BYTES:
        raise SettingsError(
            f"--max-group-size {max_group_size} makes messages of up to {bound} bytes, and gRPC "
            f"takes {_MAX_MESSAGE_BYTES} at most: snippets have {largest_snippet_bytes}. Lower it."
        )
    return bound
