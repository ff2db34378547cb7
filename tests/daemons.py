"""Runs a real daemon inside the test process, on free ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from tsnd.v1 import snippets_pb2_grpc
from tsnd_daemon.server import Endpoints, ExecutorFactory, Server, make_executor
from tsnd_daemon.settings import Settings


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
    return Settings(**{**defaults, **overrides})


@asynccontextmanager
async def running_daemon(
    repository: Path, *, executor_factory: ExecutorFactory = make_executor, **overrides: Any
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon; it drains and stops at the end, and its failure fails the test."""
    server = Server(settings_for(repository, **overrides), executor_factory=executor_factory)
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
