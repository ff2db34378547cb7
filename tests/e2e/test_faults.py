"""Hosts that vanish, crowds that come at once, models that never stay: the accounting closes.

What is logged are the figures of docs/operations.md: pytest -rP --log-level=INFO shows them.
"""

import asyncio
import json
import logging
import shutil
import socket
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from tests.daemons import running_daemon
from tests.kserve import Gate
from tests.streams import (
    Outcome,
    Recorder,
    assert_nothing_is_left,
    endless,
    frames,
    run_stream,
    wait_for_samples,
)
from tsnd.v1 import control_pb2, control_pb2_grpc
from tsnd_daemon.executors.synthetic import SyntheticExecutor

logger = logging.getLogger(__name__)

END_S = 30.0
PENDING = ("tsnd_pending_snippets", "tiny_rgb", "1")
IN_HAND = 2
"""Batches that do not wait any more: one runs, one is handed over."""


class Cable:
    """Carries connections to an address until it is cut; nobody is told that it was."""

    def __init__(self, target):
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks = set()
        self._ends = []

    def cut(self):
        """Carry nothing more, and leave both sides open."""
        self._whole.clear()

    async def carry(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._ends += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)

    async def _pump(self, source, sink):
        while data := await source.read(65536):
            await self._whole.wait()
            sink.write(data)
            await sink.drain()

    async def end(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._ends:
            writer.close()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)


@asynccontextmanager
async def cable_to(target):
    """A cable and the address of its near end."""
    cable = Cable(target)
    server = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    try:
        yield cable, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await cable.end()


async def test_a_host_that_vanishes_is_noticed_and_what_waits_of_it_costs_no_compute(
    tiny_repository,
):
    gate = Gate()
    async with running_daemon(
        tiny_repository,
        make_executor=gate.make,
        max_batch_size=1,
        keepalive_interval_s=1,
        keepalive_timeout_s=0.5,
    ) as daemon:
        target = daemon.endpoints.grpc
        async with cable_to(target) as (cable, near):
            lost = [asyncio.create_task(run_stream(near, frames(n, 20))) for n in range(3)]
            staying = asyncio.create_task(run_stream(target, frames(7, 20)))
            await wait_for_samples(daemon, {("tsnd_streams",): 4, PENDING: 80 - IN_HAND})
            cable.cut()
            cut_s = time.monotonic()
            await wait_for_samples(daemon, {("tsnd_streams",): 1})
            noticed_s = time.monotonic() - cut_s
            gate.open()
            outcome = await staying
            for task in lost:
                task.cancel()
            await asyncio.gather(*lost, return_exceptions=True)
        await assert_nothing_is_left(daemon)

    logger.info("half-open: noticed after %.2f s", noticed_s)
    outcome.assert_accounts_for(7, 20)
    assert len(outcome.scored) == 20
    ran = [name for batch in gate.batches for name in batch]
    assert sum(not name.startswith("7/") for name in ran) <= IN_HAND
    assert noticed_s < 5


async def test_connections_that_say_nothing_are_hung_up_on_and_disturb_nobody(
    tiny_repository, monkeypatch
):
    monkeypatch.setattr("tsnd_daemon.connections._HANDSHAKE_S", 1)
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        host, _, port = daemon.endpoints.grpc.rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(200)]
        outcome = await run_stream(daemon.endpoints.grpc, frames(0, 100))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(END_S):
            for connection in silent:
                connection.setblocking(False)
                with connection:
                    while await loop.sock_recv(connection, 4096):
                        pass  # its greeting; the end is empty

    assert len(outcome.scored) == 100


async def test_a_burst_of_20_times_the_capacity_is_answered_or_refused_to_the_last_snippet(
    tiny_repository,
):
    batch, execution_s = 4, 0.02
    capacity_per_s = batch / execution_s
    streams = 20
    each = int(20 * capacity_per_s / streams)  # what would take 20 seconds comes at once
    batches: list[list[str]] = []
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Recorder(model, batches, execution_s=execution_s),
        max_batch_size=batch,
        max_queue_size=100,
        max_in_flight_per_stream=each,
    ) as daemon:
        target = daemon.endpoints.grpc
        began_s = time.monotonic()
        outcomes = await asyncio.gather(
            *(run_stream(target, frames(n, each), max_in_flight=each) for n in range(streams))
        )
        took_s = time.monotonic() - began_s
        await assert_nothing_is_left(daemon)
        after = await run_stream(target, frames(99, 50))

    for stream, outcome in enumerate(outcomes):
        outcome.assert_accounts_for(stream, each)
        assert outcome.end is None
    scored = [r.snippet_id for outcome in outcomes for r in outcome.scored]
    rejected = [r for outcome in outcomes for r in outcome.rejected]
    logger.info(
        "burst: %d sent, %d answered, %d refused in %.2f s",
        streams * each,
        len(scored),
        len(rejected),
        took_s,
    )
    assert len(scored) + len(rejected) == streams * each == 20 * capacity_per_s
    assert len(scored) >= 100, "a full queue is worked off"
    assert {r.code for r in rejected} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(0 < (r.retry_after_s or 0) < 5 for r in rejected)
    ran = [name for ids in batches for name in ids if not name.startswith("99/")]
    assert sorted(ran) == sorted(scored), "none is run twice, and none for nothing"
    assert len(after.scored) == 50


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
async def test_a_model_that_is_replaced_every_second_under_load_fails_no_snippet(
    tiny_repository, tmp_path, seconds
):
    repository = shutil.copytree(tiny_repository, tmp_path / "models")
    outcomes, over = [Outcome() for _ in range(4)], asyncio.Event()

    def publish(version):
        staging = shutil.copytree(tiny_repository / "tiny_rgb" / "1", repository / ".staging")
        path = staging / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
        staging.rename(repository / "tiny_rgb" / str(version))

    def make(model):
        return SyntheticExecutor(model, execution_s=0.002)

    async with running_daemon(repository, make_executor=make, model_control="explicit") as daemon:
        control = control_pb2_grpc.ModelControlServiceStub(daemon.channel)
        running = [
            asyncio.create_task(
                run_stream(daemon.endpoints.grpc, endless(n, over), outcome=outcome)
            )
            for n, outcome in enumerate(outcomes)
        ]
        for version in range(2, 2 + seconds):
            await asyncio.sleep(1)  # the load is what happens meanwhile
            publish(version)
            reply = await control.LoadModel(control_pb2.LoadModelRequest(name="tiny_rgb"))
            assert list(reply.versions) == [version]
        await asyncio.sleep(0.2)  # the newest is used, too
        over.set()
        await asyncio.gather(*running)

    for stream, outcome in enumerate(outcomes):
        outcome.assert_accounts_for(stream, len(outcome.results))
        assert (outcome.end, outcome.rejected) == (None, [])
        versions = [scores.version for scores in outcome.scored]
        assert versions == sorted(versions)
        assert set(versions) == set(range(1, 2 + seconds))
    answered = sum(len(outcome.results) for outcome in outcomes)
    logger.info("reload every second: %d times, %d snippets answered", seconds, answered)
