"""Runs a real daemon inside the test process, on free ports."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from tsnd.v1 import snippets_pb2_grpc
from tsnd_daemon.backends.factories import executor_factories
from tsnd_daemon.executors.base import Executor
from tsnd_daemon.model_store import Model
from tsnd_daemon.server import Endpoints, Server
from tsnd_daemon.settings import ExecutionOptions, Settings


@dataclass(frozen=True)
class RunningDaemon:
    """A daemon and a channel to it."""

    endpoints: Endpoints
    server: Server
    channel: aio.Channel
    stub: "snippets_pb2_grpc.SnippetServiceAsyncStub"


def settings_for(repository: Path, **overrides: Any) -> Settings:
    """Settings for a daemon on free ports."""
    defaults = {"model_repository": repository, "port": 0, "metrics_port": 0, "compute_threads": 1}
    # One thread and one executor: nothing is left to be measured.
    defaults["instances"] = 1
    # Exact numbers, also on processors with BF16, of which auto makes use.
    defaults["precision"] = "fp32"
    return Settings(**{**defaults, **overrides})


@asynccontextmanager
async def running_daemon(
    repository: Path, *, make_executor: Callable[[Model], Executor] | None = None, **overrides: Any
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon; it drains and stops at the end, and its failure fails the test.

    Args:
        repository: Of its models.
        make_executor: What makes the one executor of each model, in place of the backend's.
        overrides: Settings.
    """

    def only_one(model: Model, _options: ExecutionOptions) -> list[Callable[[], Executor]]:
        assert make_executor is not None
        return [lambda: make_executor(model)]

    make = executor_factories if make_executor is None else only_one
    server = Server(settings_for(repository, **overrides), make_executors=make)
    ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(server.run(ready.set_result))
    first: set[asyncio.Future[Any]] = {running, ready}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    endpoints = ready.result()
    try:
        async with aio.insecure_channel(endpoints.grpc) as channel:
            stub = snippets_pb2_grpc.SnippetServiceStub(channel)
            yield RunningDaemon(endpoints, server, channel, stub)
    finally:
        server.stop()
        await running
